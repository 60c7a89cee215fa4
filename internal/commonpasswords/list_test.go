package commonpasswords

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestListIsSortedUniqueAndWhole(t *testing.T) {
	is := is.New(t)
	is.True(len(list) > 0)       // there is a list
	is.Equal(len(list)%width, 0) // no entry is cut
	for i := 1; i < len(list)/width; i++ {
		if at(list, i-1) >= at(list, i) {
			t.Fatalf("entry %d is not above the one before it", i)
		}
	}
}

func TestListIsTheOneTheDocumentationDescribes(t *testing.T) {
	is := is.New(t)
	const want = "a0507537cdc4ae2cbd7fe936550c0fa3708f4f5dc3c3c3e43076a8ebb2600c6c"
	is.Equal(len(list)/width, 17950)                       // the count the package doc gives
	is.Equal(fmt.Sprintf("%x", sha256.Sum256(list)), want) // the hash the generator prints
}

func TestCommonPasswordsAreFound(t *testing.T) {
	for _, p := range []string{"password", "password1", "qwertyuiop", "iloveyou", "sunshine"} {
		t.Run(p, func(t *testing.T) {
			is := is.New(t)
			is.True(Contains(p)) // on the list
		})
	}
}

func TestOtherPasswordsAreNotFound(t *testing.T) {
	for name, p := range map[string]string{
		"random":           "q7ZtRw0xKc4vNf9hLb2y",
		"empty":            "",
		"too short":        "123456",
		"upper case":       "PASSWORD",
		"space around":     " password",
		"zero byte behind": "password\x00",
		"not UTF-8":        "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
		"long":             strings.Repeat("password", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.True(!Contains(p)) // the bytes are compared as they are
		})
	}
}

func TestSearchFindsEveryEntryAndNoNeighbour(t *testing.T) {
	n := len(list) / width
	for i := range n {
		p := at(list, i)
		if !search(list, p) {
			t.Fatalf("entry %d is not found", i)
		}
		if p < math.MaxUint64 && search(list, p+1) && (i+1 == n || at(list, i+1) != p+1) {
			t.Fatalf("what follows entry %d is found", i)
		}
	}
}

func TestSearchEndsOutsideTheList(t *testing.T) {
	is := is.New(t)
	two := []byte{0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4}
	is.True(search(two, 2))               // first
	is.True(search(two, 4))               // last
	is.True(!search(two, 1))              // below
	is.True(!search(two, 3))              // between
	is.True(!search(two, math.MaxUint64)) // above
	is.True(!search(nil, 0))              // an empty list
}

func TestContainsAllocatesNothing(t *testing.T) {
	for name, p := range map[string]string{
		"found":     "password1",
		"not found": "q7ZtRw0xKc4vNf9hLb2y",
		"longest":   strings.Repeat("q7ZtRw0x", longest/8),
		"too long":  strings.Repeat("q7ZtRw0x", 512),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(testing.AllocsPerRun(100, func() { Contains(p) }), 0.0) // allocations
		})
	}
}

func BenchmarkContains(b *testing.B) {
	for _, c := range []struct{ name, password string }{
		{"found", "password1"},
		{"not found", "q7ZtRw0xKc4vNf9hLb2y"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Contains(c.password)
			}
		})
	}
}
