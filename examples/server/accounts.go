package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
)

const (
	oldPassword = "Old-passw0rd-1"
	maxAccounts = 10_000_000
)

// addAccounts adds those that are always there, and n numbered ones. All have one password, which is
// hashed once; it returns the hash.
func addAccounts(users *memstore.Store, n int) (string, error) {
	hash, err := recovery.HashPassword(oldPassword)
	if err != nil {
		return "", err
	}
	put := func(id, username, email string, active bool) {
		users.Put(recovery.Account{
			ID: id, Username: username, Email: email, Active: active, HasPassword: true, Verified: true,
		}, hash)
	}
	put("alice", "alice", "alice@example.com", true)
	put("alicia", "alicia", "alice@example.com", true)
	put("billybob", "billybob", "billybob@example.com", true)
	put("mallory", "mallory", "mallory@example.com", false)
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("user%06d", i)
		put(name, name, name+"@example.com", true)
	}
	return hash, nil
}

// A login answers 204 for the right password of an active account, and 401 for everything else.
type login struct {
	users *memstore.Store
	dummy string        // verified for a name that nobody has, so that it takes as long
	slots chan struct{} // argon2id takes 19 MiB and a core
}

func newLogin(users *memstore.Store, dummy string) *login {
	return &login{users: users, dummy: dummy, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var credentials struct{ Username, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&credentials); err != nil {
		http.Error(w, `the body must be {"username":"…","password":"…"}`, http.StatusBadRequest)
		return
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-r.Context().Done():
		return
	}
	if !l.valid(r, credentials.Username, credentials.Password) {
		http.Error(w, "user name or password is wrong", http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (l *login) valid(r *http.Request, username, password string) bool {
	hash, known := l.dummy, false
	if canonical, err := recovery.CanonicalUsername(username); err == nil {
		query := recovery.AccountQuery{By: recovery.ByUsername, Typed: username, Canonical: canonical, Max: 1}
		accounts, err := l.users.FindAccounts(r.Context(), query)
		if err == nil && len(accounts) == 1 && accounts[0].Active {
			hash, known = l.users.PasswordHash(accounts[0].ID)
		}
	}
	return recovery.VerifyPassword(hash, password) == nil && known
}
