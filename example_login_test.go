package recovery_test

import (
	"errors"
	"fmt"
	"log"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"example.com/recovery"
)

// nobodys is a hash of the kind that most accounts have. Make your own: HashPassword(rand.Text()).
const nobodys = "$argon2id$v=19$m=19456,t=2,p=1$rq4oayll84KE/nMmNUf30Q$dhptcuA6xTKnGdJ4uRFAI1ZD1AION0Jd9BfNZrkoSvU"

// logIn verifies a password. The hash is "" if nobody has the name, or the account no password. A
// bcrypt hash is replaced by argon2id, as this is when the password is known. replace must do
// nothing if the hash is not the old one any more: the password was reset.
func logIn(hash, password string, replace func(old, hash string) error) error {
	if hash == "" {
		_ = recovery.VerifyPassword(nobodys, password) // takes the time that it takes for others
		return recovery.ErrPasswordMismatch
	}
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

// A log-in for argon2id and bcrypt, which rehashes what is bcrypt and does not tell who exists.
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
	err = logIn("", "Correct-h0rse-7", replace)
	fmt.Println(err)
	// Output:
	// true $2a$
	// <nil> $argon2id
	// recovery: the password does not match
}
