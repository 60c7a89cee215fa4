package recovery_test

import (
	"crypto/sha256"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A Version is of one hash and one address: none of another pair is the same, also if their texts are
// one after the other.
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
