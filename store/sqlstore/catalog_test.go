package sqlstore

import (
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestVersionsOfServers(t *testing.T) {
	for text, want := range map[string]version{
		"PostgreSQL 15.20 (Debian 15.20-0+deb12u1) on x86_64-pc-linux-gnu": {"PostgreSQL", PostgreSQL, 15, 20},
		"PostgreSQL 18beta1 on x86_64-pc-linux-gnu":                        {"PostgreSQL", PostgreSQL, 18, 0},
		"8.0.36-0ubuntu0.22.04.1":                                          {"MySQL", MySQL, 8, 0},
		"10.11.19-MariaDB-0+deb12u1":                                       {"MariaDB", MySQL, 10, 11},
		"SQLite 3.50.4":                                                    {"SQLite", SQLite, 3, 50},
		"CockroachDB CCL v25.1.0 (x86_64-pc-linux-gnu)":                    {product: "CockroachDB"},
		"": {},
	} {
		is := is.New(t)
		is.Equal(parseVersion(text), want)
	}
}

func TestVersionsThatAreTooOld(t *testing.T) {
	for _, c := range []struct {
		dialect     Dialect
		query, text string
		want        string
	}{
		{PostgreSQL, "SELECT version()", "PostgreSQL 11.22", "sqlstore: PostgreSQL 11.22 is too old: the store needs PostgreSQL 12.0"},
		{PostgreSQL, "SELECT version()", "PostgreSQL 12.0", ""},
		{MySQL, "SELECT version()", "5.7.44", "sqlstore: MySQL 5.7 is too old: the store needs MySQL 8.0"},
		{MySQL, "SELECT version()", "10.5.9-MariaDB", "sqlstore: MariaDB 10.5 is too old: the store needs MariaDB 10.6"},
		{MySQL, "SELECT version()", "11.0.2-MariaDB", ""},
		{SQLite, "SELECT 'SQLite '", "SQLite 3.34.1", "sqlstore: SQLite 3.34 is too old: the store needs SQLite 3.35"},
		{SQLite, "SELECT 'SQLite '", "SQLite 3.35.0", ""},
	} {
		t.Run(c.text, func(t *testing.T) {
			is := is.New(t)
			s := newStub(c.dialect)
			s.rows[c.query] = append(s.rows[c.query], c.text)
			store, _ := s.store(t, nil)
			store.accounts = struct{ Accounts }{store.accounts} // no Checker
			err := store.Check(t.Context())
			if c.want == "" {
				is.NoErr(err)
			} else {
				is.Equal(errorText(err), c.want)
			}
			is.Equal(s.calls[len(s.calls)-1], "rollback")
		})
	}
}

func TestTypes(t *testing.T) {
	is := is.New(t)
	for typ, want := range map[string][3]bool{ // text, ID, condition
		"varchar(64)": {true, true, false}, "text": {true, true, false}, "clob": {true, true, false},
		"integer": {false, true, true}, "bigint": {false, true, true}, "boolean": {false, false, true},
		"uuid": {false, true, false}, "blob": {}, "": {}, "real": {}, "numeric": {}, "datetime": {}, "charint": {false, true, true},
	} {
		is.Equal([3]bool{SQLite.isText(typ), SQLite.isID(typ), SQLite.isCondition(typ)}, want)
	}
}

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
		is.True(errors.Is(shown(c.err), c.err))
		is.Equal(strings.Contains(shown(c.err).Error(), c.err.Error()), c.shown)
		is.True(!strings.Contains(shown(c.err).Error(), secret))
	}
}
