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

// New passwords are hashed as the application hashes its own: here with bcrypt.
func ExampleBcrypt() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Hasher: recovery.Bcrypt(12)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("longest password in bytes:", svc.Options().Policy.MaxBytes)
	// Output: longest password in bytes: 72
}

// The rules of NIST SP 800-63B: length and a blocklist, and no classes of characters.
func ExampleNIST80063B() {
	policy := recovery.NIST80063B()
	fmt.Println(policy.Validate("correct horse battery staple"))
	fmt.Println(policy.Validate("Sh0rt-pass"))
	// Output:
	// <nil>
	// recovery: the password must have at least 15 characters
}

// What a form shows before a password is chosen.
func ExamplePolicy_Rules() {
	policy := &recovery.Policy{MinLength: 12, Require: recovery.Lower | recovery.Digit}
	for _, rule := range policy.Rules() {
		fmt.Println("Your password", rule.Text)
	}
	// Output:
	// Your password must have at least 12 characters
	// Your password must have at most 64 characters
	// Your password must contain a lowercase letter (a–z)
	// Your password must contain a digit (0–9)
	// Your password must not be a common password
	// Your password must not contain the user name, the address or the name of the application
}

// The same policy at sign-up, or when somebody who is logged in changes the password. The error
// has every reason, with a name for translations.
func ExamplePolicy_Validate() {
	policy := &recovery.Policy{MinLength: 12}
	err := policy.Validate("alice-2026", "alice", "alice@example.com")
	if e, ok := errors.AsType[*recovery.PasswordError](err); ok {
		for _, reason := range e.Reasons {
			fmt.Println(reason.Name)
		}
	}
	// Output:
	// too_short
	// no_upper
	// own_word
}

// A rule of the application's own: not the password that one has already. It is asked for live
// tokens only.
func ExamplePolicy_check() {
	ctx := context.Background()
	old, err := recovery.HashPassword("Correct-h0rse-7")
	if err != nil {
		log.Fatal(err)
	}
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, old)
	notTheSame := func(_ context.Context, a recovery.Account, password string) ([]recovery.PasswordReason, error) {
		if hash, _ := users.PasswordHash(a.ID); recovery.VerifyPassword(hash, password) == nil {
			return []recovery.PasswordReason{{Name: "same", Text: "must not be the one you have"}}, nil
		}
		return nil, nil
	}
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, &recovery.Options{Policy: &recovery.Policy{Check: notTheSame}})
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
	fmt.Println(err)
	complete.Password = "Battery-stap1e-8" // the token is alive
	_, err = svc.CompleteReset(ctx, complete)
	fmt.Println(err)
	// Output:
	// recovery: the password must not be the one you have
	// <nil>
}
