package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
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
