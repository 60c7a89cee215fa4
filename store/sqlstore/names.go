package sqlstore

import (
	"cmp"
	"errors"
	"regexp"
)

const defaultPrefix = "recovery_"

// names are the names of the store's tables.
type names struct {
	dialect        Dialect
	schema, prefix string
}

var (
	validPrefix = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	validSchema = regexp.MustCompile(`^[A-Za-z0-9_-]{0,63}$`)
)

// namesOf returns the names that the options ask for. The error names every fault.
func namesOf(d Dialect, opts *Options) (names, error) {
	if opts == nil {
		opts = &Options{}
	}
	n := names{d, opts.Schema, cmp.Or(opts.TablePrefix, defaultPrefix)}
	var faults []error
	if d < PostgreSQL || d > SQLite {
		faults = append(faults, errors.New("sqlstore: the Dialect must be PostgreSQL, MySQL or SQLite"))
	}
	if !validPrefix.MatchString(n.prefix) {
		faults = append(faults, errors.New("sqlstore: Options.TablePrefix must be up to 32 lower-case letters, digits and underscores, and begin with a letter"))
	}
	switch {
	case d == SQLite && n.schema != "":
		faults = append(faults, errors.New("sqlstore: Options.Schema must be empty, as SQLite has no schemas"))
	case !validSchema.MatchString(n.schema):
		faults = append(faults, errors.New("sqlstore: Options.Schema must be up to 63 letters, digits, underscores and hyphens"))
	}
	return n, errors.Join(faults...)
}

// The name of an index has no schema: an index is in the schema of its table.
var ownName = regexp.MustCompile(`\brecovery_((?:jobs|resets|limits|migrations)\b)?`)

// in replaces the default names in SQL with the store's own.
func (n names) in(sql string) string {
	table := n.prefix
	if quote := map[Dialect]string{PostgreSQL: `"`, MySQL: "`"}[n.dialect]; n.schema != "" {
		table = quote + n.schema + quote + "." + n.prefix
	}
	return ownName.ReplaceAllStringFunc(sql, func(name string) string {
		if rest := name[len(defaultPrefix):]; rest != "" {
			return table + rest
		}
		return n.prefix
	})
}
