//go:build unix

package dbtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// The oldest and the newest version of PostgreSQL do what the installed one does. The binaries of
// each are in a directory of RECOVERY_POSTGRES_BINARIES, separated by colons; as root, the user
// postgres must be able to read them.
func TestPostgreSQLVersions(t *testing.T) {
	dirs := filepath.SplitList(os.Getenv("RECOVERY_POSTGRES_BINARIES"))
	if len(dirs) == 0 {
		databases.Missing(t, "another version of PostgreSQL", errors.New("RECOVERY_POSTGRES_BINARIES is not set"))
	}
	for _, dir := range dirs {
		initdb, postgres := program(t, filepath.Join(dir, "initdb")), program(t, filepath.Join(dir, "postgres"))
		version, err := exec.Command(postgres, "--version").Output()
		is.New(t).NoErr(err)
		t.Run(strings.TrimSpace(string(version)), func(t *testing.T) {
			own := newPostgres(t, initdb, postgres)
			own.start(t)
			t.Setenv("RECOVERY_POSTGRES", own.url) // where databases are made
			i := slices.IndexFunc(databases.Servers, func(s databases.Server) bool { return s.Dialect == sqlstore.PostgreSQL })
			s := databases.Servers[i]
			t.Run("suite", func(t *testing.T) { keepsItsPromises(t, s) })
			t.Run("indexes", func(t *testing.T) { everyStatementUsesAnIndex(t, s) })
			t.Run("migrations", func(t *testing.T) {
				p := s.Place(t)
				migrateAtOnce(t, sqlstore.PostgreSQL, p.Open(t), p)
			})
			t.Run("kills", func(t *testing.T) { killAndRestart(t, sqlstore.PostgreSQL, own, 2) })
		})
	}
}
