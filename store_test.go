package recovery_test

import (
	"crypto/sha256"
	"testing"
	"time"

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

// A reset is of one account, not of another with the same hash and address.
func TestJudgeOfAnotherAccount(t *testing.T) {
	is := is.New(t)
	at := time.Now()
	r := recovery.Reset{AccountID: "1", ExpiresAt: at.Add(time.Hour)}
	a := recovery.Account{ID: "1", Active: true, EmailVerified: true, HasPassword: true}
	is.NoErr(r.Judge(at, a))
	a.ID = "2"
	is.Equal(r.Judge(at, a), &recovery.TokenError{Reason: recovery.TokenAccountGone})
}
