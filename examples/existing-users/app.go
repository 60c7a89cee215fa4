package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"net/http"

	_ "modernc.org/sqlite"

	"example.com/recovery"
)

// The application before recovery: users (schema.sql), a log-in with a second factor (totp.go) and
// sessions.

//go:embed schema.sql
var schema string

// openDB makes a database in memory, which ends with the program.
func openDB(ctx context.Context, name string) *sql.DB {
	db := must(sql.Open("sqlite", "file:/"+name+"?vfs=memdb&_pragma=busy_timeout(5000)"))
	must(db.ExecContext(ctx, schema))
	return db
}

// login does not limit how often it is tried. A real one must.
func (a *app) login(r *http.Request, in input) (*http.Cookie, error) {
	// A name that nobody has is verified against this hash, to take as long as any other.
	id, hash := "", "$2a$10$zOli.N.9uSVXPcgCM6Z77.VQQEM7EfHF9iteS7vn6vaR2KpY6WkBi"
	err := a.db.QueryRowContext(r.Context(), `SELECT id, bcrypt FROM users
		WHERE tenant = ? AND login = ? AND bcrypt <> '' AND deleted_at IS NULL`,
		in.tenant, in.Login).Scan(&id, &hash)
	if err := cmp.Or(err, recovery.VerifyPassword(hash, in.Password)); err != nil {
		return nil, err
	}
	if err := a.secondFactor(r.Context(), id, in.Factor); err != nil {
		return nil, err
	}
	session := rand.Text()
	digest := sha256.Sum256([]byte(session))
	// Verifying takes a while. A password that was reset meanwhile opens no session.
	err = a.db.QueryRowContext(r.Context(), `INSERT INTO sessions (digest, user_id)
		SELECT ?, id FROM users WHERE id = ? AND bcrypt = ? RETURNING user_id`,
		digest[:], id, hash).Scan(&id)
	return cookie(in.tenant, "session", session), err
}

// me succeeds if the session belongs to a user of this tenant.
func (a *app) me(r *http.Request, in input) (*http.Cookie, error) {
	session, err := r.Cookie("session")
	if err != nil {
		return nil, sql.ErrNoRows
	}
	digest, id := sha256.Sum256([]byte(session.Value)), ""
	return nil, a.db.QueryRowContext(r.Context(), `SELECT id FROM sessions JOIN users
		ON id = user_id WHERE digest = ? AND tenant = ? AND deleted_at IS NULL`,
		digest[:], in.tenant).Scan(&id)
}
