package recovery_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func TestLimitTake(t *testing.T) {
	is := is.New(t)
	l := recovery.Limit{Burst: 3, Every: time.Hour}
	start := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	var state time.Time
	for range 3 {
		next, wait := l.Take(state, start)
		is.Equal(wait, time.Duration(0)) // within the burst
		state = next
	}
	next, wait := l.Take(state, start.Add(time.Minute))
	is.Equal(wait, 59*time.Minute)
	is.Equal(next, state) // a refused event changes nothing
	_, wait = l.Take(state, start.Add(time.Hour-time.Nanosecond))
	is.Equal(wait, time.Nanosecond)
	_, wait = l.Take(state, start.Add(time.Hour))
	is.Equal(wait, time.Duration(0))
}

// A state that is further ahead than any event could have made it is no state.
func TestLimitAfterTheClockWasAhead(t *testing.T) {
	is := is.New(t)
	l := recovery.Limit{Burst: 2, Every: time.Minute}
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	most := now.Add(2*time.Minute + 10*time.Minute) // full, by a clock that is ahead by ten minutes
	_, wait := l.Take(most, now)
	is.Equal(wait, time.Minute+10*time.Minute)
	next, wait := l.Take(most.Add(time.Microsecond), now)
	is.Equal(wait, time.Duration(0))
	is.Equal(next, now.Add(time.Minute))
}

// Events that overtake each other, or come from clocks that differ, are counted like others.
func TestLimitCountsEventsOutOfOrder(t *testing.T) {
	is := is.New(t)
	for range 200 {
		l := recovery.Limit{Burst: 1 + rand.IntN(5), Every: time.Duration(1+rand.IntN(50)) * time.Minute}
		start := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		var state time.Time
		passed := 0
		for range 100 {
			next, wait := l.Take(state, start.Add(time.Duration(rand.Int64N(int64(min(recovery.MaxClockSkew, l.Every))))))
			if wait == 0 {
				passed++
			}
			state = next
		}
		is.True(passed <= l.Burst)
	}
}

// The promise of Limit: in no period of length Every do more than Burst pass.
func TestLimitHoldsInEveryPeriod(t *testing.T) {
	is := is.New(t)
	for range 200 {
		l := recovery.Limit{Burst: 1 + rand.IntN(5), Every: time.Duration(1+rand.IntN(50)) * time.Minute}
		now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		var state time.Time
		var passed []time.Time
		for range 500 {
			now = now.Add(time.Duration(rand.IntN(10)) * time.Minute)
			next, wait := l.Take(state, now)
			if wait == 0 {
				passed = append(passed, now)
			}
			state = next
		}
		is.True(len(passed) > 0)
		for i := l.Burst; i < len(passed); i++ {
			is.True(passed[i].Sub(passed[i-l.Burst]) >= l.Every) // Burst+1 events within one period
		}
	}
}

// chargeStore keeps what the last request was charged with.
type chargeStore struct {
	recovery.Store
	charges recovery.Charges
}

func (s *chargeStore) Enqueue(ctx context.Context, r recovery.Job, c recovery.Charges) error {
	s.charges = c
	return s.Store.Enqueue(ctx, r, c)
}

func newChargeStore(t *testing.T) (*chargeStore, *recovery.Service) {
	t.Helper()
	s := &chargeStore{Store: memstore.New()}
	svc, err := recovery.New(s, &mailertest.Recorder{}, nil)
	is.New(t).NoErr(err)
	return s, svc
}

// While instances are replaced by a newer version, the old and the new ones count one limit under one key.
func TestLimitKeysStayAsTheyAre(t *testing.T) {
	is := is.New(t)
	s, svc := newChargeStore(t)
	is.NoErr(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: " Alice ", Client: client}))
	is.Equal(len(s.charges.Hard), 2)
	is.Equal(s.charges.Hard[0].Key, recovery.Digest(sha256.Sum256([]byte("request\x00client\x00192.0.2.10/32"))))
	is.Equal(s.charges.Hard[1].Key, recovery.Digest(sha256.Sum256([]byte("request\x00global\x00"))))
	is.Equal(len(s.charges.Soft), 2)
	for i, every := range []time.Duration{time.Minute, time.Hour} {
		key := sha256.Sum256([]byte("reset/username\x00identifier\x00alice"))
		binary.BigEndian.PutUint64(key[24:], uint64(every))
		key[24] = byte(i) // no period is so long
		is.Equal(s.charges.Soft[i].Key, recovery.Digest(key))
	}
}

// A client is an IPv4 address, or a /64 of IPv6: its neighbours are others.
func TestNeighboursAreOtherClients(t *testing.T) {
	s, svc := newChargeStore(t)
	key := func(addr string) recovery.Digest {
		is.New(t).NoErr(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr(addr)}))
		return s.charges.Hard[0].Key
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.0", "192.0.2.1", false},
		{"192.0.2.0", "::ffff:192.0.2.0", true},
		{"2001:db8::", "2001:db8:0:1::", false},
		{"2001:db8::", "2001:db8::8000:0:0:0", true},
		{"fe80::1%eth0", "fe80::1%eth1", true},
	} {
		t.Run(c.a+" "+c.b, func(t *testing.T) {
			is := is.New(t)
			is.Equal(key(c.a) == key(c.b), c.same)
		})
	}
}
