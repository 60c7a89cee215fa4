package recovery_test

import (
	"errors"
	"fmt"
	"log"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"example.com/recovery"
)

// logIn verifies a password. A bcrypt hash is replaced by argon2id, as this is when the password is
// known. replace must do nothing if the hash is not the old one any more: the password was reset.
func logIn(hash, password string, replace func(old, hash string) error) error {
	if err := recovery.VerifyPassword(hash, password); err != nil {
		return err
	}
	if strings.HasPrefix(hash, "$argon2id$") {
		return nil
	}
	rehashed, err := recovery.HashPassword(password)
	if err != nil {
		return err
	}
	return replace(hash, rehashed) // UPDATE users SET password = $2 WHERE id = $3 AND password = $1
}

// A log-in for argon2id and bcrypt, which rehashes what is bcrypt.
func ExampleVerifyPassword() {
	old, err := bcrypt.GenerateFromPassword([]byte("Correct-h0rse-7"), bcrypt.MinCost)
	if err != nil {
		log.Fatal(err)
	}
	stored := string(old)
	replace := func(old, hash string) error { stored = hash; return nil }

	err = logIn(stored, "correct-h0rse-7", replace)
	fmt.Println(errors.Is(err, recovery.ErrPasswordMismatch), stored[:4])
	err = logIn(stored, "Correct-h0rse-7", replace)
	fmt.Println(err, stored[:9])
	// Output:
	// true $2a$
	// <nil> $argon2id
}
