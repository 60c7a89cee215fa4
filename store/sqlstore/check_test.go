package sqlstore

import (
	"io/fs"
	"regexp"
	"slices"
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

// Check tries every column that a migration makes, but for those that the database computes.
func TestCheckKnowsAllColumns(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			text, err := fs.ReadFile(Migrations(d), "00001_recovery.sql")
			is.NoErr(err)
			for _, own := range ownTables {
				_, rest, found := strings.Cut(string(text), "recovery_"+own.name+" (\n")
				is.True(found)
				body, _, _ := strings.Cut(rest, "\n)")
				var made []string
				for _, m := range regexp.MustCompile(`(?m)^\t([a-z_]+) +(.*)$`).FindAllStringSubmatch(body, -1) {
					if !strings.Contains(m[2], "GENERATED") {
						made = append(made, m[1])
					}
				}
				tried := strings.Split(own.columns, ", ")
				slices.Sort(made)
				slices.Sort(tried)
				is.Equal(tried, made)
			}
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
