package cookbook_test

import (
	"context"
	"database/sql"
	"log"
	"os"

	"github.com/go-sql-driver/mysql"

	"example.com/recovery/store/sqlstore"
)

// MySQL or MariaDB. The columns of names and addresses have the default collation, which ignores
// case.
func Example_mysql() {
	ctx := context.Background()
	config, err := mysql.ParseDSN(os.Getenv("MYSQL_DSN")) // app:secret@tcp(127.0.0.1:3306)/app
	if err != nil {
		log.Fatal(err)
	}
	config.InterpolateParams = true // saves two of three round trips
	connector, err := mysql.NewConnector(config)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	accounts, err := sqlstore.Table{
		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
		CanonicalUsername: sqlstore.Collation, CanonicalEmail: sqlstore.Collation,
		Active: "deleted_at IS NULL", EmailVerified: "email_verified_at IS NOT NULL",
	}.Accounts(sqlstore.MySQL)
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.MySQL, accounts, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	_ = store // for recovery.New
}
