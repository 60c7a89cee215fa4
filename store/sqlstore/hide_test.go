package sqlstore

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
)

// The database's words about a statement are shown; its words about rows and users are not.
func TestRefusalsAreShownWithoutData(t *testing.T) {
	for _, c := range []struct {
		err   error
		shown bool
	}{
		{&stateError{"42703", "column \"statsu\" does not exist"}, true},
		{&stateError{"42804", "argument of CASE/WHEN must be type boolean, not type text"}, true},
		{&stateError{"55000", "cannot update view"}, true},
		{&numberError{1, "no such column: statsu"}, true},
		{errors.New("Error 1064 (42000): You have an error in your SQL syntax"), true},
		{&stateError{"22P02", "invalid input syntax for type integer: \"" + secret + "\""}, false},
		{&stateError{"42501", "permission denied for " + secret}, false},
		{errors.New("Error 1142 (42000): UPDATE command denied to user '" + secret + "'@'localhost' for table `app`.`users`"), false},
		{errors.New("Error 1292 (22007): Truncated incorrect INTEGER value: '" + secret + "'"), false},
		{&numberError{20, secret}, false},
	} {
		is := is.New(t)
		is.True(errors.Is(hideInCheck(c.err), c.err))
		is.Equal(strings.Contains(hideInCheck(c.err).Error(), c.err.Error()), c.shown)
		is.True(!strings.Contains(hideInCheck(c.err).Error(), secret))
	}
}

func TestErrorTexts(t *testing.T) {
	const begin, first, commit = 0, 1, 5
	for _, c := range []struct {
		at   int
		err  error
		text string
	}{
		{first, errors.New("no"), "sqlstore: no"},
		{first, &stateError{"99999", secret}, "sqlstore: the database refused with code 99999"},
		{begin, &stateError{"53300", secret}, "sqlstore: the database refused with code 53300: it has too many connections"},
		{commit, errors.New("cut"), "sqlstore: the transaction may or may not have been committed: cut"},
		{commit, &stateError{"08P01", secret},
			"sqlstore: the transaction may or may not have been committed: the database refused with code 08P01: the connection was lost or refused"},
	} {
		t.Run(c.text, func(t *testing.T) {
			is := is.New(t)
			err := purge(t, fault{call: c.at, times: 1, err: c.err})
			is.Equal(errorText(err), c.text)
			is.True(errors.Is(err, c.err)) // the driver's error is there for whoever wants more
		})
	}
}

// A transaction that could not begin has done nothing, and its error names no host and no user.
func TestNoConnection(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, c := range []struct {
		err    error
		reason string
	}{
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), ": connection refused"},
		{fmt.Errorf("failed to connect to `user=app`: %w", dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH))), ": no route to host"},
		{dial(os.ErrDeadlineExceeded), ": timed out"},
		{dial(&net.DNSError{Err: "no such host", Name: "db.example.com", IsNotFound: true}), ": its host name was not found"},
		{dial(&net.DNSError{Err: "i/o timeout", Name: "db.example.com", IsTimeout: true}), ": timed out"},
		{io.ErrUnexpectedEOF, ": the server closed it"},
		{io.EOF, ": the server closed it"},
		{errors.New("cannot parse postgres://app:password@db.example.com"), ""},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			is := is.New(t)
			err := purge(t, fault{call: 0, times: 1, err: c.err})
			is.Equal(errorText(err), "sqlstore: no connection to the database"+c.reason)
			is.True(errors.Is(err, c.err))
			is.True(!errors.Is(err, ErrUnknownOutcome))
		})
	}
}

// Beside the code, the error says what the operator of the database must look after.
func TestCodesInWords(t *testing.T) {
	for words, codes := range map[string][]string{
		"the disk is full":        {"53100", "13", "MySQL 1021"},
		"out of memory":           {"53200", "7", "MySQL 1037", "MySQL 1041"},
		"too many connections":    {"53300", "MySQL 1040", "MySQL 1203", "MySQL 1226"},
		"read-only":               {"25006", "8", "MySQL 1290", "MySQL 1836"},
		"damaged":                 {"XX001", "XX002", "11", "MySQL 1194"},
		"not a SQLite database":   {"26"},
		"cannot be opened":        {"14"},
		"reading or writing":      {"58030", "10", "MySQL 3", "MySQL 1026"},
		"locked by another":       {"55P03", "5", "6", "MySQL 1205"},
		"another transaction":     {"40001", "40P01", "MySQL 1213", "MySQL 1020"},
		"no such table":           {"42P01", "MySQL 1146"},
		"no such column":          {"42703", "MySQL 1054"},
		"no such database":        {"3D000", "MySQL 1049"},
		"no such schema":          {"3F000"},
		"permission denied":       {"42501", "3", "23", "MySQL 1044", "MySQL 1142", "MySQL 1143"},
		"login was refused":       {"28P01", "28000", "MySQL 1045", "MySQL 1698"},
		"starting or stopping":    {"57P01", "57P02", "57P03", "MySQL 1053"},
		"cancelled":               {"57014", "9", "MySQL 1317", "MySQL 1969", "MySQL 3024"},
		"lost or refused":         {"08006", "08P01", "MySQL 1927"},
		"a value does not fit":    {"22003", "MySQL 1366"},
		"HashLength and Hasher":   {"22001", "18", "MySQL 1406"},
		"a constraint forbids it": {"23505", "19", "MySQL 1062", "MySQL 1451"},
	} {
		for _, c := range codes {
			t.Run(c, func(t *testing.T) {
				is := is.New(t)
				text := hide(withCode(c, secret)).Error()
				is.True(strings.HasPrefix(text, "the database refused with code "+c+": "))
				is.True(strings.Contains(text, words))
				is.True(!strings.Contains(text, "@"))
			})
		}
	}
}

// The database's own words are shown if they name a table or a column and can hold no value.
func TestOwnWords(t *testing.T) {
	for _, c := range []struct{ code, text, want string }{
		{"42P01", `ERROR: relation "recovery_jobs" does not exist (SQLSTATE 42P01)`, `relation "recovery_jobs" does not exist`},
		{"42P01", `pq: relation "app.users" does not exist at position 2:15 (42P01)`, `relation "app.users" does not exist`},
		{"42703", `pq: column users.mail does not exist at column 64 (42703)`, `column users.mail does not exist`},
		{"42703", `ERROR: column u.name does not exist (SQLSTATE 42703)`, `column u.name does not exist`},
		{"42703", `ERROR: column "mail" does not exist (SQLSTATE 42703)`, `column "mail" does not exist`},
		{"42703", `ERROR: column "mail" of relation "users" does not exist (SQLSTATE 42703)`, `column "mail" of relation "users" does not exist`},
		{"42501", `ERROR: permission denied for table users (SQLSTATE 42501)`, `permission denied for table users`},
		{"3F000", `ERROR: schema "app" does not exist (SQLSTATE 3F000)`, `schema "app" does not exist`},
		{"3D000", `FATAL: database "app" does not exist (SQLSTATE 3D000)`, `database "app" does not exist`},
		{"MySQL 1146", `Table 'app.recovery_jobs' doesn't exist`, `Table 'app.recovery_jobs' doesn't exist`},
		{"MySQL 1054", `Unknown column 'mail' in 'field list'`, `Unknown column 'mail'`},
		{"MySQL 1142", "SELECT command denied to user 'app'@'10.0.0.1' for table `shop`.`users`", "SELECT command denied for table `shop`.`users`"},
		{"MySQL 1143", "UPDATE command denied to user 'app'@'10.0.0.1' for column 'password_hash' in table 'users'", "UPDATE command denied for column 'password_hash' in table 'users'"},
		{"1", `no such table: recovery_jobs`, `no such table: recovery_jobs`},
		{"1", `SQL logic error: no such table: recovery_jobs (1)`, `no such table: recovery_jobs`},
		{"1", `no such column: u.mail`, `no such column: u.mail`},
		{"1", `table users has no column named mail`, `table users has no column named mail`},

		{"42P01", `La relation « recovery_jobs » n'existe pas`, "no such table"}, // lc_messages
		{"42P01", `relation "alice@example.com" does not exist`, "no such table"},
		{"42501", `permission denied for table alice@example.com`, "permission denied"},
		{"23505", `relation "users" does not exist`, "a constraint forbids it"}, // not what this code says
		{"1", `near "alice": syntax error`, ""},
		{"1", `no such column: "alice@example.com"`, ""},
	} {
		t.Run(c.code+" "+c.text, func(t *testing.T) {
			is := is.New(t)
			want := "the database refused with code " + c.code
			if c.want != "" {
				want += ": " + c.want
			}
			for _, err := range []error{withCode(c.code, c.text), fmt.Errorf("alice@example.com: %w", withCode(c.code, c.text))} {
				is.Equal(hide(err).Error(), want)
			}
		})
	}
}
