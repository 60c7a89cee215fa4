package sqlstore

import (
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"example.com/recovery"
)

// isOurs reports whether err is an answer of the store, not a failure of the database.
func isOurs(err error) bool {
	return errors.Is(err, recovery.ErrInvalidToken) || errors.Is(err, recovery.ErrLeaseLost) || errors.Is(err, recovery.ErrLimited)
}

// code returns the database's own name of an error, "" if it did not come from the database. It
// knows the drivers by their methods, and MySQL's by the form of its text, so that none is
// imported.
func code(err error) string {
	var state interface{ SQLState() string } // pgx, lib/pq
	if errors.As(err, &state) {
		return state.SQLState()
	}
	var number interface{ Code() int } // modernc.org/sqlite
	if errors.As(err, &number) {
		return strconv.Itoa(number.Code() & 0xff) // without the extended part
	}
	return mysqlCode(err)
}

func mysqlCode(err error) string {
	if err == nil {
		return ""
	}
	if rest, ok := strings.CutPrefix(err.Error(), "Error "); ok { // "Error 1213 (40001): …"
		if digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]; digits != "" {
			return "MySQL " + digits
		}
	}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		return mysqlCode(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range wrapper.Unwrap() {
			if c := mysqlCode(e); c != "" {
				return c
			}
		}
	}
	return ""
}

// decided reports whether the error of a commit says that nothing was committed.
func decided(err error) bool {
	if errors.Is(err, sql.ErrTxDone) {
		return true // it was not sent
	}
	switch c := code(err); c {
	case "", // no answer of the database
		"40003", "MySQL 1180", "10": // it does not know: completion unknown, error during COMMIT, SQLITE_IOERR
		return false
	case "MySQL 1053", "MySQL 1927": // shutdown, connection killed
		return false
	default: // connection exception (poolers say so for the server), operator intervention
		return !strings.HasPrefix(c, "08") && !strings.HasPrefix(c, "57P")
	}
}

// lostToAnother reports whether the transaction failed because of another one.
func lostToAnother(err error) bool {
	switch code(err) {
	case "40001", "40P01", // serialization failure, deadlock
		"MySQL 1213", "MySQL 1205", "MySQL 1020", // deadlock, lock wait timeout, record has changed
		"5", "6": // SQLITE_BUSY, SQLITE_LOCKED
		return true
	}
	return false
}

// refusedData reports whether the database refused what it was given: PostgreSQL's classes "data
// exception" and "integrity constraint violation", SQLITE_TOOBIG and SQLITE_CONSTRAINT, and of
// MySQL everything that was decided.
func refusedData(err error) bool {
	if errors.Is(err, ErrUnknownOutcome) || lostToAnother(err) {
		return false
	}
	switch c := code(err); {
	case c == "18", c == "19", strings.HasPrefix(c, "MySQL "):
		return true
	default:
		return len(c) == 5 && (c[:2] == "22" || c[:2] == "23")
	}
}

// hide keeps the values that databases put into their messages out of the text of err.
func hide(err error) error {
	if c := code(err); c != "" {
		return &databaseError{c, err}
	}
	return err
}

type databaseError struct {
	code string
	err  error
}

func (e *databaseError) Error() string { return "the database refused with code " + e.code }
func (e *databaseError) Unwrap() error { return e.err }
