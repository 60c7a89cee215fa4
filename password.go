package recovery

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The parameters of HashPassword are the second of the equal choices in OWASP's Password Storage
// Cheat Sheet: of those that resist a graphics card as well as the first, it takes the least
// memory.
const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16
	argonKey    = 32
)

// What VerifyPassword accepts at most. A stored hash decides how much memory and time its check
// takes, so whoever can write one could stop the program with it.
const (
	maxArgonMemory = 256 * 1024 // KiB
	maxArgonTime   = 16
	maxArgonLanes  = 16
	maxArgonWork   = 1024 * 1024 // KiB × passes
	maxArgonBytes  = 64          // of salt and of key
	maxBcryptCost  = 16
	maxBcryptBytes = 72
)

// HashPassword hashes with argon2id (19 MiB, 2 passes, 1 lane, 16 bytes of salt) and returns a PHC
// string: "$argon2id$v=19$m=19456,t=2,p=1$…$…". It takes about 30 ms and 19 MiB; a [Service] bounds
// how many run at once, a direct caller must do so itself.
func HashPassword(password string) (string, error) {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime,
		argonLanes, phcBase64.EncodeToString(salt), phcBase64.EncodeToString(key)), nil
}

// A Hasher turns new passwords into what the application's log-in understands.
type Hasher struct {
	// Hash returns what the Store keeps of a password; nil is [HashPassword]. A [*PasswordError]
	// rejects the password, any other error is a failure.
	Hash func(password string) (string, error)

	// MaxBytes is how long a password may be for Hash; 0 is 1,024. [Policy.MaxBytes] is never more.
	MaxBytes int

	fault string // for New
}

// Bcrypt returns a Hasher for bcrypt with a cost from 10 to 16: less is no protection, and more
// takes seconds. bcrypt hashes 72 bytes of a password, so longer ones are rejected, by the policy.
// Use it in place of [HashPassword] if the application already has bcrypt hashes; [VerifyPassword]
// reads both. With package sqlstore set its Options.HashLength to 60.
func Bcrypt(cost int) Hasher {
	h := Hasher{MaxBytes: maxBcryptBytes}
	h.Hash = func(password string) (string, error) {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
		return string(hash), err
	}
	if cost < bcrypt.DefaultCost || cost > maxBcryptCost {
		h.fault = fmt.Sprintf("must have a bcrypt cost from %d to %d, is %d", bcrypt.DefaultCost, maxBcryptCost, cost)
	}
	return h
}

// VerifyPassword is for the application's log-in. It returns nil if the password has the hash,
// [ErrPasswordMismatch] if not, and an error that wraps [ErrUnsupportedHash] if the hash is neither
// an argon2id PHC string nor bcrypt ($2a$, $2b$, $2y$), or asks for more than 256 MiB, 16 passes,
// 16 lanes, 1 GiB × passes or bcrypt cost 16.
//
// bcrypt looks at 72 bytes and, in many implementations, stops at a NUL: a longer password, or one
// with a NUL, never matches a bcrypt hash.
//
// For a name that nobody has, and for an account without a password, verify against a fixed hash
// and refuse: otherwise the time of the answer tells who exists.
func VerifyPassword(hash, password string) error {
	if strings.HasPrefix(hash, "$argon2id$") {
		h, err := parseArgon2id(hash)
		if err != nil {
			return err
		}
		key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, uint32(len(h.key)))
		if subtle.ConstantTimeCompare(key, h.key) != 1 {
			return ErrPasswordMismatch
		}
		return nil
	}
	for _, prefix := range []string{"$2a$", "$2b$", "$2y$"} {
		if strings.HasPrefix(hash, prefix) {
			return verifyBcrypt(hash, password)
		}
	}
	return fmt.Errorf("%w: must be argon2id or bcrypt", ErrUnsupportedHash)
}

func verifyBcrypt(hash, password string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != 60 {
		return fmt.Errorf("%w: not a bcrypt hash", ErrUnsupportedHash)
	}
	if cost > maxBcryptCost {
		return fmt.Errorf("%w: bcrypt cost must be at most %d", ErrUnsupportedHash, maxBcryptCost)
	}
	if len(password) > maxBcryptBytes || strings.ContainsRune(password, 0) {
		return ErrPasswordMismatch
	}
	switch err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)); {
	case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
		return ErrPasswordMismatch
	case err != nil:
		return fmt.Errorf("%w: not a bcrypt hash", ErrUnsupportedHash)
	}
	return nil
}

type argon2idHash struct {
	memory, time uint32
	lanes        uint8
	salt, key    []byte
}

// Strict also refuses trailing bits, so that a hash has one text only.
var phcBase64 = base64.RawStdEncoding.Strict()

func parseArgon2id(text string) (h argon2idHash, err error) {
	refuse := func(why string) (argon2idHash, error) {
		return argon2idHash{}, fmt.Errorf("%w: argon2id %s", ErrUnsupportedHash, why)
	}
	parts := strings.Split(text, "$") // "", "argon2id", "v=19", "m=…,t=…,p=…", salt, key
	if len(parts) != 6 {
		return refuse("must have the form $argon2id$v=19$m=…,t=…,p=…$salt$hash")
	}
	if parts[2] != "v=19" {
		return refuse("version must be 19")
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return refuse("must have the parameters m, t and p")
	}
	memory, ok1 := phcNumber(params[0], "m=", maxArgonMemory)
	passes, ok2 := phcNumber(params[1], "t=", maxArgonTime)
	lanes, ok3 := phcNumber(params[2], "p=", maxArgonLanes)
	if !ok1 || !ok2 || !ok3 || memory < 8*lanes || memory*passes > maxArgonWork {
		return refuse(fmt.Sprintf("parameters must be numbers with 8·p ≤ m ≤ %d, t ≤ %d, p ≤ %d, m·t ≤ %d",
			maxArgonMemory, maxArgonTime, maxArgonLanes, maxArgonWork))
	}
	h = argon2idHash{memory: uint32(memory), time: uint32(passes), lanes: uint8(lanes)}
	var saltErr, keyErr error
	h.salt, saltErr = phcBytes(parts[4])
	h.key, keyErr = phcBytes(parts[5])
	if saltErr != nil || keyErr != nil || len(h.salt) < 8 || len(h.key) < 16 {
		return refuse("salt must be 8 to 64 and hash 16 to 64 bytes of unpadded base64")
	}
	return h, nil
}

// phcNumber reads "m=19456": decimal without sign or leading zero, from 1 to most.
func phcNumber(text, name string, most int) (int, bool) {
	digits, ok := strings.CutPrefix(text, name)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 1 && n <= most && digits == strconv.Itoa(n)
}

func phcBytes(text string) ([]byte, error) {
	if phcBase64.DecodedLen(len(text)) > maxArgonBytes {
		return nil, base64.CorruptInputError(maxArgonBytes)
	}
	if i := strings.IndexAny(text, "\r\n"); i >= 0 { // the decoder would skip them
		return nil, base64.CorruptInputError(i)
	}
	return phcBase64.DecodeString(text)
}
