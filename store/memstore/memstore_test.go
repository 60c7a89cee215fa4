package memstore_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/storetest"
)

// A look-up must not touch the index, however its two forms are merged.
func TestLookUpLeavesTheIndex(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	put := func(id, email string) {
		s.Put(recovery.Account{ID: id, Username: "user" + id, Email: email, Active: true, HasPassword: true, EmailVerified: true}, "hash")
	}
	for _, id := range []string{"5", "6", "7"} { // so that the slice of IDs has room
		put(id, "many@example.com")
	}
	put("1", "no address")
	for range 2 {
		both, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "no address", Canonical: "many@example.com", Max: 9})
		is.NoErr(err)
		is.Equal(len(both), 4)
		many, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "many@example.com", Canonical: "many@example.com", Max: 9})
		is.NoErr(err)
		is.Equal(len(many), 3)
		is.Equal(many[0].ID, "5")
	}
}

// A name that this library would refuse is found as it is stored.
func TestNameWithoutCanonicalForm(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	const name = "Zero\u200bWidth"
	s.Put(recovery.Account{ID: "1", Username: name, Email: "a@example.com"}, "hash")
	found, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByUsername, Typed: name, Canonical: name, Max: 9})
	is.NoErr(err)
	is.Equal(len(found), 1)
	found, err = s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByUsername, Max: 9})
	is.NoErr(err)
	is.Equal(len(found), 0) // by no name
}

// Removing one account of an address leaves the others.
func TestRemoveLeavesTheOthersOfAnAddress(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	for _, id := range []string{"1", "2", "3"} {
		s.Put(recovery.Account{ID: id, Username: "user" + id, Email: "many@example.com"}, "hash")
	}
	for left := 2; left > 0; left-- {
		s.Remove([]string{"3", "1"}[2-left])
		found, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "many@example.com", Canonical: "many@example.com", Max: 9})
		is.NoErr(err)
		is.Equal(len(found), left)
		is.Equal(found[left-1].ID, "2")
	}
}

// The application's own canonical form replaces the library's.
func TestOwnCanonicalUsername(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	s.CanonicalUsername = func(name string) string { return strings.ReplaceAll(name, ".", "") }
	s.Put(recovery.Account{ID: "1", Username: "A.lice", Email: "a.lice@example.com"}, "hash")
	find := func(by recovery.IdentifierKind, text string) (ids []string) {
		is.Helper()
		query := recovery.AccountQuery{By: by, Typed: text, Canonical: text, Max: 9}
		found, err := s.FindAccounts(t.Context(), query)
		is.NoErr(err)
		for _, a := range found {
			ids = append(ids, a.ID)
		}
		return ids
	}
	is.Equal(find(recovery.ByUsername, "Alice"), []string{"1"})
	is.Equal(len(find(recovery.ByUsername, "alice")), 0)
	is.Equal(find(recovery.ByEmail, "a.lice@example.com"), []string{"1"})
	s.Remove("1")
	is.Equal(len(find(recovery.ByUsername, "Alice")), 0)
}

// The application's canonical form gets what the Service gives it: U+212A stays as it is, and
// isolates around a name are trimmed.
func TestOwnCanonicalUsernameGetsWhatTheServiceGivesIt(t *testing.T) {
	for _, stored := range []string{"\u212aelvin", "\u2068\u212aelvin\u2069", "\u3000\u212aelvin"} {
		is := is.New(t)
		s := memstore.New()
		s.CanonicalUsername = strings.Clone
		s.Put(recovery.Account{ID: "1", Username: stored}, "hash")
		found, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByUsername, Typed: "\u212aelvin", Canonical: "\u212aelvin", Max: 9})
		is.NoErr(err)
		is.Equal(len(found), 1)
	}
}

func TestPutReplaces(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	a := recovery.Account{ID: "1", Username: "alice", Email: "alice@example.com"}
	s.Put(a, "old")
	s.Put(a, "new")
	hash, ok := s.PasswordHash("1")
	is.True(ok)
	is.Equal(hash, "new")
	s.Remove("1")
	s.Remove("1")
	_, ok = s.PasswordHash("1")
	is.True(!ok)
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		s := memstore.New()
		return storetest.Harness{
			Store:  s,
			Put:    func(a recovery.Account, hash string) error { s.Put(a, hash); return nil },
			Remove: func(id string) error { s.Remove(id); return nil },
			PasswordHash: func(id string) (string, error) {
				hash, _ := s.PasswordHash(id)
				return hash, nil
			},
			Dump: func() (string, error) { return s.Dump(), nil },
		}
	})
}
