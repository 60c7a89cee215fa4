package dbtest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// raceFor names the database file that the test binary, started again by itself, races for.
const raceFor = "RECOVERY_TEST_RACE_FOR"

const (
	sharedTokens = 200
	racersEach   = 4 // per process and token
	begin        = "begin"
	wonNothing   = "nothing"
)

func sharedDigest(i int) recovery.Digest { return sha256.Sum256([]byte(strconv.Itoa(i))) }

// raceForToken has some racers redeem a token and returns the hash that the winner set, or
// wonNothing.
func raceForToken(ctx context.Context, store *sqlstore.Store, i int, who string) (string, error) {
	hashes := make([]string, racersEach)
	errs := together(racersEach, func(j int) error {
		notice := request(t0)
		notice.Kind = recovery.JobNotice
		hashes[j] = fmt.Sprintf("%s-%d-%d", who, i, j)
		_, err := store.Redeem(ctx, recovery.Redemption{
			Digest: sharedDigest(i), At: t0, PasswordHash: hashes[j], Add: []recovery.Job{notice},
		})
		return err
	})
	won := wonNothing
	for j, err := range errs {
		switch {
		case err == nil && won != wonNothing:
			return "", fmt.Errorf("token %d was redeemed twice in one process", i)
		case err == nil:
			won = hashes[j]
		case !errors.Is(err, recovery.ErrInvalidToken):
			return "", err // "database is locked" would be here
		}
	}
	return won, nil
}

func sqliteAt(t *testing.T, path string) *sql.DB {
	t.Helper()
	return databases.OpenDB(t, "sqlite", databases.SQLiteDSN(path))
}

// otherProcess says that it is ready, races for the token of every line that it reads, and answers
// with what it won.
func otherProcess(t *testing.T, path string) {
	db := sqliteAt(t, path)
	is.New(t).NoErr(db.Ping())
	store := databases.StoreOn(t, sqlstore.SQLite, db, "")
	fmt.Println(begin)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		i, err := strconv.Atoi(lines.Text())
		is.New(t).NoErr(err)
		won, err := raceForToken(t.Context(), store, i, "child")
		if err != nil {
			won = err.Error()
		}
		fmt.Println(won)
	}
}

func TestAttack_S40_TwoProcessesRaceOnOneSQLiteFile(t *testing.T) {
	if path := os.Getenv(raceFor); path != "" {
		otherProcess(t, path)
		return
	}
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "recovery.db")
	db := sqliteAt(t, path)
	store := databases.OpenOn(t, sqlstore.SQLite, db, databases.TextType(sqlstore.SQLite))
	for i := range sharedTokens {
		reset := resetOf(stored(t, store, db, sqlstore.SQLite, i), t0)
		reset.Digest = sharedDigest(i)
		mint(t, store, reset)
	}

	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAttack_S40_TwoProcessesRaceOnOneSQLiteFile$", "-test.count=1")
	command.Env = append(os.Environ(), raceFor+"="+path)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	is.NoErr(err)
	out, err := command.StdoutPipe()
	is.NoErr(err)
	is.NoErr(command.Start())
	lines := bufio.NewScanner(out)
	is.True(lines.Scan())
	is.Equal(lines.Text(), begin) // the other process is ready

	wins := map[string]int{}
	for i := range sharedTokens {
		_, err := fmt.Fprintln(in, i)
		is.NoErr(err)
		here, err := raceForToken(t.Context(), store, i, "parent")
		is.NoErr(err) // nothing goes wrong here
		is.True(lines.Scan())
		there := lines.Text()
		hash, err := databases.PasswordHash(db, sqlstore.SQLite, account(i).ID)
		is.NoErr(err)
		if here == wonNothing {
			is.Equal(there, hash) // the other process won, and its hash is stored
			wins["other"]++
		} else {
			is.Equal(there, wonNothing) // the other process won nothing, and nothing went wrong there
			is.Equal(here, hash)
			wins["this"]++
		}
	}
	is.NoErr(in.Close())
	_, _ = io.Copy(io.Discard, out)
	is.NoErr(command.Wait())
	is.Equal(texts(t, db, "SELECT COUNT(*) FROM recovery_jobs"), []string{strconv.Itoa(sharedTokens)}) // one notice each
	is.True(wins["this"] > 0 && wins["other"] > 0)                                                     // it was a race
	t.Log(wins)
}
