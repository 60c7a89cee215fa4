//go:build unix

package dbtest

import (
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/storetest"
)

const galeraNodes = 3

// Three nodes of MariaDB with Galera, all of which are written to. It runs with RECOVERY_GALERA=1
// and needs mariadb-server, galera-4 and rsync.
//
// The connections are as the package comment of sqlstore says. With statements that the server
// prepares, MariaDB 10.11 loses the error of a transaction that another node aborts between two of
// its statements: COMMIT then succeeds and commits nothing, and one token in ten or twenty seems to
// have two winners.
func TestGalera(t *testing.T) {
	if os.Getenv("RECOVERY_GALERA") != "1" {
		t.Skip("it is run with RECOVERY_GALERA=1")
	}
	is := is.New(t)
	nodes := startGalera(t)
	_, err := openConfig(t, nodes[0].config("")).Exec("CREATE DATABASE work")
	is.NoErr(err)
	var db *sql.DB // of the first
	var stores []*sqlstore.Store
	for i, node := range nodes {
		config := node.config("work")
		config.Params, config.InterpolateParams = map[string]string{"wsrep_sync_wait": "1"}, true
		own := openConfig(t, config)
		if i == 0 {
			db = own
			databases.OpenOn(t, sqlstore.MySQL, db, databases.TextType(sqlstore.MySQL))
		}
		stores = append(stores, databases.StoreOn(t, sqlstore.MySQL, own, ""))
	}
	// Every call is made on another node than the one before.
	t.Run("store", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			databases.Empty(t, db)
			return databases.HarnessOn(sqlstore.MySQL, manyStores{stores[0], stores, new(atomic.Uint32)}, db)
		})
	})
	t.Run("one token many racers one winner", func(t *testing.T) {
		databases.Empty(t, db)
		race(t, sqlstore.MySQL, db, max(100, fromEnv(t, "RECOVERY_RACE_TOKENS", defaultRaceTokens)/10), stores...)
		t.Log("on the first node:", texts(t, db, `SELECT CONCAT(VARIABLE_NAME, ' ', VARIABLE_VALUE) FROM information_schema.GLOBAL_STATUS
			WHERE VARIABLE_NAME IN ('WSREP_LOCAL_CERT_FAILURES', 'WSREP_LOCAL_BF_ABORTS')`))
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
				t.Fatalf("node %d ended: %s", i, &p.output)
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
