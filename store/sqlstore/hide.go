package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
)

// hide returns err with a text that may be logged: the code and what it means. Databases put values
// into their messages. Three others say more, each in its place: hideInBegin, hideInMigrate and
// hideInCheck.
func hide(err error) error {
	c, text := answer(err)
	if c == "" {
		return err
	}
	words := ownWords(c, text)
	if words == "" {
		words = meaning(c)
	}
	return &databaseError{c, words, err}
}

type databaseError struct {
	code, words string
	err         error
}

func (e *databaseError) Error() string {
	text := "the database refused with code " + e.code
	if e.words != "" {
		text += ": " + e.words
	}
	return text
}

func (e *databaseError) Unwrap() error { return e.err }

// hideInBegin is for errors of BEGIN, when no statement has run yet. It says why there is no
// connection. The driver's own text may contain hosts, users and even a password.
func hideInBegin(err error) error {
	if code(err) != "" {
		return err // the server answered
	}
	return &connectionError{err}
}

// hideInMigrate is for statements outside a transaction of the store.
func hideInMigrate(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case code(err) != "":
		return hide(err)
	case ctx.Err() != nil:
		return ctx.Err() // drivers word it differently
	}
	return hideInBegin(err)
}

// hideInCheck is for statements of Check. It keeps the database's own words if they are only about
// the statement. Other words may contain values of rows, or the user who was refused.
func hideInCheck(err error) error {
	switch c := code(err); {
	case isDenied(err):
		return hide(err)
	case len(c) == 5 && strings.HasPrefix(c, "42"), c == "55000", // PostgreSQL: the statement, a view
		c == "1", // SQLite
		c == "MySQL 1054", c == "MySQL 1064", c == "MySQL 1146", c == "MySQL 1305", c == "MySQL 1288", c == "MySQL 1348", c == "MySQL 1471":
		return err
	}
	return hide(err)
}

type connectionError struct{ err error }

func (e *connectionError) Error() string {
	const text = "no connection to the database"
	var network net.Error
	var lookUp *net.DNSError
	var system *os.SyscallError
	switch {
	case errors.As(e.err, &network) && network.Timeout():
		return text + ": timed out"
	case errors.As(e.err, &lookUp):
		return text + ": its host name was not found"
	case errors.As(e.err, &system):
		return text + ": " + system.Err.Error()
	case errors.Is(e.err, io.EOF), errors.Is(e.err, io.ErrUnexpectedEOF),
		errors.Is(e.err, driver.ErrBadConn):
		return text + ": the server closed it"
	}
	return text
}

func (e *connectionError) Unwrap() error { return e.err }

// Meanings that the store compares with.
const (
	denied   = "permission denied"
	readOnly = "the database is read-only"
)

// isDenied reports whether the role has no right to do it.
func isDenied(err error) bool { return meaning(code(err)) == denied }

// isReadOnly reports whether nobody may write.
func isReadOnly(err error) bool { return meaning(code(err)) == readOnly }

// meaning says what a code means, for faults that an operator can mend.
func meaning(code string) string {
	switch code {
	case "53100", "13", "MySQL 1021":
		return "the disk is full"
	case "MySQL 1114":
		return "the table or the disk is full"
	case "58030", "10", "MySQL 3", "MySQL 1026":
		return "reading or writing a file failed; the disk may be full or broken"
	case "XX001", "XX002", "11", "MySQL 1194":
		return "the database is damaged"
	case "26":
		return "the file is not a SQLite database"
	case "14":
		return "the database file cannot be opened"
	case "25006", "8", "MySQL 1290", "MySQL 1792", "MySQL 1836":
		return readOnly
	case "42501", "3", "23", "MySQL 1044", "MySQL 1142", "MySQL 1143":
		return denied
	case "28P01", "28000", "MySQL 1045", "MySQL 1698":
		return "the login was refused"
	case "42P01", "MySQL 1146":
		return "no such table"
	case "42703", "MySQL 1054":
		return "no such column"
	case "3F000":
		return "no such schema"
	case "3D000", "MySQL 1049":
		return "no such database"
	case "53300", "MySQL 1040", "MySQL 1203", "MySQL 1226":
		return "it has too many connections"
	case "53200", "7", "MySQL 1037", "MySQL 1041":
		return "it is out of memory"
	case "57P01", "57P02", "57P03", "MySQL 1053":
		return "the server is starting or stopping"
	case "57014", "9", "MySQL 1317", "MySQL 1969", "MySQL 3024":
		return "the statement was cancelled, by a timeout or by someone"
	case "55P03", "5", "6", "MySQL 1205":
		return "the data is locked by another connection"
	case "40001", "40P01", "MySQL 1213", "MySQL 1020":
		return "it conflicted with another transaction"
	case "22001", "18", "MySQL 1406":
		return "a value does not fit its column; for a password hash, HashLength and Hasher must agree"
	case "MySQL 1366":
		return "a value does not fit"
	case "19", "MySQL 1062", "MySQL 1451", "MySQL 1452":
		return "a constraint forbids it"
	case "MySQL 1927":
		return "the connection was lost or refused"
	}
	switch {
	case len(code) != 5:
		return ""
	case code[:2] == "08":
		return "the connection was lost or refused"
	case code[:2] == "22":
		return "a value does not fit"
	case code[:2] == "23":
		return "a constraint forbids it"
	}
	return ""
}

// ownWords returns the database's own words if they say what is missing or forbidden. The whole
// text must match a form that has only names of tables and columns, never a value.
func ownWords(code, text string) string {
	switch code {
	case "42P01", "42703", "42501", "3F000", "3D000", "1",
		"MySQL 1146", "MySQL 1054", "MySQL 1142", "MySQL 1143", "MySQL 1049":
		if found := wordsForm.FindStringSubmatch(deniedUser.ReplaceAllString(text, "")); found != nil {
			return found[1]
		}
	}
	return ""
}

// wordsForm finds the words in the drivers' texts. NAME stands for a name, quoted or not.
var wordsForm = regexp.MustCompile(strings.ReplaceAll(`^`+
	`(?:ERROR: |FATAL: |pq: |SQL logic error: |Error \d+(?: \(\w+\))?: )?`+
	`(`+
	`(?:relation|column|schema|database) NAME(?: of relation NAME)? does not exist|`+
	`permission denied for \w+ NAME|`+
	`Table NAME doesn't exist|`+
	`Unknown (?:column|database) NAME|`+
	`[A-Z, ]+ command denied for (?:table|column) NAME(?: in table NAME)?|`+
	`no such (?:table|column): NAME|`+
	`table NAME has no column named NAME`+
	`)`+
	`(?: in '[\w ]+'| at (?:position|column) [\d:]+| \(\w+\)| \(SQLSTATE \w+\))*`+
	`$`, "NAME", "[\\w.\"'`-]+"))

var deniedUser = regexp.MustCompile(` to user '[^']*'@'[^']*'`)
