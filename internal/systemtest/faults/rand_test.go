package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// Without randomness there is no token, no salt and no ID. crypto/rand ends the program when it has
// none, so each case is a program of its own.
func TestRandomSourceThatFails(t *testing.T) {
	const first, second = "0123456789abcdef0123456789ABCDEF", "fedcba9876543210FEDCBA9876543210"
	text := func(secret string) string {
		return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(secret)))
	}
	cases := map[string]struct {
		run  func()
		want string // what the program says before it ends
		ends string // what ends it, "" if nothing does
	}{
		"a ticket and a token are what the source gave": {func() {
			rand.Reader = strings.NewReader(first + second)
			fmt.Println(ticketAndToken())
		}, text(first) + " " + text(second) + "\n", ""},
		"a source that fails makes no token": {func() {
			rand.Reader = noRandomness{}
			fmt.Println(ticketAndToken())
		}, "", "failed to read random data"},
		"a source that ends makes no token": {func() {
			rand.Reader = strings.NewReader(first + second[1:])
			fmt.Println(ticketAndToken())
		}, "", "failed to read random data"},
		"a source that fails makes no hash": {func() {
			rand.Reader = noRandomness{}
			hash, err := recovery.HashPassword(goodPassword)
			fmt.Println(hash, err)
		}, "", "failed to read random data"},
		"a request without an ID is not accepted": {func() {
			uuid.SetRand(noRandomness{})
			svc, users, _ := quietService()
			defer func() { fmt.Printf("%v, %q\n", recover(), users.Dump()) }()
			fmt.Println(spy.Err(svc.RequestReset(context.Background(), recovery.ResetRequest{Username: "alice"})))
		}, "no randomness, \"\"\n", ""},
	}
	if name := os.Getenv("RECOVERY_TEST_RANDOM"); name != "" {
		cases[name].run()
		os.Exit(0)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			program := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRandomSourceThatFails$")
			program.Env = append(os.Environ(), "RECOVERY_TEST_RANDOM="+name)
			var out, errs bytes.Buffer
			program.Stdout, program.Stderr = &out, &errs
			err := program.Run()
			is.Equal(out.String(), c.want)
			is.Equal(err == nil, c.ends == "")               // how it ends
			is.True(strings.Contains(errs.String(), c.ends)) // why
		})
	}
}

type noRandomness struct{}

func (noRandomness) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

func quietService() (*recovery.Service, *memstore.Store, *mailertest.Recorder) {
	users, mail := memstore.New(), &mailertest.Recorder{}
	users.Put(recovery.Account{ID: "1", Username: "alice", Email: sharedAddress, Active: true, HasPassword: true, EmailVerified: true}, oldHash)
	svc, err := recovery.New(users, mail, nil)
	if err != nil {
		panic(err)
	}
	return svc, users, mail
}

// ticketAndToken asks for a token and returns the one that is mailed.
func ticketAndToken() (ticket, token string) {
	svc, _, mail := quietService()
	receipt, err := svc.RequestReset(context.Background(), recovery.ResetRequest{Username: "alice"})
	if err != nil {
		panic(err)
	}
	if _, err := svc.Deliver(context.Background()); err != nil {
		panic(err)
	}
	m, _ := mail.Last()
	return receipt.Ticket.Reveal(), spy.Token(m)
}

// A source of IDs may also fail now and then. The answers must be as uniform as without a fault,
// and accepted requests must be mailed.
func TestFaultsOfIDs(t *testing.T) {
	is := is.New(t)
	combinations := 0
	for _, s := range scenarios {
		s.ids = true
		t.Run(s.name, func(t *testing.T) { combinations += sweep(t, s).combinations }) // one after the other: there is one source
	}
	is.True(combinations > 0)
	t.Logf("%d combinations of scenario, call and fault", combinations)
}
