package sidechannel

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/matryer/is"
)

// times are like those of requests: most near 60 µs, some much later because something else ran,
// and a few very late.
func times(seed uint64, n int, more time.Duration) []time.Duration {
	r := rand.New(rand.NewPCG(seed, 1))
	sample := make([]time.Duration, n)
	for i := range sample {
		us := 60 * math.Exp(0.1*r.NormFloat64())
		switch {
		case r.Float64() < 0.001:
			us += 20_000 * r.Float64()
		case r.Float64() < 0.05:
			us += 500 * r.ExpFloat64()
		}
		sample[i] = more + time.Duration(us*1000)
	}
	return sample
}

func TestWelch(t *testing.T) {
	is := is.New(t)
	// Worked by hand: means 3 and 5, variances 2.5 and 10, so 2 / sqrt(0.5 + 2).
	a := newSums([]time.Duration{1, 2, 3, 4, 5}, 3).below(math.MaxInt64)
	b := newSums([]time.Duration{1, 3, 5, 7, 9}, 3).below(math.MaxInt64)
	is.Equal(a, moments{5, 0, 2.5})
	is.Equal(b, moments{5, 2, 10})
	is.True(math.Abs(welch(a, b)-2/math.Sqrt(2.5)) < 1e-12)
	is.True(math.Abs(welch(b, a)+2/math.Sqrt(2.5)) < 1e-12)
	is.Equal(welch(a, a), 0.0)
	is.Equal(welch(a, moments{n: 1, mean: 100}), 0.0) // too few
	is.True(welch(moments{9, 1, 0}, moments{9, 2, 0}) > 1e9)
}

func TestCropKeepsWhatIsBelow(t *testing.T) {
	is := is.New(t)
	s := newSums([]time.Duration{9, 1, 1000, 5}, 5)
	is.Equal(s.below(0), moments{})
	is.Equal(s.below(1).n, 1.0)
	is.Equal(s.below(4).n, 1.0)
	is.Equal(s.below(9), moments{3, 0, 16})
	is.Equal(s.below(1000).n, 4.0)
	is.Equal(s.median(), time.Duration(9))
}

// One in a thousand is found, so a finding is measured again.
func TestNoDifferenceIsNotFound(t *testing.T) {
	is := is.New(t)
	found := 0
	for seed := range uint64(500) {
		if compare(times(2*seed, 1000, 0), times(2*seed+1, 1000, 0)).found() {
			found++
		}
	}
	is.True(found <= 2)
}

// Five microseconds drown in the noise unless the slow samples are cropped.
func TestSmallDifferenceIsFoundOnlyCropped(t *testing.T) {
	is := is.New(t)
	for seed := range uint64(20) {
		c := compare(times(2*seed, 2000, 0), times(2*seed+1, 2000, 5*time.Microsecond))
		is.True(c.found())
		is.True(c.t > 0)                   // the second is the slower one
		is.True(math.Abs(c.raw) < certain) // outliers hide it
		is.True(c.crop < 1)
		is.True(c.median > 4*time.Microsecond && c.median < 6*time.Microsecond)
		is.True(compare(times(2*seed+1, 2000, 5*time.Microsecond), times(2*seed, 2000, 0)).t < 0)
	}
	var raw float64
	for seed := range uint64(20) {
		raw += math.Abs(compare(times(2*seed, 2000, 0), times(2*seed+1, 2000, 5*time.Microsecond)).raw) / 20
	}
	is.True(raw < threshold)
}

func TestOutliersAreIgnored(t *testing.T) {
	is := is.New(t)
	a, b := times(1, 2000, 0), times(2, 2000, 0)
	for i := range 3 {
		b[i] = 30 * time.Second
	}
	is.True(!compare(a, b).found())
	b = times(2, 2000, 5*time.Microsecond)
	a[0] = time.Hour
	is.True(compare(a, b).t > threshold)
}

// A difference in a few requests only, such as every tenth, shows in the upper crops.
func TestRareDifferenceIsFound(t *testing.T) {
	is := is.New(t)
	a, b := times(1, 5000, 0), times(2, 5000, 0)
	for i := range b {
		if i%10 == 0 {
			b[i] += 40 * time.Microsecond
		}
	}
	is.True(compare(a, b).t > threshold)
}

func TestMoreSamplesShowMore(t *testing.T) {
	is := is.New(t)
	few := compare(times(1, 1000, 0), times(2, 1000, 3*time.Microsecond))
	many := compare(times(1, 4000, 0), times(2, 4000, 3*time.Microsecond))
	is.True(many.t > growth*few.t)
}

func TestVerdicts(t *testing.T) {
	is := is.New(t)
	good, bad := comparison{t: 30}, comparison{t: 3}
	valid := func(t float64) run {
		return run{pairs: map[string]comparison{"x": {t: t}}, same: bad, injected: []comparison{good, good}}
	}
	noisy := func(t float64) run {
		r := valid(t)
		r.same = good
		return r
	}
	blind := func(t float64) run {
		r := valid(t)
		r.injected = []comparison{good, bad}
		return r
	}
	backwards := func(t float64) run {
		r := valid(t)
		r.injected = []comparison{{t: -30}}
		return r
	}
	for _, c := range []struct {
		runs []run
		want verdict
	}{
		{nil, unsettled},
		{[]run{valid(0)}, clean},
		{[]run{valid(-4.4)}, clean},
		{[]run{noisy(0)}, unsettled}, // a run that can find nothing found nothing
		{[]run{blind(0)}, unsettled},
		{[]run{backwards(0)}, unsettled},
		{[]run{noisy(9), blind(9)}, unsettled},
		{[]run{blind(9), blind(18)}, leak}, // runs that miss a known delay can still find a leak
		{[]run{blind(9), blind(3)}, unsettled},
		{[]run{noisy(9), noisy(18)}, unsettled},
		{[]run{noisy(9), valid(4)}, clean},
		{[]run{valid(5)}, unsettled},
		{[]run{valid(5), valid(4)}, clean},
		{[]run{valid(5), valid(10)}, leak},
		{[]run{valid(-5), valid(-10)}, leak},
		{[]run{valid(5), valid(-10)}, unsettled},     // not the same difference
		{[]run{valid(5), valid(6)}, unsettled},       // it does not grow
		{[]run{valid(5), valid(6), valid(12)}, leak}, // it does
		{[]run{valid(5), noisy(1), valid(12)}, leak}, // the noisy one does not count
		{[]run{valid(3), valid(12)}, unsettled},      // found once
		{[]run{valid(40), valid(30)}, leak},          // beyond all doubt
		{[]run{valid(40), valid(-30)}, unsettled},
		{[]run{valid(5), valid(6), valid(7)}, unsettled},
	} {
		is.Equal(judge("x", c.runs).String(), c.want.String())
	}
	is.Equal(judge("y", []run{valid(9)}), unsettled) // not measured
}
