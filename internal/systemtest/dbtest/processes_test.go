package dbtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// raceFor names the database file that a second process of the test binary races on.
const raceFor = "RECOVERY_TEST_RACE_FOR"

func sharedDigest(i int) recovery.Digest { return recovery.Digest{byte(i), byte(i >> 8), 1} }

// raceForToken makes four callers redeem a token with the hash who, and returns how many succeeded.
func raceForToken(ctx context.Context, store *sqlstore.Store, i int, who string) (won int, _ error) {
	for _, err := range spy.Together(4, func(int) error {
		notice := request(t0)
		notice.Kind = recovery.JobNotice
		return spy.Err(store.Redeem(ctx, recovery.Redemption{Digest: sharedDigest(i), At: t0, PasswordHash: who, Add: []recovery.Job{notice}}))
	}) {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, recovery.ErrInvalidToken):
			return 0, err // "database is locked" would be here
		}
	}
	return won, nil
}

// The other process says that it is ready, races for the token of every line that it reads, and
// answers how often it won.
func TestAttack_S40_TwoProcessesRaceOnOneSQLiteFile(t *testing.T) {
	const tokens = 100
	is := is.New(t)
	if path := os.Getenv(raceFor); path != "" {
		store := databases.StoreOn(t, sqlstore.SQLite, databases.OpenDB(t, "sqlite", databases.SQLiteDSN(path)), "")
		fmt.Println("ready")
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			i, err := strconv.Atoi(lines.Text())
			is.NoErr(err)
			won, err := raceForToken(t.Context(), store, i, "child")
			fmt.Println(won, err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "recovery.db")
	db := databases.OpenDB(t, "sqlite", databases.SQLiteDSN(path))
	store := databases.OpenOn(t, sqlstore.SQLite, db, databases.TextType(sqlstore.SQLite))
	for i := range tokens {
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
	is.True(lines.Scan()) // the other process is ready
	wins := map[string]int{}
	for i := range tokens {
		_, err := fmt.Fprintln(in, i)
		is.NoErr(err)
		won, err := raceForToken(t.Context(), store, i, "parent")
		is.NoErr(err)
		is.True(lines.Scan())
		winner := map[string]string{"0 1 <nil>": "child", "1 0 <nil>": "parent"}[fmt.Sprint(won, " ", lines.Text())] // one of all
		hash, err := databases.PasswordHash(db, sqlstore.SQLite, account(i).ID)
		is.NoErr(err)
		is.Equal(hash, winner)
		wins[winner]++
	}
	is.NoErr(in.Close())
	for lines.Scan() { // until it has ended
	}
	is.NoErr(command.Wait())
	is.Equal(texts(t, db, "SELECT COUNT(*) FROM recovery_jobs"), []string{strconv.Itoa(tokens)}) // one notice each
	is.True(wins["parent"] > 0 && wins["child"] > 0)                                             // it was a race
	t.Log(wins)
}
