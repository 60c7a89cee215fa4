package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"

	"example.com/recovery"
)

const (
	oldPassword = "Old-passw0rd-1"
	maxAccounts = 10_000_000
	atOnce      = 10_000 // accounts in memory, while they are added
)

// addAccounts adds four named accounts and n numbered ones. All share one password, which is hashed
// once. It returns the hash.
func addAccounts(ctx context.Context, db database, n int) (string, error) {
	hash, err := recovery.HashPassword(oldPassword)
	if err != nil {
		return "", err
	}
	var accounts []recovery.Account
	add := func(username, email string, active bool) {
		accounts = append(accounts, recovery.Account{
			ID: username, Username: username, Email: email, Active: active, HasPassword: true, EmailVerified: true,
		})
	}
	add("alice", "alice@example.com", true)
	add("alicia", "alice@example.com", true)
	add("billybob", "billybob@example.com", true)
	add("mallory", "mallory@example.com", false)
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("user%06d", i)
		add(name, name+"@example.com", true)
		if len(accounts) == atOnce {
			if err := db.addAccounts(ctx, accounts, hash); err != nil {
				return "", err
			}
			accounts = accounts[:0]
		}
	}
	return hash, db.addAccounts(ctx, accounts, hash)
}

// A login answers 204 for the right password of an active account, and 401 for everything else.
type login struct {
	db    database
	dummy string        // verified for a name that nobody has, to take as long
	slots chan struct{} // argon2id takes 19 MiB and a core
}

func newLogin(db database, dummy string) *login {
	return &login{db: db, dummy: dummy, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var credentials struct{ Username, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&credentials); err != nil {
		http.Error(w, `the body must be {"username":"…","password":"…"}`, http.StatusBadRequest)
		return
	}
	if !l.valid(r, credentials.Username, credentials.Password) {
		http.Error(w, "user name or password is wrong", http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (l *login) valid(r *http.Request, username, password string) bool {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-r.Context().Done():
		return false
	}
	stored, known := l.dummy, false
	if canonical, err := recovery.CanonicalUsername(username); err == nil {
		query := recovery.AccountQuery{By: recovery.ByUsername, Typed: username, Canonical: canonical, Max: 1}
		accounts, err := l.db.FindAccounts(r.Context(), query)
		if err == nil && len(accounts) == 1 && accounts[0].Active {
			if hash, err := l.db.passwordHash(r.Context(), accounts[0].ID); err == nil {
				stored, known = hash, true
			}
		}
	}
	return recovery.VerifyPassword(stored, password) == nil && known
}
