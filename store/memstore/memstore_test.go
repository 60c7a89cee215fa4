package memstore_test

import (
	"testing"

	"example.com/recovery/store/memstore"
	"example.com/recovery/store/storetest"

	"example.com/recovery"
)

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
