package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
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

func TestDecided(t *testing.T) {
	is := is.New(t)
	is.True(decided(sql.ErrTxDone)) // ctx ended first, and database/sql rolled back
	is.True(!decided(io.ErrUnexpectedEOF))
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
		&numberError{5, "no"}, &numberError{13, "no"}, mysql("1213"), mysql("1205"),
	} {
		t.Log(err)
		is.True(!refusedData(err))
	}
}

func TestErrorTexts(t *testing.T) {
	for _, c := range []struct {
		fault fault
		text  string
	}{
		{fault{call: 1, times: 1, err: errors.New("no")}, "sqlstore: no"},
		{fault{call: 1, times: 1, err: &stateError{"23505", secret}}, "sqlstore: the database refused with code 23505"},
		{fault{call: 1, times: 1, err: errors.New("Error 1062 (23000): " + secret)}, "sqlstore: the database refused with code MySQL 1062"},
		{fault{call: 5, times: 1, err: errors.New("cut")}, "sqlstore: the transaction may or may not have been committed: cut"},
		{
			fault{call: 5, times: 1, err: &stateError{"08P01", secret}},
			"sqlstore: the transaction may or may not have been committed: the database refused with code 08P01",
		},
	} {
		t.Run(c.text, func(t *testing.T) {
			is := is.New(t)
			s := newStub(MySQL)
			s.fault = c.fault
			store, _ := s.store(t, nil)
			_, err := store.Purge(t.Context(), now, now, 100)
			is.Equal(errorText(err), c.text)
		})
	}
}
