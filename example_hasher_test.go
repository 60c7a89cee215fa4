package recovery_test

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log"
	"strings"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// djangoHash is what the log-in of a Django application understands.
func djangoHash(password string) (string, error) {
	const iterations = 1_000_000
	salt := rand.Text()
	key, err := pbkdf2.Key(sha256.New, password, []byte(salt), iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("pbkdf2_sha256$%d$%s$%s", iterations, salt, base64.StdEncoding.EncodeToString(key)), nil
}

// A hash of your own, for a log-in that knows neither argon2id nor bcrypt.
func ExampleHasher() {
	opts := &recovery.Options{Hasher: recovery.Hasher{Hash: djangoHash}}
	if _, err := recovery.New(memstore.New(), &mailertest.Recorder{}, opts); err != nil {
		log.Fatal(err)
	}
	hash, err := djangoHash("Correct-h0rse-7")
	fmt.Println(strings.Split(hash, "$")[:2], err)
	// Output: [pbkdf2_sha256 1000000] <nil>
}
