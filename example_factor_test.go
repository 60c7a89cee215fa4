package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// checkFactor compares a code with that of the account's authenticator app.
var checkFactor = func(_ context.Context, account, code string) (bool, error) { return code == "271828", nil }

// approve asks for a second factor. A wrong one counts: after five the token is dead.
func approve(ctx context.Context, a recovery.Account, r recovery.CompleteRequest) error {
	ok, err := checkFactor(ctx, a.ID, r.Factor)
	if err != nil || ok {
		return err
	}
	return &recovery.ChallengeError{Name: "totp", Text: "Enter the code of your authenticator app."}
}

// A second factor (TOTP, a passkey) before the password changes. The first call has no Factor and
// is answered with a ChallengeError; the second one has what was typed.
func ExampleChallengeError() {
	ctx := context.Background()
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash")
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, &recovery.Options{Approve: approve})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()

	complete := recovery.CompleteRequest{Token: mail.Resets[0].Token.Reveal(), Password: "Correct-h0rse-7"}
	_, err = svc.CompleteReset(ctx, complete)
	if e, ok := errors.AsType[*recovery.ChallengeError](err); ok {
		fmt.Println(e.Text)
		complete.Factor = "271828"
		_, err = svc.CompleteReset(ctx, complete)
	}
	fmt.Println(err)
	// Output:
	// Enter the code of your authenticator app.
	// <nil>
}
