package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
)

func TestCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
		lost bool
	}{
		{nil, "", false},
		{errors.New("no"), "", false},
		{errors.New("Error in the network"), "", false},
		{errors.New("Error : no"), "", false},
		{errors.New("the text has Error 1213 in it"), "", false},
		{sql.ErrNoRows, "", false},
		{context.Canceled, "", false},
		{&stateError{"40001", "no"}, "40001", true},
		{&stateError{"40P01", "no"}, "40P01", true},
		{&stateError{"23505", "no"}, "23505", false},
		{&stateError{"", "no"}, "", false},
		{&numberError{5, "no"}, "5", true},
		{&numberError{6, "no"}, "6", true},
		{&numberError{261, "no"}, "5", true}, // SQLITE_BUSY_RECOVERY
		{&numberError{517, "no"}, "5", true}, // SQLITE_BUSY_SNAPSHOT
		{&numberError{262, "no"}, "6", true}, // SQLITE_LOCKED_SHAREDCACHE
		{&numberError{19, "no"}, "19", false},
		{mattnError{5, 5, "no"}, "5", true},
		{mattnError{5, 517, "no snapshot"}, "5", true},
		{&mattnError{6, 262, "no"}, "6", true},
		{mattnError{1, 1, "no"}, "1", false},
		{mattnError{0, 0, "nothing"}, "", false},
		{httpError{Code: 5}, "", false}, // the application's own
		{textError{Code: "5", ExtendedCode: "517"}, "", false},
		{errors.New("Error 1213 (40001): Deadlock found"), "MySQL 1213", true},
		{errors.New("Error 1213: Deadlock found"), "MySQL 1213", true}, // older drivers
		{errors.New("Error 1205 (HY000): Lock wait timeout"), "MySQL 1205", true},
		{errors.New("Error 1020 (HY000): Record has changed"), "MySQL 1020", true},
		{errors.New("Error 12130 (40001): no"), "MySQL 12130", false},
		{errors.New("Error 1062"), "MySQL 1062", false},
	} {
		for how, err := range map[string]error{
			"bare":          c.err,
			"wrapped":       fmt.Errorf("the application: %w", c.err),
			"wrapped twice": fmt.Errorf("the application: %w", fmt.Errorf("its table: %w", c.err)),
			"beside":        fmt.Errorf("the application: %w, %w", errors.New("no"), c.err),
			"joined":        errors.Join(errors.New("no"), c.err),
			"joined deep":   fmt.Errorf("the application: %w", errors.Join(errors.New("no"), fmt.Errorf("row: %w", c.err))),
		} {
			if c.err == nil && how != "bare" {
				continue
			}
			t.Run(fmt.Sprintf("%v %s", c.err, how), func(t *testing.T) {
				is := is.New(t)
				is.Equal(code(err), c.code)
				is.Equal(lostToAnother(err), c.lost)
			})
		}
	}
}

// A mattnError is what github.com/mattn/go-sqlite3 returns.
type mattnError struct {
	Code         errNo
	ExtendedCode errNoExtended
	text         string
}

type (
	errNo         int
	errNoExtended int
)

func (e mattnError) Error() string { return e.text }

type httpError struct{ Code int }

func (httpError) Error() string { return "no" }

type textError struct{ Code, ExtendedCode string }

func (textError) Error() string { return "no" }

func TestDecided(t *testing.T) {
	is := is.New(t)
	is.True(decided(sql.ErrTxDone)) // ctx ended first, and database/sql rolled back
	is.True(decided(&stateError{"23503", "no"}))
	is.True(!decided(io.ErrUnexpectedEOF))
	for _, pooler := range []string{"08006", "57P01", "58000", "XX000"} {
		is.True(!decided(&stateError{pooler, "no"}))
	}
}

func TestRefusedData(t *testing.T) {
	is := is.New(t)
	mysql := func(code string) error { return errors.New("Error " + code + " (HY000): no") }
	for _, err := range []error{
		&stateError{"22021", "no"}, &stateError{"23505", "no"}, &numberError{18, "no"}, &numberError{2067, "no"},
		mysql("1062"), mysql("1406"), hide(mysql("1366")),
	} {
		t.Log(err)
		is.True(refusedData(err))
		is.True(!refusedData(fmt.Errorf("%w: %w", ErrUnknownOutcome, err))) // it may have been done
	}
	for _, err := range []error{
		nil, errors.New("no"), &stateError{"42501", "no"}, &stateError{"22", "no"}, &stateError{"40001", "no"},
		&numberError{5, "no"}, &numberError{13, "no"}, mysql("1213"), mysql("1205"), mysql("1040"), mysql("1290"),
	} {
		t.Log(err)
		is.True(!refusedData(err))
	}
}

// purge returns the error of a call of a store whose database has a fault.
func purge(t *testing.T, f fault) error {
	t.Helper()
	s := newStub(MySQL)
	s.fault = f
	store, _ := s.store(t, nil)
	_, err := store.Purge(t.Context(), now, now, 100)
	return err
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
		"a value does not fit":    {"22001", "18", "MySQL 1406"},
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

// withCode returns an error of a driver.
func withCode(c, text string) error {
	if number, ok := strings.CutPrefix(c, "MySQL "); ok {
		return errors.New("Error " + number + ": " + text)
	}
	if number, err := strconv.Atoi(c); err == nil && len(c) < 3 {
		return &numberError{number, text}
	}
	return &stateError{c, text}
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
