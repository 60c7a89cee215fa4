package recovery_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/bcrypt"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func TestHashPassword(t *testing.T) {
	is := is.New(t)
	hash, err := recovery.HashPassword(goodPassword)
	is.NoErr(err)
	is.True(strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$")) // the documented parameters
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

func TestAttack_S83_HostileStoredHashes(t *testing.T) {
	salt, key := "c29tZXNhbHQ", "bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
	phc := func(params string) string { return "$argon2id$v=19$" + params + "$" + salt + "$" + key }
	for name, hash := range map[string]string{
		"empty":            "",
		"plain":            "password",
		"argon2i":          "$argon2i$v=19$m=256,t=2,p=2$" + salt + "$" + key,
		"md5 crypt":        "$1$salt$hash",
		"4 GiB":            phc("m=4194304,t=1,p=1"),
		"more than 32 bit": phc("m=4294967552,t=2,p=2"),
		"a million passes": phc("m=256,t=1000000,p=1"),
		"too much work":    phc("m=262144,t=5,p=1"),
		"255 lanes":        phc("m=262144,t=1,p=255"),
		"no passes":        phc("m=256,t=0,p=1"),
		"no lanes":         phc("m=256,t=1,p=0"),
		"too little":       phc("m=15,t=1,p=2"),
		"negative":         phc("m=-256,t=2,p=1"),
		"plus":             phc("m=+256,t=2,p=1"),
		"leading zero":     phc("m=0256,t=2,p=1"),
		"other order":      phc("t=2,m=256,p=1"),
		"missing":          phc("m=256,t=2"),
		"extra":            phc("m=256,t=2,p=1,x=1"),
		"version 16":       strings.Replace(phc("m=256,t=2,p=2"), "v=19", "v=16", 1),
		"no version":       strings.Replace(phc("m=256,t=2,p=2"), "$v=19", "", 1),
		"short salt":       "$argon2id$v=19$m=256,t=2,p=2$c29tZQ$" + key,
		"long salt":        "$argon2id$v=19$m=256,t=2,p=2$" + strings.Repeat("AAAA", 22) + "$" + key,
		"short key":        "$argon2id$v=19$m=256,t=2,p=2$" + salt + "$AAAA",
		"empty key":        "$argon2id$v=19$m=256,t=2,p=2$" + salt + "$",
		"endless key":      "$argon2id$v=19$m=256,t=2,p=2$" + salt + "$" + strings.Repeat("A", 1<<20),
		"padding":          phc("m=256,t=2,p=2") + "=",
		"trailing bits":    strings.TrimSuffix(phc("m=256,t=2,p=2"), "c") + "d",
		"newline":          phc("m=256,t=2,p=2") + "\n",
		"trailing field":   phc("m=256,t=2,p=2") + "$",
		"bcrypt cost 31":   "$2a$31$" + strings.Repeat("a", 53),
		"bcrypt cost 17":   "$2b$17$" + strings.Repeat("a", 53),
		"bcrypt short":     "$2a$10$abc",
		"bcrypt long":      "$2a$04$" + strings.Repeat("a", 54),
		"bcrypt no cost":   "$2a$xx$" + strings.Repeat("a", 53),
		"bcrypt no salt":   "$2a$04$" + strings.Repeat("!", 22) + strings.Repeat("a", 31),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			start := time.Now()
			err := recovery.VerifyPassword(hash, "password")
			is.True(errors.Is(err, recovery.ErrUnsupportedHash)) // must be refused
			is.True(time.Since(start) < 5*time.Second)           // and not computed: that would take minutes
			if len(hash) > 20 {
				is.True(!strings.Contains(err.Error(), hash[len(hash)-10:])) // without repeating it
			}
		})
	}
}

func TestAttack_S81_Bcrypt(t *testing.T) {
	is := is.New(t)
	hash := func(password string) string {
		h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		is.NoErr(err)
		return string(h)
	}
	long := strings.Repeat("x", 72)
	is.NoErr(recovery.VerifyPassword(hash(long), long))
	is.Equal(recovery.VerifyPassword(hash(long), long+"y"), recovery.ErrPasswordMismatch) // byte 73 must not be ignored
	is.Equal(recovery.VerifyPassword(hash("abc"), "abc\x00abc"), recovery.ErrPasswordMismatch)
	is.Equal(recovery.VerifyPassword(hash(""), "\x00"), recovery.ErrPasswordMismatch)
	is.Equal(recovery.VerifyPassword(hash("abc"), "abd"), recovery.ErrPasswordMismatch)
	for _, prefix := range []string{"$2a$", "$2b$", "$2y$"} {
		is.NoErr(recovery.VerifyPassword(prefix+hash("abc")[4:], "abc"))
	}
	is.True(errors.Is(recovery.VerifyPassword("$2x$"+hash("abc")[4:], "abc"), recovery.ErrUnsupportedHash))
	is.True(errors.Is(recovery.VerifyPassword("$2a$xx$"+hash("abc")[7:], long+"y"), recovery.ErrUnsupportedHash)) // before its length is
}

// collections returns how often the collector ran while passwords were hashed one after the other, and
// afterwards until it ran as often as wanted.
func collections(t *testing.T, hashes int, before func(), want uint32) uint32 {
	t.Helper()
	is := is.New(t)
	w := newWorld(t, nil)
	svc, err := recovery.New(w.users, w.mail, &recovery.Options{Now: w.time, HashConcurrency: 1, Limits: recovery.Limits{InsecureOff: true}})
	is.NoErr(err)
	var tokens []string
	for range hashes {
		name := fmt.Sprintf("user%d", len(tokens))
		w.put(name, name, name+"@example.com")
		tokens = append(tokens, w.token(name))
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nothing else collects
	time.Sleep(100 * time.Millisecond)               // for what earlier tests left to be freed
	before()
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	for _, token := range tokens {
		_, err = svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: token, Password: goodPassword})
		is.NoErr(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		runtime.ReadMemStats(&end)
		if n := end.NumGC - start.NumGC; n >= want || time.Now().After(deadline) {
			return n
		}
	}
}

// The blocks of hashes are freed after every second one: by the next hash, or soon if there is none.
func TestBlocksOfHashesAreFreedByTwo(t *testing.T) {
	for hashes, want := range map[int]uint32{3: 1, 4: 2, 5: 2} {
		is.New(t).Equal(collections(t, hashes, runtime.GC, want), want)
	}
}

// In a heap of 256 MiB beside the block of a hash that is made, they are left to the collector.
func TestBlocksOfHashesInALargeHeap(t *testing.T) {
	const large = 256<<20 + 19<<20
	for beyond, want := range map[int]uint32{-256 << 10: 1, 256 << 10: 0} {
		is := is.New(t)
		var ballast []byte
		n := collections(t, 3, func() {
			live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
			off := large
			for tries := 0; (off < -128<<10 || off > 128<<10) && tries < 50; tries++ { // earlier tests leave timers
				ballast = nil
				runtime.GC()
				metrics.Read(live)
				ballast = make([]byte, large+beyond-int(live[0].Value.Uint64()))
				runtime.GC()
				metrics.Read(live)
				off = int(live[0].Value.Uint64()) - large - beyond
			}
			is.True(-128<<10 <= off && off <= 128<<10)
		}, want)
		runtime.KeepAlive(ballast)
		is.Equal(n, want)
	}
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
	is.Equal(recovery.VerifyPassword("$2a$16"+rest[:54], "with\x00NUL"), recovery.ErrPasswordMismatch) // and not computed
	is.True(errors.Is(recovery.VerifyPassword("$2a$17"+rest[:54], "with\x00NUL"), recovery.ErrUnsupportedHash))
}

// The bounds of what a stored hash may ask for, and one beyond. What is accepted is computed, and is not
// the password's.
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

// The most that a stored hash may ask for, and one beyond. Its salt is too short, so that nothing is
// computed: what is said tells which of the two was looked at last.
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

func TestHashPasswordHasSaltAndKeyOfTheirLength(t *testing.T) {
	is := is.New(t)
	hash, err := recovery.HashPassword(goodPassword)
	is.NoErr(err)
	parts := strings.Split(hash, "$")
	for part, want := range map[string]int{parts[4]: 16, parts[5]: 32} {
		b, err := base64.RawStdEncoding.DecodeString(part)
		is.NoErr(err)
		is.Equal(len(b), want)
	}
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		hashing, release := make(chan struct{}), make(chan struct{})
		w := newWorld(t, &recovery.Options{
			HashConcurrency: 1, HashWait: 20 * time.Millisecond,
			Hasher: recovery.Hasher{Hash: func(password string) (string, error) { hashing <- struct{}{}; <-release; return "new", nil }},
		})
		first, second := w.token("alice"), w.token("billybob")
		done := make(chan error)
		go func() { done <- w.complete(first, goodPassword) }()
		<-hashing
		is.True(errors.Is(w.complete(second, goodPassword), recovery.ErrBusy))
		ctx, cancel := context.WithCancel(w.ctx)
		time.AfterFunc(time.Millisecond, cancel)
		_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: second, Password: goodPassword})
		is.Equal(err, context.Canceled)
		close(release)
		is.NoErr(<-done)
		is.NoErr(w.deadOrAlive(second, true)) // who got ErrBusy keeps the token
		go func() { <-hashing }()
		is.NoErr(w.complete(second, goodPassword)) // the slot is free again
	})
}

func TestHashSlotSurvivesAPanic(t *testing.T) {
	is := is.New(t)
	var once sync.Once
	w := newWorld(t, &recovery.Options{HashConcurrency: 1, Hasher: recovery.Hasher{Hash: func(string) (string, error) {
		once.Do(func() { panic("boom") })
		return "new", nil
	}}})
	token := w.token("alice")
	func() {
		defer func() { is.True(recover() != nil) }()
		_ = w.complete(token, goodPassword)
	}()
	is.NoErr(w.complete(token, goodPassword))
}

func TestDefaultHashIsVerifiable(t *testing.T) {
	is := is.New(t)
	users, mail := memstore.New(), &mailertest.Recorder{}
	users.Put(recovery.Account{ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true}, "x")
	svc, err := recovery.New(users, mail, &recovery.Options{Logger: slog.New(slog.DiscardHandler)})
	is.NoErr(err)
	is.NoErr(errOf(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "alice"})))
	n, err := svc.Deliver(t.Context())
	is.NoErr(err)
	is.Equal(n, 1)
	m, _ := mail.Last()
	_, err = svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: tokenOf(m), Password: goodPassword})
	is.NoErr(err)
	hash, _ := users.PasswordHash("1")
	is.NoErr(recovery.VerifyPassword(hash, goodPassword))
}

// bcrypt takes 72 bytes. What is longer is told as such, before anybody is asked for a second
// factor.
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
	is.Equal(recovery.VerifyPassword(w.hash("1"), most[:71]), recovery.ErrPasswordMismatch)

	// The policy may be stricter, and is never looser.
	for bytes, want := range map[int]int{0: 72, 40: 40, 1024: 72} {
		svc := w.service(w.store, recovery.Options{Hasher: recovery.Bcrypt(10), Policy: &recovery.Policy{MaxBytes: bytes}})
		is.Equal(svc.Options().Policy.MaxBytes, want)
	}
	for _, cost := range []int{0, 4, 9, 17, 31} {
		_, err := recovery.New(w.store, w.mail, &recovery.Options{Hasher: recovery.Bcrypt(cost)})
		is.Equal(err.Error(), fmt.Sprintf("recovery: Options.Hasher must have a bcrypt cost from 10 to 16, is %d", cost))
	}
}
