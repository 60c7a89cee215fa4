package sqlstore

import (
	"fmt"
	"strings"
)

// serverChecked is the key of a context for a Checker. Its value is the dialect for which the Store
// has reported the faults of the server.
type serverChecked struct{}

// server checks the kind and version of the database, and reports whether it has the dialect.
func (p *probe) server() bool {
	a, _ := p.read("SELECT version()")
	if len(a.rows) == 0 {
		a, _ = p.read("SELECT 'SQLite ' || sqlite_version()")
	}
	if p.broken != nil {
		return false
	}
	fault := p.fault
	if p.ctx.Value(serverChecked{}) == p.d {
		fault = func(string, ...any) {}
	}
	if len(a.rows) == 0 {
		fault("the Dialect is %s, but the store does not know this database", p.d)
		return false
	}
	v := parseVersion(a.rows[0][0])
	if v.dialect != p.d {
		fault("the Dialect is %s, but the database is %s", p.d, v)
		return false
	}
	if least := oldest[v.product]; v.major < least.major || v.major == least.major && v.minor < least.minor {
		fault("%s is too old: the store needs %s", v, least)
	}
	return true
}

// A version is a kind of server and its version.
type version struct {
	product      string
	dialect      Dialect
	major, minor int
}

func (v version) String() string {
	if v.dialect == 0 {
		return v.product
	}
	return fmt.Sprintf("%s %d.%d", v.product, v.major, v.minor)
}

var oldest = map[string]version{
	"PostgreSQL": {"PostgreSQL", PostgreSQL, 12, 0},
	"MySQL":      {"MySQL", MySQL, 8, 0},
	"MariaDB":    {"MariaDB", MySQL, 10, 6},
	"SQLite":     {"SQLite", SQLite, 3, 35},
}

// parseVersion reads "PostgreSQL 15.2 on …", "8.0.36", "10.11.19-MariaDB", or "SQLite 3.45.1".
func parseVersion(text string) (v version) {
	name, rest, _ := strings.Cut(text, " ")
	switch {
	case name == "PostgreSQL", name == "SQLite":
		v = oldest[name]
		text = rest
	case strings.Contains(text, "MariaDB"):
		v = oldest["MariaDB"]
	case text != "" && '0' <= text[0] && text[0] <= '9':
		v = oldest["MySQL"]
	default:
		return version{product: name}
	}
	v.minor = 0 // "16beta1" has none
	_, _ = fmt.Sscanf(text, "%d.%d", &v.major, &v.minor)
	return v
}
