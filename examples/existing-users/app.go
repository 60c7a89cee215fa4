package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/crypto/bcrypt"

	"example.com/recovery"
)

// What the application was before: its schema, a log-in and a page.

const schema = `
CREATE TABLE users (
	id              INTEGER PRIMARY KEY AUTOINCREMENT,
	login           TEXT NOT NULL UNIQUE,
	email           TEXT NOT NULL UNIQUE,
	bcrypt          TEXT NOT NULL,
	language        TEXT,
	email_confirmed INTEGER NOT NULL DEFAULT 0,
	deleted_at      TEXT
);
CREATE TABLE sessions (
	digest  BLOB PRIMARY KEY,
	user_id INTEGER NOT NULL REFERENCES users (id)
);
CREATE INDEX sessions_user_id ON sessions (user_id);`

// openApp makes the database with one user.
func openApp(ctx context.Context, path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("Old-passw0rd-1"), bcrypt.DefaultCost)
	if err == nil {
		_, err = db.ExecContext(ctx, schema)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, `INSERT INTO users (login, email, bcrypt, email_confirmed) VALUES ('carol', 'carol@example.com', ?, 1)`, string(hash))
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

const sessionCookie = "session"

func login(db *sql.DB) http.HandlerFunc {
	// A name that nobody has takes as long as a wrong password.
	dummy, err := bcrypt.GenerateFromPassword([]byte("nobody's"), bcrypt.DefaultCost)
	if err != nil {
		panic(err)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		var c struct{ Email, Password string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&c); err != nil {
			http.Error(w, `the body must be {"email":"…","password":"…"}`, http.StatusBadRequest)
			return
		}
		var id int64
		hash := string(dummy)
		err := db.QueryRowContext(r.Context(), `SELECT id, bcrypt FROM users WHERE email = ? AND deleted_at IS NULL`, c.Email).Scan(&id, &hash)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		if recovery.VerifyPassword(hash, c.Password) != nil || id == 0 {
			http.Error(w, "address or password is wrong", http.StatusUnauthorized)
			return
		}
		token := rand.Text()
		digest := sha256.Sum256([]byte(token))
		// Verifying takes a while. A password that was reset meanwhile opens no session.
		opened, err := db.ExecContext(r.Context(), `INSERT INTO sessions (digest, user_id) SELECT ?, id FROM users WHERE id = ? AND bcrypt = ?`,
			digest[:], id, hash)
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		if n, err := opened.RowsAffected(); err != nil || n == 0 {
			http.Error(w, "address or password is wrong", http.StatusUnauthorized)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
		w.WriteHeader(http.StatusNoContent)
	}
}

func me(db *sql.DB) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var name string
		cookie, err := r.Cookie(sessionCookie)
		if err == nil {
			digest := sha256.Sum256([]byte(cookie.Value))
			err = db.QueryRowContext(r.Context(), `SELECT login FROM users JOIN sessions ON user_id = id WHERE digest = ?`, digest[:]).Scan(&name)
		}
		if err != nil {
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		}
		fmt.Fprintln(w, name)
	}
}
