package cookbook_test

import (
	"context"
	"fmt"
	"log"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

// A User is the application's model.
type User struct {
	gorm.Model
	Name     string `gorm:"uniqueIndex;type:text collate nocase"`
	Email    string `gorm:"uniqueIndex;type:text collate nocase"`
	Password string
	Verified bool
}

// The store beside GORM, on GORM's pool. Deleted models are accounts that are not active.
func Example_gorm() {
	ctx := context.Background()
	orm, err := gorm.Open(sqlite.New(sqlite.Config{DriverName: "sqlite", DSN: "file:/gorm.db?vfs=memdb"}), nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := orm.AutoMigrate(&User{}); err != nil {
		log.Fatal(err)
	}
	if err := orm.Create(&User{Name: "alice", Email: "alice@example.com", Password: "hash", Verified: true}).Error; err != nil {
		log.Fatal(err)
	}

	db, err := orm.DB()
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	accounts, err := sqlstore.Table{
		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
		CanonicalUsername: sqlstore.Collation, CanonicalEmail: sqlstore.Collation,
		Active: "deleted_at IS NULL", EmailVerified: "verified = 1", // on PostgreSQL: "verified"
	}.Accounts(sqlstore.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.SQLite, accounts, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	found, err := store.FindAccounts(ctx, recovery.AccountQuery{By: recovery.ByUsername, Typed: "alice", Canonical: "alice", Max: 1})
	fmt.Println(len(found), err)
	// Output: 1 <nil>
}
