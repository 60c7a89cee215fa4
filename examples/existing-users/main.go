// Command existing-users is an application that had users before it had account recovery: a users
// table with numbers for IDs and bcrypt hashes, and sessions in a table beside it. Recovery is added
// without changing either. A reset ends the user's sessions in the transaction that sets the password.
//
//	go run ./examples/existing-users
//
// It prints what to try, and its mails.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	_ "modernc.org/sqlite"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/mailer"
	"example.com/recovery/store/sqlstore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "existing-users")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := openApp(ctx, filepath.Join(dir, "app.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	renderer, err := mailer.New(&mailer.Options{Application: "Existing App"})
	if err != nil {
		return err
	}
	svc, err := newRecovery(ctx, db, mailer.NewConsole(os.Stdout, renderer))
	if err != nil {
		return err
	}
	worked := make(chan error, 1)
	go func() { worked <- svc.Run(ctx) }()

	server := &http.Server{Addr: "127.0.0.1:8081", Handler: routes(db, svc), ReadTimeout: 30 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Print(`On http://127.0.0.1:8081, with carol@example.com and the password Old-passw0rd-1:

  curl -i -c jar -d '{"email":"carol@example.com","password":"Old-passw0rd-1"}' http://127.0.0.1:8081/login
  curl -i -b jar http://127.0.0.1:8081/me
  curl -d '{"account-recovery":{"username":"carol"}}' http://127.0.0.1:8081/account-recovery
  curl -X PUT -d '{"account-recovery":{"password":"New-passw0rd-2","token":"TOKEN"}}' http://127.0.0.1:8081/account-recovery
  curl -i -b jar http://127.0.0.1:8081/me    # the session has ended

`)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-worked
}

// newRecovery adds account recovery to the application: its own three tables, and the mapping.
func newRecovery(ctx context.Context, db *sql.DB, mails recovery.Mailer) (*recovery.Service, error) {
	table := sqlstore.Table{
		Name: "users", ID: "id", Username: "login", Email: "email", PasswordHash: "bcrypt", Locale: "language",
		Active: "deleted_at IS NULL", EmailVerified: "email_confirmed = 1",
	}
	accounts, err := table.Accounts(sqlstore.SQLite)
	if err != nil {
		return nil, err
	}
	store, err := sqlstore.New(db, sqlstore.SQLite, users{accounts}, nil)
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	// New passwords are hashed with argon2id. The log-in verifies with recovery.VerifyPassword, which
	// reads the old bcrypt hashes too, so nobody has to change anything.
	return recovery.New(store, mails, &recovery.Options{Application: "Existing App"})
}

// users ends sessions where the library only sets the password.
type users struct{ sqlstore.Accounts }

func (u users) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	if err := u.Accounts.SetPassword(ctx, tx, id, hash); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE user_id = ?", id)
	return err
}

func routes(db *sql.DB, svc *recovery.Service) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /login", login(db))
	mux.Handle("GET /me", me(db))
	mux.Handle("/account-recovery", httpadapter.NewXandr(svc, nil))
	return mux
}
