// Command existing-users is an application that had users before it had account recovery: users of
// two tenants, with bcrypt hashes, old passwords, an authenticator app or a Google account.
// Recovery is added without changing any of that. The program prints what to try, and its mails.
//
//	go run ./examples/existing-users
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"example.com/recovery"
	"example.com/recovery/mailer"
	"example.com/recovery/store/sqlstore"
)

func main() {
	ctx := context.Background()
	renderer := must(mailer.New(&mailer.Options{Application: "Existing App"}))
	a := newApp(ctx, openDB(ctx, "app"), mailer.NewConsole(os.Stdout, renderer))
	go func() { log.Fatal(a.svc.Run(ctx)) }() // sends the mails
	fmt.Print(guide)
	log.Fatal((&http.Server{Addr: "127.0.0.1:8081", Handler: a.routes(), ReadTimeout: time.Minute}).ListenAndServe())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type app struct {
	db  *sql.DB
	svc *recovery.Service
}

// newApp adds account recovery to the application: its own three tables, and the mapping.
func newApp(ctx context.Context, db *sql.DB, mails recovery.Mailer) *app {
	store := must(sqlstore.New(db, sqlstore.SQLite, newAccounts(), nil))
	if err := store.Migrate(ctx); err != nil {
		panic(err)
	}
	a := &app{db: db}
	a.svc = must(recovery.New(store, mails, &recovery.Options{
		Application: "Existing App",
		Hasher:      recovery.Bcrypt(bcrypt.DefaultCost), // so the policy admits 72 bytes at most
		Policy:      &recovery.Policy{Check: a.checkHistory},
		Approve: func(ctx context.Context, u recovery.Account, r recovery.CompleteRequest) error {
			return a.secondFactor(ctx, u.ID, r.Factor) // five wrong factors end the token
		},
	}))
	return a
}

func newAccounts() users {
	return users{must(sqlstore.Table{
		Name: "users", ID: "id", Tenant: "tenant", Username: "login", Email: "email",
		PasswordHash: "bcrypt", SignIn: "sign_in",
		CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact,
		Active: "deleted_at IS NULL", EmailVerified: "email_confirmed = 1",
	}.Accounts(sqlstore.SQLite))}
}

// users is the library's mapping of the table, with more to do when a password is set.
type users struct{ *sqlstore.Mapping }

// SetPassword works in the transaction that redeems the token: all of it happens, or nothing.
func (u users) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	if _, err := tx.ExecContext(ctx, `
		INSERT INTO password_history (user_id, bcrypt) SELECT id, bcrypt FROM users WHERE id = ?1;
		DELETE FROM password_history WHERE user_id = ?1 AND id NOT IN (SELECT id
			FROM password_history WHERE user_id = ?1 ORDER BY id DESC LIMIT 4);
		DELETE FROM sessions WHERE user_id = ?1`, id); err != nil {
		return err
	}
	return u.Mapping.SetPassword(ctx, tx, id, hash)
}

// checkHistory compares with the present password and the four before it. It stops there because
// each comparison takes as long as a log-in.
func (a *app) checkHistory(ctx context.Context, u recovery.Account, password string) (
	reasons []recovery.PasswordReason, err error) {
	var hashes string // separated by spaces
	err = a.db.QueryRowContext(ctx, `SELECT group_concat(bcrypt, ' ') FROM (
		SELECT bcrypt FROM users WHERE id = ?1 UNION ALL
		SELECT bcrypt FROM password_history WHERE user_id = ?1)`, u.ID).Scan(&hashes)
	for hash := range strings.FieldsSeq(hashes) {
		if recovery.VerifyPassword(hash, password) == nil {
			return []recovery.PasswordReason{{Name: "used_before", Text: "must not be one of your last five"}}, nil
		}
	}
	return nil, err
}

// ask gives the same answer, whoever is named. A code works only with the ticket of its own
// request, so only in this browser. A second request keeps the ticket, as the code may be on its
// way.
func (a *app) ask(r *http.Request, in input) (*http.Cookie, error) {
	receipt, err := a.svc.RequestReset(r.Context(), recovery.ResetRequest{Tenant: in.tenant,
		Username: in.Login, Email: in.Email, Code: true, Ticket: in.ticket, Client: in.client})
	if err != nil {
		return nil, err
	}
	return cookie(in.tenant, "ticket", receipt.Ticket.Reveal()), nil
}

func (a *app) complete(r *http.Request, in input) (*http.Cookie, error) {
	_, err := a.svc.CompleteReset(r.Context(), recovery.CompleteRequest{Token: in.Token,
		Code: in.Code, Ticket: in.ticket, Password: in.Password, Factor: in.Factor, Client: in.client})
	if limit, ok := errors.AsType[*recovery.LimitError](err); ok && limit.Scope == recovery.ScopeTicket {
		return cookie(in.tenant, "ticket", ""), err // too many wrong codes: the next request gets a new ticket
	}
	return nil, err
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{tenant}/login", handle(a.login))
	mux.HandleFunc("POST /{tenant}/me", handle(a.me))
	mux.HandleFunc("POST /{tenant}/ask", handle(a.ask))
	mux.HandleFunc("POST /{tenant}/complete", handle(a.complete))
	return http.NewCrossOriginProtection().Handler(mux) // no page of another site may post here
}

// input is what a request brings.
type input struct {
	Login, Email, Token, Code, Password, Factor string

	tenant, ticket string
	client         netip.Addr // limits count by it; behind a proxy it must be what the proxy says
}

// cookie keeps a value from scripts, plain http, other sites and other tenants' paths.
func cookie(tenant, name, value string) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/" + tenant,
		HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode}
}

// handle answers 204, or what went wrong.
func handle(do func(*http.Request, input) (*http.Cookie, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in := input{tenant: r.PathValue("tenant"), client: netip.MustParseAddrPort(r.RemoteAddr).Addr()}
		if c, err := r.Cookie("ticket"); err == nil {
			in.ticket = c.Value
		}
		var set *http.Cookie
		err := recovery.ErrInvalidRequest
		if json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&in) == nil {
			set, err = do(r, in)
		}
		if set != nil {
			http.SetCookie(w, set)
		}
		status, body := http.StatusInternalServerError, any("internal error")
		var challenge *recovery.ChallengeError
		var password *recovery.PasswordError
		switch {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
			return
		case errors.As(err, &challenge):
			status, body = 401, map[string]any{"challenge": challenge.Name, "text": challenge.Text}
		case errors.As(err, &password):
			status, body = 422, map[string]any{"password": password.Reasons}
		case errors.Is(err, sql.ErrNoRows), errors.Is(err, recovery.ErrPasswordMismatch):
			status, body = 401, "log in"
		case errors.Is(err, recovery.ErrInvalidToken), errors.Is(err, recovery.ErrInvalidRequest):
			status, body = 400, err.Error()
		case errors.Is(err, recovery.ErrLimited):
			status, body = 429, err.Error()
		case errors.Is(err, recovery.ErrBusy):
			status, body = 503, err.Error()
		default:
			log.Print(err) // the library keeps secrets out of its errors
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}
