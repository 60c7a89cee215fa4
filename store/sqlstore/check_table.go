package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/recovery"
)

var _ Checker = (*Mapping)(nil)

// sample is how many rows a check reads.
const sample = "1000"

// A tableCheck tries a mapping against its table.
type tableCheck struct {
	probe
	*Mapping
	rel  relation
	warn func(string)
}

// Check implements [Checker].
func (m *Mapping) Check(ctx context.Context, tx *sql.Tx, hashLength int, warn func(warning string)) error {
	c := &tableCheck{probe: probe{ctx: ctx, tx: tx, d: m.dialect}, Mapping: m, warn: warn}
	if !c.server() || !c.exists() {
		return c.result()
	}
	c.rel = c.relation(m.table.Name)
	c.checkKind()
	c.checkColumns(hashLength)
	c.checkConditions()
	if len(c.faults) == 0 {
		c.checkStatements()
	}
	if len(c.faults) == 0 {
		c.checkIndexes()
	}
	return c.result()
}

func (c *tableCheck) from() string { return " FROM " + c.dialect.quote(c.table.Name) }

func (c *tableCheck) exists() bool {
	err := c.try("SELECT 1" + c.from() + " WHERE 1 = 0")
	if err != nil {
		c.fault("Table.Name: the table %q: %w", c.table.Name, err)
	}
	return err == nil
}

func (c *tableCheck) checkKind() {
	switch {
	case !c.rel.transactions:
		c.fault("Table.Name: the table %q has an engine without transactions: give it ENGINE=InnoDB", c.table.Name)
	case c.rel.view && c.dialect == SQLite:
		c.fault("Table.Name: %q is a view, and SQLite does not count rows that are changed through a view: name the table", c.table.Name)
	case c.rel.view:
		c.warn(fmt.Sprintf("Table.ID: %q is a view, so it is unknown whether %q is unique: no password is set for an ID that is not", c.table.Name, c.table.ID))
	}
}

// A field is a field of Table and the column that it names.
type field struct{ name, column string }

// columns are all columns that the Table names.
func (t Table) columns() (all []field) {
	for _, f := range []field{
		{"ID", t.ID}, {"Tenant", t.Tenant}, {"Username", t.Username}, {"CanonicalUsername", t.CanonicalUsername},
		{"Email", t.Email}, {"CanonicalEmail", t.CanonicalEmail}, {"PasswordHash", t.PasswordHash}, {"Locale", t.Locale},
	} {
		if f.column != "" && isColumn(f.column) {
			all = append(all, f)
		}
	}
	return all
}

func (c *tableCheck) checkColumns(hashLength int) {
	for _, f := range c.table.columns() {
		advice := ""
		if strings.Contains(f.column, "(") {
			advice = ": name a column, not an expression"
		}
		if err := c.try("SELECT " + c.column(f.column) + c.from() + " WHERE 1 = 0"); err != nil {
			c.fault("Table.%s: the column %q: %w%s", f.name, f.column, err, advice)
			continue
		}
		typ, ok := c.rel.columnNamed(c.dialect, f.column)
		if !ok {
			c.fault("Table.%s: %q is not a column of the table%s", f.name, f.column, advice)
			continue
		}
		switch f.name {
		case "ID":
			c.checkID(f, typ)
		case "PasswordHash":
			c.checkHash(f, typ, hashLength)
		case "Username", "Email":
			c.checkText(f, typ)
		case "CanonicalUsername":
			if c.checkText(f, typ) {
				c.checkCanonical(f, c.table.Username)
			}
		case "CanonicalEmail":
			if c.checkText(f, typ) {
				c.checkCanonical(f, c.table.Email)
			}
		}
	}
}

func (c *tableCheck) checkID(f field, typ columnType) {
	switch {
	case !c.dialect.isID(typ.name):
		c.fault("Table.ID: the column %q is %s, whose texts do not identify its values: name a column of integers, UUIDs or texts,"+
			" such as a unique generated column", f.column, typ)
	case !c.valuesAre(f, "integer", "text"):
	case !typ.unique && !c.rel.view:
		c.fault("Table.ID: the column %q is not unique by itself: give it a primary key or a unique index of its own, without a condition", f.column)
	}
}

func (c *tableCheck) checkHash(f field, typ columnType, length int) {
	switch {
	case !c.dialect.isText(typ.name):
		c.fault("Table.PasswordHash: the column %q is %s: it must be a text", f.column, typ)
	case typ.length > 0 && typ.length < length:
		c.fault("Table.PasswordHash: the column %q holds %d characters, and a hash has up to %d: make it VARCHAR(255), or set Options.HashLength: 60 is bcrypt's",
			f.column, typ.length, length)
	}
}

// checkText reports whether the column holds texts.
func (c *tableCheck) checkText(f field, typ columnType) bool {
	if !c.dialect.isText(typ.name) {
		c.fault("Table.%s: the column %q is %s: it must be a text", f.name, f.column, typ)
		return false
	}
	if !c.valuesAre(f, "text", "null") {
		return false
	}
	canonical := map[string]string{"Username": c.table.CanonicalUsername, "Email": c.table.CanonicalEmail}[f.name]
	if canonical != Exact && canonical != Collation || c.ignoresCase(f.column) {
		return true
	}
	if canonical == Collation {
		c.fault("Table.Canonical%s is Collation, but the column %q does not ignore case: give it a type or collation that does"+
			" (citext, utf8mb4_general_ci, NOCASE), or name a column with the canonical form", f.name, f.column)
	} else if f.name == "Email" {
		c.checkCapitals(f)
	}
	return true
}

func (t columnType) String() string {
	if t.name == "" {
		return "without a type"
	}
	return strings.ToUpper(t.name)
}

// valuesAre reports whether all values of a column have the types. SQLite's columns may hold any.
func (c *tableCheck) valuesAre(f field, types ...string) bool {
	if c.dialect != SQLite {
		return true
	}
	for _, typ := range c.typesOf(c.column(f.column)) {
		if !slices.Contains(types, typ) {
			c.fault("Table.%s: the column %q has values of the type %s: change them to %s", f.name, f.column, typ, types[0])
			return false
		}
	}
	return true
}

// typesOf returns the types of an expression's values in a sample of rows.
func (c *tableCheck) typesOf(expression string) []string {
	a, err := c.read("SELECT DISTINCT typeof(x) AS t FROM (SELECT (" + expression + ") AS x" + c.from() + " LIMIT " + sample + ")")
	if err != nil {
		return nil
	}
	return a.column("t")
}

// ignoresCase asks the database how the column compares, without reading its rows.
func (c *tableCheck) ignoresCase(column string) bool {
	as := " AS "
	if c.dialect == SQLite {
		as = " AS MATERIALIZED "
	}
	a, err := c.read("WITH u(v)" + as + "(SELECT " + c.column(column) + c.from() + " WHERE 1 = 0 UNION ALL SELECT 'A') SELECT v = 'a' FROM u")
	return err == nil && len(a.rows) == 1 && (a.rows[0][0] == "1" || a.rows[0][0] == "true")
}

// checkCapitals refuses addresses that a look-up finds only if the same capitals are typed.
func (c *tableCheck) checkCapitals(f field) {
	a, err := c.read("SELECT " + c.text(f.column) + ", " + bit(c.reachable()) + c.from() + " LIMIT " + sample)
	if err != nil {
		return // checkConditions reports it
	}
	n := 0
	for _, row := range a.rows {
		_, err := recovery.CanonicalEmail(row[0])
		if row[1] == "1" && err == nil && strings.ContainsFunc(row[0], func(r rune) bool { return 'A' <= r && r <= 'Z' }) {
			n++
		}
	}
	if n > 0 {
		c.fault("Table.CanonicalEmail is Exact, but %d of %d addresses in %q have capital letters, and get mail only if these are typed:"+
			" name a column with the canonical form, or have the column ignore case and choose Collation", n, len(a.rows), f.column)
	}
}

// checkCanonical looks in a column of canonical forms for accounts that no look-up finds. source is
// the column with the names or addresses themselves.
func (c *tableCheck) checkCanonical(f field, source string) {
	a, err := c.read("SELECT " + c.text(source) + ", " + c.text(f.column) + ", " + bit(c.reachable()) + c.from() + " LIMIT " + sample)
	if err != nil {
		return // as in checkCapitals
	}
	canonical := recovery.CanonicalUsername
	if f.name == "CanonicalEmail" {
		canonical = recovery.CanonicalEmail
	}
	ignoresCase := c.ignoresCase(f.column)
	reachable, empty, wrong := 0, 0, 0
	for _, row := range a.rows {
		if row[2] != "1" {
			continue
		}
		reachable++
		if _, err := canonical(row[0]); err != nil {
			continue // nobody can ask for it
		}
		form, _ := canonical(row[1])
		switch {
		case row[1] == "":
			empty++
		case form != row[1] && !(ignoresCase && strings.EqualFold(form, row[1])):
			wrong++
		}
	}
	if wrong > 0 && f.name == "CanonicalEmail" {
		c.fault("Table.CanonicalEmail: %d of %d active, verified accounts have a text in %q that is not canonical, so they get no mail:"+
			" fill the column with what recovery.CanonicalEmail returns", wrong, reachable, f.column)
	} else if wrong > 0 {
		c.warn(fmt.Sprintf("Table.CanonicalUsername: %d of %d active, verified accounts have a text in %q that recovery.CanonicalUsername does not return,"+
			" so they get no mail unless Options.CanonicalUsername returns it", wrong, reachable, f.column))
	}
	if empty > 0 {
		c.warn(fmt.Sprintf("Table.%s: %d of %d active, verified accounts have no canonical form in %q, so they get no mail until it is filled",
			f.name, empty, reachable, f.column))
	}
}

func (c *tableCheck) checkConditions() {
	for _, f := range []struct{ name, condition string }{
		{"Active", c.table.Active}, {"HasPassword", c.table.HasPassword}, {"EmailVerified", c.table.EmailVerified},
	} {
		if f.condition == "" {
			continue
		}
		a, err := c.read("SELECT (" + f.condition + ")" + c.from() + " WHERE 1 = 0")
		if err != nil {
			c.fault("Table.%s: %q: %w", f.name, f.condition, err)
			continue
		}
		typ := strings.Join(a.types, "")
		isCondition := typ == "" || c.dialect.isCondition(typ)
		if c.dialect == SQLite {
			types := c.typesOf(f.condition)
			alone, _ := c.read("SELECT typeof((" + f.condition + ")) AS t FROM (SELECT 1) LEFT JOIN " + c.dialect.quote(c.table.Name) + " ON 1 = 0")
			for _, t := range append(types, alone.column("t")...) {
				if t != "integer" && t != "null" {
					typ, isCondition = strings.ToUpper(t), false
				}
			}
		}
		if !isCondition {
			c.fault("Table.%s: %q is %s, not a condition: compare it with something, as in \"status = 'active'\"", f.name, f.condition, typ)
			continue
		}
		c.checkConstant(f.name, f.condition)
	}
	if c.table.SignIn != "" {
		if err := c.try("SELECT " + c.signIn() + c.from() + " WHERE 1 = 0"); err != nil {
			c.fault("Table.SignIn: %q: %w", c.table.SignIn, err)
		}
	}
}

// checkConstant finds conditions that name no column, such as one whose column is quoted as a text.
func (c *tableCheck) checkConstant(name, condition string) {
	if condition == Always || strings.Contains(strings.ToLower(condition), "select") { // it may be about other rows
		return
	}
	a, err := c.read("SELECT " + bit(condition))
	switch {
	case err != nil || len(a.rows) == 0: // it names a column
	case a.rows[0][0] == "1":
		c.warn(fmt.Sprintf("Table.%s: %q names no column, so it holds for every account: write sqlstore.Always if it should", name, condition))
	default:
		c.fault("Table.%s: %q names no column and is never true", name, condition)
	}
}

// A lookUp is a statement of the mapping, with arguments that find no row.
type lookUp struct {
	field
	query string
	args  []any
}

func (c *tableCheck) lookUps() []lookUp {
	t := c.table
	args := func(canonical string) (args []any) {
		if t.Tenant != "" {
			args = append(args, nil, nil)
		}
		if !isColumn(canonical) {
			args = append(args, nil)
		}
		return append(args, nil, 1)
	}
	searched := func(column, canonical string) string {
		if isColumn(canonical) {
			return canonical
		}
		return column
	}
	byID := args("")
	return []lookUp{
		{field{"Username", searched(t.Username, t.CanonicalUsername)}, c.byUsername, args(t.CanonicalUsername)},
		{field{"Email", searched(t.Email, t.CanonicalEmail)}, c.byEmail, args(t.CanonicalEmail)},
		{field{"ID", t.ID}, c.byID, byID[:len(byID)-1]},
		{field{"ID", t.ID}, c.one, []any{nil}},
	}
}

// checkStatements tries every statement with an ID or a name that is NULL.
func (c *tableCheck) checkStatements() {
	for _, l := range c.lookUps() {
		if err := c.try(l.query, l.args...); err != nil {
			c.fault("Table.%s: the database refuses a look-up by %q: %w", l.name, l.column, err)
		}
	}
	if err := c.try(c.lock, nil); err != nil && !isReadOnly(err) { // the Store reports that
		c.fault("Table.Name: the database refuses to lock a row of %q: %w", c.table.Name, err)
	}
	if err := c.try(c.set, "", nil); err != nil && !isReadOnly(err) {
		c.fault("Table.PasswordHash: the database refuses to set %q: %w", c.table.PasswordHash, err)
	}
}

// checkIndexes warns of look-ups that read all rows.
func (c *tableCheck) checkIndexes() {
	if c.dialect == PostgreSQL { // so that it uses an index for small tables too
		for _, set := range []string{"SET LOCAL enable_seqscan = off", "SET LOCAL plan_cache_mode = force_generic_plan"} {
			if c.try(set) != nil {
				return
			}
		}
	}
	warned := map[field]bool{}
	for _, l := range c.lookUps() {
		if c.usesIndex(l) || warned[l.field] || c.broken != nil {
			continue
		}
		warned[l.field] = true
		on := l.column
		if c.table.Tenant != "" && l.name != "ID" {
			on = c.table.Tenant + ", " + on
		}
		c.warn(fmt.Sprintf("Table.%s: a look-up by %q reads all rows of %q: create an index on (%s)", l.name, l.column, c.table.Name, on))
	}
}

// usesIndex reports whether the look-up uses an index on its column, as far as the database tells.
func (c *tableCheck) usesIndex(l lookUp) bool {
	switch c.dialect {
	case PostgreSQL:
		return c.postgresqlUsesIndex(l)
	case MySQL:
		return c.mysqlUsesIndex(l)
	}
	a, err := c.read("EXPLAIN QUERY PLAN "+l.query, l.args...)
	return err != nil || slices.ContainsFunc(a.column("detail"), func(step string) bool {
		step = strings.ToLower(step)
		return strings.Contains(step, strings.ToLower(l.column)+"=?") || strings.Contains(step, "(rowid=?)")
	})
}

// postgresqlUsesIndex asks for a plan that does not depend on the arguments, because a plan for
// NULL reads nothing.
func (c *tableCheck) postgresqlUsesIndex(l lookUp) bool {
	prepare := func() error { return c.try("PREPARE recovery_check AS " + l.query) }
	err := prepare()
	if code(err) == "42P05" { // left in the session by a check that was cut off
		_ = c.try("DEALLOCATE recovery_check")
		err = prepare()
	}
	if err != nil {
		return true
	}
	nulls := strings.TrimSuffix(strings.Repeat("NULL, ", len(l.args)), ", ")
	a, err := c.read("EXPLAIN EXECUTE recovery_check (" + nulls + ")")
	_ = c.try("DEALLOCATE recovery_check")
	usesAny := slices.ContainsFunc(a.rows, func(row []string) bool { return strings.Contains(row[0], "Index Cond:") })
	// For a small table it may use an index on the tenant alone, although there is a better one.
	return err != nil || usesAny && (c.rel.view || c.rel.indexed(l.column, slices.Collect(maps.Keys(c.rel.indexes))...))
}

// mysqlUsesIndex accepts an index that MySQL could use, because MySQL reads a small table without
// any.
func (c *tableCheck) mysqlUsesIndex(l lookUp) bool {
	args := slices.Clone(l.args)
	for i := range args {
		if args[i] == nil {
			args[i] = "recovery"
		}
	}
	a, err := c.read("EXPLAIN "+l.query, args...)
	if err != nil || strings.Contains(strings.Join(a.column("Extra"), " "), "Impossible WHERE") {
		return true
	}
	return slices.ContainsFunc(a.column("possible_keys"), func(names string) bool {
		return names != "" && (c.rel.view || c.rel.indexed(strings.ToLower(l.column), strings.Split(names, ",")...))
	})
}
