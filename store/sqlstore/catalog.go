package sqlstore

import (
	"slices"
	"strconv"
	"strings"
)

// A relation is what the database's catalog says about a table or view.
type relation struct {
	view         bool
	transactions bool // writes can be rolled back
	columns      map[string]columnType
	indexes      map[string][]string // columns by the index's name; not on SQLite
}

// A columnType is the type of a column.
type columnType struct {
	name   string // the database's, in lower case
	length int    // in characters, 0 if there is no bound
	unique bool   // alone, without a condition
}

// relation reads the catalog.
func (p *probe) relation(name string) relation {
	schema, table := "", name
	if parts := strings.Split(name, "."); len(parts) > 1 {
		schema, table = strings.Join(parts[:len(parts)-1], "."), parts[len(parts)-1]
	}
	switch p.d {
	case PostgreSQL:
		return p.postgresqlRelation(p.d.quote(name))
	case MySQL:
		return p.mysqlRelation(schema, table)
	}
	return p.sqliteRelation(schema, table)
}

// indexed reports whether one of the indexes has the column.
func (r relation) indexed(column string, indexes ...string) bool {
	return slices.ContainsFunc(indexes, func(index string) bool { return slices.Contains(r.indexes[index], column) })
}

// columnNamed returns the column with the name. Case matters only on PostgreSQL.
func (r relation) columnNamed(d Dialect, name string) (columnType, bool) {
	if d != PostgreSQL {
		name = strings.ToLower(name)
	}
	c, ok := r.columns[name]
	return c, ok
}

// postgresqlCatalog lists the columns of a table or view. It resolves a domain to its base type and
// length.
const postgresqlCatalog = `WITH RECURSIVE types AS (
		SELECT c.relkind, a.attrelid, a.attname, a.attnum, a.atttypid AS type, a.atttypmod AS mod
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.oid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
		SELECT t.relkind, t.attrelid, t.attname, t.attnum, d.typbasetype, greatest(t.mod, d.typtypmod)
		FROM types t JOIN pg_type d ON d.oid = t.type WHERE d.typtype = 'd')
	SELECT t.relkind::text AS kind, t.attname::text AS name, d.typname::text AS type, t.mod::text AS mod,
		EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = t.attrelid AND i.indisunique AND i.indisvalid
			AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = t.attnum)::text AS is_unique
	FROM types t JOIN pg_type d ON d.oid = t.type WHERE d.typtype <> 'd'`

const postgresqlIndexes = `SELECT i.indexrelid::text AS name, a.attname::text AS column
	FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
	WHERE i.indrelid = to_regclass($1::text) AND i.indisvalid AND i.indpred IS NULL`

func (p *probe) postgresqlRelation(quoted string) relation {
	a, _ := p.read(postgresqlCatalog, quoted)
	r := relation{transactions: true, columns: map[string]columnType{}, indexes: map[string][]string{}}
	indexes, _ := p.read(postgresqlIndexes, quoted)
	for _, row := range indexes.rows {
		r.indexes[row[0]] = append(r.indexes[row[0]], row[1])
	}
	for _, row := range a.rows {
		r.view = row[0] != "r" && row[0] != "p"
		t := columnType{name: row[2], unique: row[4] == "true"}
		if mod, err := strconv.Atoi(row[3]); err == nil && mod > 4 && (t.name == "varchar" || t.name == "bpchar") {
			t.length = mod - 4
		}
		r.columns[row[1]] = t
	}
	return r
}

const (
	mysqlSchema     = "COALESCE(NULLIF(?, ''), DATABASE())"
	mysqlTable      = `SELECT t.table_type, COALESCE(e.transactions, '') FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine WHERE t.table_schema = ` + mysqlSchema + ` AND t.table_name = ?`
	mysqlColumns    = `SELECT column_name, data_type, character_maximum_length FROM information_schema.columns WHERE table_schema = ` + mysqlSchema + ` AND table_name = ?`
	mysqlStatistics = `SELECT index_name, column_name, non_unique, sub_part FROM information_schema.statistics WHERE table_schema = ` + mysqlSchema + ` AND table_name = ? ORDER BY index_name, seq_in_index`
)

func (p *probe) mysqlRelation(schema, table string) relation {
	r := relation{columns: map[string]columnType{}, indexes: map[string][]string{}}
	a, _ := p.read(mysqlTable, schema, table)
	for _, row := range a.rows {
		r.view = row[0] != "BASE TABLE"
		r.transactions = row[1] != "NO"
	}
	a, _ = p.read(mysqlStatistics, schema, table)
	unique := map[string]bool{} // by index
	for _, row := range a.rows {
		r.indexes[row[0]] = append(r.indexes[row[0]], strings.ToLower(row[1]))
		unique[row[0]] = row[2] == "0" && row[3] == ""
	}
	a, _ = p.read(mysqlColumns, schema, table)
	for _, row := range a.rows {
		t := columnType{name: strings.ToLower(row[1])}
		t.length, _ = strconv.Atoi(row[2])
		name := strings.ToLower(row[0])
		for index, columns := range r.indexes {
			t.unique = t.unique || unique[index] && len(columns) == 1 && columns[0] == name
		}
		r.columns[name] = t
	}
	return r
}

func (p *probe) sqliteRelation(schema, table string) relation {
	of, args := "(?)", []any{table}
	master := "sqlite_master"
	if schema != "" {
		of, args = "(?, ?)", []any{table, schema}
		master = p.d.quote(schema) + "." + master
	}
	r := relation{transactions: true, columns: map[string]columnType{}}
	a, _ := p.read("SELECT type FROM "+master+" WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')", table)
	r.view = slices.Equal(a.column("type"), []string{"view"})

	unique := map[string][]string{} // columns by index
	indexes, _ := p.read(`SELECT name FROM pragma_index_list`+of+` WHERE "unique" = 1 AND partial = 0`, args...)
	for _, index := range indexes.column("name") {
		columns, _ := p.read("SELECT name FROM pragma_index_info"+of, append([]any{index}, args[1:]...)...)
		unique[index] = columns.column("name")
	}
	a, _ = p.read("SELECT name, type, pk FROM pragma_table_xinfo"+of, args...)
	keys := 0
	for _, row := range a.rows {
		if row[2] != "0" {
			keys++
		}
	}
	for _, row := range a.rows {
		name := strings.ToLower(row[0])
		t := columnType{name: strings.ToLower(row[1]), unique: keys == 1 && row[2] != "0"}
		for _, columns := range unique {
			t.unique = t.unique || len(columns) == 1 && strings.ToLower(columns[0]) == name
		}
		r.columns[name] = t
	}
	return r
}

// The names of types in the catalogs.
var (
	textTypes = map[Dialect][]string{
		PostgreSQL: {"text", "varchar", "bpchar", "citext"},
		MySQL:      {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"},
	}
	idTypes = map[Dialect][]string{ // beside texts
		PostgreSQL: {"int2", "int4", "int8", "numeric", "uuid"},
		MySQL:      {"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "uuid"},
	}
	conditionTypes = map[Dialect][]string{
		PostgreSQL: {"BOOL"},
		MySQL:      {"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "BIT"},
	}
)

// isText reports whether the type keeps a text unchanged and compares it as a text. On SQLite the
// type's name decides, as it gives the column its affinity.
func (d Dialect) isText(typ string) bool {
	if d == SQLite {
		return !strings.Contains(typ, "int") && containsAny(typ, "char", "clob", "text")
	}
	return slices.Contains(textTypes[d], typ)
}

// isID reports whether texts identify the type's values: a value's text equals that value and no
// other.
func (d Dialect) isID(typ string) bool {
	if d == SQLite {
		return d.isText(typ) || containsAny(typ, "int", "uuid", "guid")
	}
	return d.isText(typ) || slices.Contains(idTypes[d], typ)
}

// isCondition reports whether an expression of the type is true or false. typ is the driver's name
// of the type; on SQLite only columns have one.
func (d Dialect) isCondition(typ string) bool {
	if d == SQLite {
		return containsAny(strings.ToLower(typ), "int", "bool")
	}
	return slices.Contains(conditionTypes[d], strings.TrimPrefix(typ, "UNSIGNED "))
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) })
}
