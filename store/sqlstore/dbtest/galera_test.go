//go:build unix

package dbtest

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
	"example.com/recovery/store/storetest"
)

const galeraNodes = 3

// Three nodes of MariaDB with Galera, all of which are written to. It runs with RECOVERY_GALERA=1 and
// needs mariadb-server, galera-4 and rsync.
//
// The connections are as the package comment of sqlstore says. With statements that the server prepares,
// MariaDB 10.11 loses the error of a transaction that another node aborts between two of its statements:
// COMMIT then succeeds and commits nothing, and one token in ten or twenty seems to have two winners.
func TestGalera(t *testing.T) {
	if os.Getenv("RECOVERY_GALERA") != "1" {
		t.Skip("it is run with RECOVERY_GALERA=1")
	}
	is := is.New(t)
	nodes := startGalera(t)
	_, err := openConfig(t, nodes[0].config("")).Exec("CREATE DATABASE work")
	is.NoErr(err)
	var dbs []*sql.DB
	var stores []*sqlstore.Store
	for i, node := range nodes {
		config := node.config("work")
		config.Params, config.InterpolateParams = map[string]string{"wsrep_sync_wait": "1"}, true
		dbs = append(dbs, openConfig(t, config))
		if i == 0 {
			databases.OpenOn(t, sqlstore.MySQL, dbs[0], databases.TextType(sqlstore.MySQL))
		}
		stores = append(stores, databases.StoreOn(t, sqlstore.MySQL, dbs[i], ""))
	}
	conflicts := func() string {
		return fmt.Sprint(texts(t, dbs[0], `SELECT CONCAT(VARIABLE_NAME, ' ', VARIABLE_VALUE) FROM information_schema.GLOBAL_STATUS
			WHERE VARIABLE_NAME IN ('WSREP_LOCAL_CERT_FAILURES', 'WSREP_LOCAL_BF_ABORTS')`))
	}

	t.Run("store", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			databases.Empty(t, dbs[0])
			return databases.HarnessOn(sqlstore.MySQL, stores[0], dbs[0])
		})
	})

	t.Run("one token many racers one winner", func(t *testing.T) {
		databases.Empty(t, dbs[0])
		race(t, sqlstore.MySQL, dbs[0], max(100, fromEnv(t, "RECOVERY_RACE_TOKENS", defaultRaceTokens)/10), stores...)
		t.Log("on the first node:", conflicts())
	})

	t.Run("a request of one node is claimed on another", func(t *testing.T) {
		is := is.New(t)
		databases.Empty(t, dbs[0])
		for i := range 200 {
			r := request(t0)
			is.NoErr(stores[i%galeraNodes].Enqueue(t.Context(), r, nil))
			claimed, err := stores[(i+1)%galeraNodes].Claim(t.Context(), recovery.Claim{LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Hour), Max: 16})
			is.NoErr(err)
			is.Equal(len(claimed), 1)
			is.Equal(claimed[0].ID, r.ID)
			is.NoErr(stores[(i+2)%galeraNodes].Finish(t.Context(), recovery.Outcome{JobID: r.ID, LeaseID: claimed[0].LeaseID, At: t0}))
		}
	})

	t.Run("a token of one node is redeemed on another", func(t *testing.T) {
		is := is.New(t)
		databases.Empty(t, dbs[0])
		a := stored(t, stores[0], dbs[0], sqlstore.MySQL, 1)
		for i := range 200 {
			a = found(t, stores[i%galeraNodes], a.ID)
			reset := resetOf(a, t0)
			mint(t, stores[i%galeraNodes], reset)
			_, _, err := stores[(i+1)%galeraNodes].FindReset(t.Context(), reset.Digest, t0)
			is.NoErr(err)
			_, err = stores[(i+1)%galeraNodes].Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: fmt.Sprint("hash-", i)})
			is.NoErr(err)
			_, _, err = stores[(i+2)%galeraNodes].FindReset(t.Context(), reset.Digest, t0)
			is.True(err != nil) // it is used
		}
	})

	t.Run("no request is claimed on two nodes at once", func(t *testing.T) {
		is := is.New(t)
		const requests, claimers = 120, 12
		for range 5 {
			databases.Empty(t, dbs[0])
			for range requests {
				is.NoErr(stores[0].Enqueue(t.Context(), request(t0), nil))
			}
			claimed := make([][]recovery.Job, claimers)
			for _, err := range together(claimers, func(i int) (err error) {
				claimed[i], err = stores[i%galeraNodes].Claim(t.Context(), recovery.Claim{LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Hour), Max: 16})
				return err
			}) {
				is.NoErr(err)
			}
			seen := map[string]bool{}
			for _, r := range slices.Concat(claimed...) {
				is.True(!seen[r.ID]) // it was claimed twice
				seen[r.ID] = true
			}
			is.Equal(len(seen), requests)
		}
		t.Log("on the first node:", conflicts())
	})

	t.Run("limits are exact whatever the node", func(t *testing.T) {
		is := is.New(t)
		databases.Empty(t, dbs[0])
		charges := recovery.Charges{{Scope: recovery.ScopeClient, Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 3, Every: time.Hour}}}
		accepted := 0
		for _, err := range together(60, func(i int) error { return stores[i%galeraNodes].Enqueue(t.Context(), request(t0), charges) }) {
			if !errors.Is(err, recovery.ErrLimited) {
				is.NoErr(err)
				accepted++
			}
		}
		is.Equal(accepted, 3)
		is.Equal(texts(t, dbs[0], "SELECT COUNT(*) FROM recovery_jobs"), []string{"3"})
	})
}

// startGalera starts a cluster whose nodes are in step.
func startGalera(t *testing.T) []*mariaDB {
	t.Helper()
	library := ""
	for _, path := range []string{"/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so"} {
		if _, err := os.Stat(path); err == nil {
			library = path
		}
	}
	if library == "" {
		databases.Missing(t, "Galera", os.ErrNotExist)
	}
	program(t, "rsync")
	var nodes []*mariaDB
	var members []string
	cluster := databases.NewName()
	for range galeraNodes {
		nodes = append(nodes, newMariaDB(t))
		members = append(members, freeAddr(t))
	}
	for i, node := range nodes {
		options := []string{
			"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", "--wsrep-provider=" + library,
			"--wsrep-cluster-name=" + cluster, fmt.Sprint("--wsrep-node-name=node", i), "--wsrep-node-address=127.0.0.1",
			"--wsrep-node-incoming-address=" + node.addr, "--wsrep-cluster-address=gcomm://" + strings.Join(members, ","),
			"--wsrep-sst-method=rsync", "--wsrep-sst-receive-address=" + freeAddr(t),
			"--wsrep-provider-options=gmcast.listen_addr=tcp://" + members[i] + ";ist.recv_addr=" + freeAddr(t),
		}
		if i == 0 {
			node.install(t)
			options = append(options, "--wsrep-new-cluster")
		}
		p := start(t, node.command(t, options...))
		db := openConfig(t, node.config(""))
		eventually(t, "a node to be in step", func() bool {
			if !p.running() {
				t.Fatalf("node %d ended: %s", i, p.said.String())
			}
			var name, state, size string
			if db.QueryRow("SHOW STATUS LIKE 'wsrep_local_state_comment'").Scan(&name, &state) != nil {
				return false
			}
			err := db.QueryRow("SHOW STATUS LIKE 'wsrep_cluster_size'").Scan(&name, &size)
			return err == nil && state == "Synced" && size == fmt.Sprint(i+1)
		})
	}
	return nodes
}
