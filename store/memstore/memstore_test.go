package memstore_test

import (
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
		s.Put(recovery.Account{ID: id, Username: "user" + id, Email: email, Active: true, HasPassword: true, Verified: true}, "hash")
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
