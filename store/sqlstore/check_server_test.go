package sqlstore

import (
	"context"
	"database/sql"
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

// A checkedAccounts is a Checker that finds the same fault of the server as the Store.
type checkedAccounts struct {
	Accounts
	more error
}

func (a checkedAccounts) Check(ctx context.Context, tx *sql.Tx, _ int, _ func(string)) error {
	p := &probe{ctx: ctx, tx: tx, d: PostgreSQL}
	p.server()
	return errors.Join(p.result(), a.more)
}

func TestFaultOfTheServerIsReportedOnce(t *testing.T) {
	for version, want := range map[string]string{
		"PostgreSQL 11.22": "sqlstore: PostgreSQL 11.22 is too old: the store needs PostgreSQL 12.0",
		"8.0.36":           "sqlstore: the Dialect is PostgreSQL, but the database is MySQL 8.0",
		"PostgreSQL 15.1":  "",
	} {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.rows["SELECT version()"] = append(s.rows["SELECT version()"], version)
		store, _ := s.store(t, nil)
		inner := store.accounts
		store.accounts = checkedAccounts{inner, nil}
		is.Equal(errorText(store.Check(t.Context())), want)
		store.accounts = checkedAccounts{inner, errors.New("more")}
		is.Equal(errorText(store.Check(t.Context())), strings.TrimPrefix(want+"\nmore", "\n"))
	}
}
