package sqlstore_test

import (
	"fmt"
	"os"
	"path/filepath"

	"example.com/recovery/store/sqlstore"
)

// The program is run once for each version of the package, and the files are checked in.
func ExampleWriteMigrations() {
	dir, err := os.MkdirTemp("", "recovery")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	err = sqlstore.WriteMigrations(dir, sqlstore.PostgreSQL, sqlstore.PlainSQL, &sqlstore.Options{Schema: "auth"})
	if err != nil {
		panic(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range files {
		fmt.Println(filepath.Base(file))
	}
	// Output:
	// 000001_recovery.down.sql
	// 000001_recovery.up.sql
}
