// Command quickstart resets a forgotten password, start to end, in one process.
package main

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
)

// inbox is a Mailer. A real one hands the message to a mail system; package mailer renders it.
type inbox chan recovery.Message

func (i inbox) Send(_ context.Context, m recovery.Message) error {
	i <- m
	return nil
}

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "forgotten")
	mails := make(inbox, 1)
	svc, err := recovery.New(users, mails, nil)
	if err != nil {
		log.Fatal(err)
	}
	go svc.Run(ctx) // sends the mails

	client := netip.MustParseAddr("192.0.2.1") // the caller: limits are counted by it
	// Alice forgot her password. The answer is the same for a name that nobody has.
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice", Client: client}); err != nil {
		log.Fatal(err)
	}
	mail := <-mails
	fmt.Printf("%s: a token, valid until %s\n", mail.To, mail.ExpiresAt.Format("2 January 15:04 MST"))

	if _, err := svc.CompleteReset(ctx, recovery.CompleteRequest{
		Username: "alice", Password: "New-passw0rd-2", Token: mail.Resets[0].Token.Reveal(), Client: client,
	}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", mail.To, (<-mails).Kind)

	hash, _ := users.PasswordHash("1")
	fmt.Println("log-in with the new password:", recovery.VerifyPassword(hash, "New-passw0rd-2") == nil)
}
