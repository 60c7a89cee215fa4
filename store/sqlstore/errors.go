package sqlstore

import (
	"database/sql"
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// code returns the database's code of an error, or "" if it did not come from the database.
func code(err error) string {
	c, _ := answer(err)
	return c
}

// answer returns the code and the text of the database's answer in err. It recognises drivers by
// methods and fields, and MySQL's by the form of its text, so it imports none.
func answer(err error) (code, text string) {
	if err == nil {
		return "", ""
	}
	switch e := err.(type) {
	case interface{ SQLState() string }: // pgx, lib/pq
		return e.SQLState(), err.Error()
	case interface{ Code() int }: // modernc.org/sqlite
		return sqliteCode(int64(e.Code())), err.Error()
	}
	if number, ok := mattnCode(err); ok {
		return sqliteCode(number), err.Error()
	}
	if number := mysqlForm.FindStringSubmatch(err.Error()); number != nil {
		return "MySQL " + number[1], err.Error()
	}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		return answer(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range wrapper.Unwrap() {
			if code, text = answer(e); code != "" {
				return code, text
			}
		}
	}
	return "", ""
}

// mysqlForm is what go-sql-driver begins its texts with: "Error 1213 (40001): …".
var mysqlForm = regexp.MustCompile(`^Error ([0-9]+)`)

// sqliteCode returns a code without its extended part.
func sqliteCode(number int64) string { return strconv.FormatInt(number&0xff, 10) }

// mattnCode returns the code of an error of github.com/mattn/go-sqlite3, which is a struct without
// a method for it. The text is no substitute: SQLITE_CONSTRAINT alone has several.
func mattnCode(err error) (int64, bool) {
	v := reflect.Indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct {
		return 0, false
	}
	short, extended := v.FieldByName("Code"), v.FieldByName("ExtendedCode")
	if !short.IsValid() || !extended.IsValid() || !short.CanInt() || !extended.CanInt() {
		return 0, false
	}
	return short.Int(), short.Int() != 0
}

// decided reports whether the error of a commit says that nothing was committed.
func decided(err error) bool {
	if errors.Is(err, sql.ErrTxDone) {
		return true // it was not sent
	}
	c := code(err)
	switch c {
	case "", // no answer of the database
		"40003", "MySQL 1180", "10", // completion unknown, error during COMMIT, SQLITE_IOERR
		"MySQL 1053", "MySQL 1927": // shutdown, connection killed
		return false
	}
	// Connection exception, operator intervention, system error, internal error: poolers send these
	// on the server's behalf.
	for _, class := range []string{"08", "57P", "58", "XX"} {
		if strings.HasPrefix(c, class) {
			return false
		}
	}
	return true
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
// exception" and "integrity constraint violation", SQLITE_TOOBIG and SQLITE_CONSTRAINT, and MySQL's
// codes of the same kind.
func refusedData(err error) bool {
	if errors.Is(err, ErrUnknownOutcome) {
		return false
	}
	switch c := code(err); c {
	case "18", "19",
		"MySQL 1048", "MySQL 1062", "MySQL 1364", "MySQL 1451", "MySQL 1452", "MySQL 4025", "MySQL 3819", // constraints
		"MySQL 1264", "MySQL 1265", "MySQL 1292", "MySQL 1366", "MySQL 1406", "MySQL 1690", // values
		"MySQL 1267", "MySQL 1300", "MySQL 1644", "MySQL 3988": // letters, and SIGNAL of a trigger
		return true
	default:
		return len(c) == 5 && (c[:2] == "22" || c[:2] == "23")
	}
}
