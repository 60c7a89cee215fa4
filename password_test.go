package recovery_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestHashPassword(t *testing.T) {
	is := is.New(t)
	hash, err := recovery.HashPassword(goodPassword)
	is.NoErr(err)
	is.True(strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$")) // the documented parameters
	_, _, _, salt, key, ok := readPHC(hash)
	is.True(ok && len(salt) == 16 && len(key) == 32)
	is.NoErr(recovery.VerifyPassword(hash, goodPassword))
	for _, wrong := range []string{"", goodPassword + " ", strings.ToLower(goodPassword), goodPassword + "\x00"} {
		is.Equal(recovery.VerifyPassword(hash, wrong), recovery.ErrPasswordMismatch)
	}
	again, err := recovery.HashPassword(goodPassword)
	is.NoErr(err)
	is.True(hash != again) // a salt of its own
}

// The vectors were made by the reference implementation's command line tool.
func TestVerifyArgon2idVectors(t *testing.T) {
	is := is.New(t)
	// From the reference implementation's own tests: version 0x13, "password", "somesalt".
	const (
		t2m16p1 = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
		t2m8p2  = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
	)
	is.NoErr(recovery.VerifyPassword(t2m16p1, "password"))
	is.NoErr(recovery.VerifyPassword(t2m8p2, "password"))
	is.Equal(recovery.VerifyPassword(t2m16p1, "differentpassword"), recovery.ErrPasswordMismatch)
}

func FuzzVerifyPassword(f *testing.F) {
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password")
	f.Add("$2a$04$"+strings.Repeat("a", 53), "password")
	f.Fuzz(func(t *testing.T, hash, password string) {
		// Keep what the fuzzer may compute small; the parser sees every text all the same.
		if strings.Contains(hash, "m=") && !strings.Contains(hash, "m=8,t=1,p=1") || strings.HasPrefix(hash, "$2") && !strings.HasPrefix(hash[3:], "$04$") {
			return
		}
		err := recovery.VerifyPassword(hash, password)
		if err != nil && !errors.Is(err, recovery.ErrPasswordMismatch) && !errors.Is(err, recovery.ErrUnsupportedHash) {
			t.Fatal(err)
		}
	})
}

func BenchmarkHashPassword(b *testing.B) {
	for b.Loop() {
		if _, err := recovery.HashPassword(goodPassword); err != nil {
			b.Fatal(err)
		}
	}
}

// A hash that costs too much is refused, one that costs the most that is allowed is looked at.
func TestVerifyBcryptMostExpensive(t *testing.T) {
	is := is.New(t)
	const rest = "$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE"
	for prefix, want := range map[string]error{
		"$2a": recovery.ErrPasswordMismatch, "$2b": recovery.ErrPasswordMismatch, "$2y": recovery.ErrPasswordMismatch, "$2x": recovery.ErrUnsupportedHash,
	} {
		is.True(errors.Is(recovery.VerifyPassword(prefix+"$16"+rest, "with\x00NUL"), want)) // and not computed
	}
	is.True(errors.Is(recovery.VerifyPassword("$2a$17"+rest, "with\x00NUL"), recovery.ErrUnsupportedHash))
	for _, hash := range []string{"$2a$10$abc", "$2a$xx" + rest, "$2a$16" + rest + "x"} { // short, without a cost, long
		is.True(errors.Is(recovery.VerifyPassword(hash, "with\x00NUL"), recovery.ErrUnsupportedHash))
	}
	is.True(errors.Is(recovery.VerifyPassword("$2a$04$"+strings.Repeat("!", 53), ""), recovery.ErrUnsupportedHash))
}

// The bounds of what a stored hash may ask for, and one beyond. What is accepted is computed, and
// is not the password's.
func TestVerifyArgon2idBounds(t *testing.T) {
	b64 := base64.RawStdEncoding.EncodeToString
	salt, key := b64(make([]byte, 8)), b64(make([]byte, 16))
	for _, c := range []struct {
		params, salt, key string
		ok                bool
	}{
		{"m=16,t=1,p=2", salt, key, true},
		{"m=15,t=1,p=2", salt, key, false},
		{"m=128,t=1,p=16", salt, key, true},
		{"m=136,t=1,p=17", salt, key, false},
		{"m=8,t=16,p=1", salt, key, true},
		{"m=8,t=17,p=1", salt, key, false},
		{"8,t=1,p=1", salt, key, false},
		{"m=8,1,p=1", salt, key, false},
		{"m=8,t=1,p=99999999999999999999", salt, key, false},
		{"m=8,t=1,p=1", b64(make([]byte, 7)), key, false},
		{"m=8,t=1,p=1", b64(make([]byte, 64)), key, true},
		{"m=8,t=1,p=1", b64(make([]byte, 65)), key, false},
		{"m=8,t=1,p=1", salt, b64(make([]byte, 15)), false},
		{"m=8,t=1,p=1", salt, b64(make([]byte, 64)), true},
		{"m=8,t=1,p=1", salt, b64(make([]byte, 65)), false},
		{"m=8,t=1,p=1", "\n" + salt, key, false},
		{"m=8,t=1,p=1", b64(make([]byte, 12)) + "!", key, false},
		{"m=8,t=1,p=1", salt, b64(make([]byte, 18)) + "!", false},
	} {
		hash := "$argon2id$v=19$" + c.params + "$" + c.salt + "$" + c.key
		t.Run(hash, func(t *testing.T) {
			is := is.New(t)
			err := recovery.VerifyPassword(hash, goodPassword)
			is.Equal(errors.Is(err, recovery.ErrPasswordMismatch), c.ok)
			is.Equal(errors.Is(err, recovery.ErrUnsupportedHash), !c.ok)
		})
	}
}

// The most that a stored hash may ask for, and one beyond. The salt is too short, so that nothing
// is computed: the error tells which of the two was looked at last.
func TestVerifyArgon2idMostExpensive(t *testing.T) {
	for params, fault := range map[string]string{
		"m=262144,t=1,p=1": "salt",
		"m=262145,t=1,p=1": "parameters",
		"m=262144,t=4,p=1": "salt", // 1 GiB × passes
		"m=262144,t=5,p=1": "parameters",
		"m=65536,t=16,p=1": "salt",
		"m=65537,t=16,p=1": "parameters",
	} {
		t.Run(params, func(t *testing.T) {
			is := is.New(t)
			err := recovery.VerifyPassword("$argon2id$v=19$"+params+"$AAAA$AAAAAAAAAAAAAAAAAAAAAA", goodPassword)
			is.True(errors.Is(err, recovery.ErrUnsupportedHash))
			is.True(strings.Contains(err.Error(), "argon2id "+fault+" must be"))
		})
	}
}

func TestDefaultHashIsVerifiable(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	svc, err := recovery.New(w.store, w.mail, &recovery.Options{Now: w.time})
	is.NoErr(err)
	is.NoErr(errOf(svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword, Client: client})))
	is.NoErr(recovery.VerifyPassword(w.hash("1"), goodPassword))
}

// bcrypt takes 72 bytes. A longer password is rejected for that, before anybody is asked for a
// second factor.
func TestBcrypt(t *testing.T) {
	is := is.New(t)
	var approved atomic.Int32
	w := newWorld(t, nil)
	svc := w.service(w.store, recovery.Options{Hasher: recovery.Bcrypt(10), Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		approved.Add(1)
		return nil
	}})
	is.Equal(svc.Options().Policy.MaxBytes, 72)
	complete := func(token, password string) error {
		_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: password})
		return err
	}
	token := w.token("alice")
	long := "Ab1-" + strings.Repeat("語", 30)
	is.Equal(len(long), 94) // in 34 characters
	err := complete(token, long)
	is.Equal(reasons(err), "too_many_bytes")
	is.Equal(err.Error(), "recovery: the password must be at most 72 bytes long")
	is.Equal(approved.Load(), int32(0))

	most := "Ab1-" + strings.Repeat("語", 22) + "xy"
	is.Equal(len(most), 72)
	is.NoErr(complete(token, most))
	is.True(strings.HasPrefix(w.hash("1"), "$2a$10$"))
	is.NoErr(recovery.VerifyPassword(w.hash("1"), most))
	for _, wrong := range []string{most[:71], most + "z", "\x00"} { // bcrypt itself looks at 72 bytes alone
		is.Equal(recovery.VerifyPassword(w.hash("1"), wrong), recovery.ErrPasswordMismatch)
	}

	// The policy may be stricter, and is never looser.
	for bytes, want := range map[int]int{0: 72, 40: 40, 1024: 72} {
		svc := w.service(w.store, recovery.Options{Hasher: recovery.Bcrypt(10), Policy: &recovery.Policy{MaxBytes: bytes}})
		is.Equal(svc.Options().Policy.MaxBytes, want)
	}
	is.NoErr(errOf(recovery.New(w.store, w.mail, &recovery.Options{Hasher: recovery.Bcrypt(16)})))
	for _, cost := range []int{0, 4, 9, 17, 31} {
		_, err := recovery.New(w.store, w.mail, &recovery.Options{Hasher: recovery.Bcrypt(cost)})
		is.Equal(err.Error(), fmt.Sprintf("recovery: Options.Hasher must have a bcrypt cost from 10 to 16, is %d", cost))
	}
}
