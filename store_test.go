package recovery_test

import (
	"crypto/sha256"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A Version is of one hash and one address: that of another pair differs, also if the two texts
// make one.
func TestVersion(t *testing.T) {
	is := is.New(t)
	version := recovery.NewVersion("hash", "alice@example.com")
	is.Equal(version, recovery.Version(sha256.Sum256([]byte("\x04hashalice@example.com")))) // as long as tokens of older versions live
	for _, other := range [][2]string{
		{"other", "alice@example.com"}, {"hash", "alice@example.org"}, {"has", "halice@example.com"}, {"hasha", "lice@example.com"},
		{"", "hashalice@example.com"}, {"hashalice@example.com", ""},
	} {
		is.True(recovery.NewVersion(other[0], other[1]) != version)
	}
}
