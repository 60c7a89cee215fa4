package sqlstore

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// written returns the files that WriteMigrations writes, by name.
func written(t *testing.T, d Dialect, tool Tool, opts *Options) map[string]string {
	t.Helper()
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "db", "recovery")
	is.NoErr(WriteMigrations(dir, d, tool, opts))
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	is.NoErr(err)
	files := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		is.NoErr(err)
		files[filepath.Base(path)] = string(text)
	}
	return files
}

func TestToolsGetTheSameStatements(t *testing.T) {
	onEach(t, func(t *testing.T, d Dialect) {
		is := is.New(t)
		goose, plain := written(t, d, Goose, nil), written(t, d, PlainSQL, nil)
		is.Equal(len(goose), 1)
		is.Equal(len(plain), 2)
		up, down := plain["000001_recovery.up.sql"], plain["000001_recovery.down.sql"]
		is.True(up != "" && down != "")
		is.Equal(goose["00001_recovery.sql"], "-- +goose Up\n"+up+"-- +goose Down\n"+down)
	})
}

func TestMigrationsAreStatementsThatMigrateCanSplit(t *testing.T) {
	onEach(t, func(t *testing.T, d Dialect) {
		is := is.New(t)
		for i, m := range migrationsOf(d) {
			is.Equal(m.version, i+1)
			is.True(regexp.MustCompile(`^[a-z_]+$`).MatchString(m.name))
			for _, text := range []string{m.up, m.down} {
				is.True(strings.HasSuffix(text, ";\n"))
				for _, inside := range []string{"--", "/*", "$$", "'"} {
					is.True(!strings.Contains(strings.ReplaceAll(text, "DEFAULT ''", ""), inside))
				}
				is.Equal(strings.Count(text, ";"), strings.Count(text, ";\n"))
			}
			for statement := range strings.SplitSeq(strings.TrimSuffix(m.up, ";\n"), ";\n") {
				is.True(regexp.MustCompile(`^CREATE (TABLE|INDEX) IF NOT EXISTS `).MatchString(statement)) // skips what exists
			}
			is.Equal(strings.Count(m.up, "CREATE TABLE"), strings.Count(m.down, "DROP TABLE"))
		}
	})
}

func TestMigrationsHavePrefixAndSchema(t *testing.T) {
	for d, want := range map[Dialect]string{PostgreSQL: `"my-App".auth_`, MySQL: "`my-App`.auth_", SQLite: "auth_"} {
		t.Run(d.String(), func(t *testing.T) {
			is := is.New(t)
			opts := &Options{TablePrefix: "auth_", Schema: "my-App"}
			if d == SQLite {
				opts.Schema = ""
			}
			text := written(t, d, Goose, opts)["00001_recovery.sql"]
			for _, table := range []string{"jobs", "resets", "limits"} {
				is.True(strings.Contains(text, "CREATE TABLE IF NOT EXISTS "+want+table+" ("))
				is.True(strings.Contains(text, "DROP TABLE "+want+table+";"))
			}
			is.True(regexp.MustCompile(`INDEX (IF NOT EXISTS )?auth_jobs_order `).MatchString(text)) // in the table's schema
			is.True(!strings.Contains(text, "recovery"))
		})
	}
}

func TestSchemaWhoseNameHasThePrefix(t *testing.T) {
	is := is.New(t)
	n := names{PostgreSQL, "recovery_jobs", "recovery_"}
	is.Equal(n.in("recovery_jobs, recovery_jobs_order"), `"recovery_jobs".recovery_jobs, recovery_jobs_order`)
}

func TestMigrationsAreWrittenOnce(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	is.NoErr(WriteMigrations(dir, SQLite, Goose, nil))
	is.NoErr(WriteMigrations(dir, SQLite, Goose, nil)) // the existing file is the same
	path := filepath.Join(dir, "00001_recovery.sql")
	is.NoErr(os.WriteFile(path, []byte("mine"), 0o600))
	err := WriteMigrations(dir, SQLite, Goose, nil)
	is.Equal(errorText(err), "sqlstore: write migrations: "+path+" exists with other content: "+
		"give the options that it was written with, or an empty directory")
	text, err := os.ReadFile(path)
	is.NoErr(err)
	is.Equal(string(text), "mine")
}

func TestMigrationsWithoutADirectory(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "file")
	is.NoErr(os.WriteFile(path, nil, 0o600))
	is.True(strings.HasPrefix(errorText(WriteMigrations(path, SQLite, Goose, nil)), "sqlstore: write migrations: mkdir "))
}

func TestMigrationsSayEveryFault(t *testing.T) {
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "none")
	is.Equal(errorText(WriteMigrations(dir, 0, 0, &Options{TablePrefix: "1", Schema: `a"b`})), `sqlstore: the Dialect must be PostgreSQL, MySQL or SQLite
sqlstore: Options.TablePrefix must be up to 32 lower-case letters, digits and underscores, and begin with a letter
sqlstore: Options.Schema must be up to 63 letters, digits, underscores and hyphens
sqlstore: the Tool must be Goose or PlainSQL`)
	is.Equal(errorText(WriteMigrations(dir, SQLite, PlainSQL, &Options{Schema: "app"})),
		"sqlstore: Options.Schema must be empty, as SQLite has no schemas")
	_, err := os.Stat(dir)
	is.True(os.IsNotExist(err)) // nothing was begun
}
