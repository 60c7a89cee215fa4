package recovery_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// The whole flow in one process. A program calls Run instead of Deliver, and has a Store and a
// Mailer of its own: package sqlstore, package smtpmailer.
func Example() {
	ctx := context.Background()
	client := netip.MustParseAddr("192.0.2.10") // of whoever asks: limits are counted by it
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash of a forgotten password")
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, nil)
	if err != nil {
		log.Fatal(err)
	}

	// Alice forgot her password. The answer is the same for a name that nobody has.
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice", Client: client}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()
	fmt.Println(mail.Kind, "for", mail.To)

	// She comes back with the token of the mail.
	if _, err := svc.CompleteReset(ctx, recovery.CompleteRequest{
		Token: mail.Resets[0].Token.Reveal(), Password: "Correct-h0rse-7", Client: client,
	}); err != nil {
		log.Fatal(err)
	}
	hash, _ := users.PasswordHash("1")
	fmt.Println("log-in:", recovery.VerifyPassword(hash, "Correct-h0rse-7") == nil)
	// Output:
	// reset_token for alice@example.com
	// log-in: true
}

// Every field has a default. What is wrong with the options is said at once.
func ExampleNew() {
	opts := &recovery.Options{
		Application: "Acme",
		TokenTTL:    time.Hour,
		Hasher:      recovery.Bcrypt(12),
		Portals:     map[string]recovery.Portal{"": {URL: "https://acme.example/recover/reset"}},
	}
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, opts)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("links are valid for", svc.Options().TokenTTL, "and mailed by", svc.Options().Workers, "workers")

	opts.TokenTTL = 48 * time.Hour
	_, err = recovery.New(memstore.New(), &mailertest.Recorder{}, opts)
	fmt.Println(err)
	// Output:
	// links are valid for 1h0m0s and mailed by 36 workers
	// recovery: Options.TokenTTL must be from 1m0s to 24h0m0s, is 48h0m0s
}

// Somebody who forgot the user name, too, asks with the address.
func ExampleService_RetrieveUsername() {
	ctx := context.Background()
	users := memstore.New()
	for id, name := range map[string]string{"1": "alice", "2": "alice-admin"} {
		users.Put(recovery.Account{
			ID: id, Username: name, Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
		}, "hash")
	}
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RetrieveUsername(ctx, recovery.UsernameRequest{Email: "alice@example.com"}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()
	fmt.Println(mail.To, mail.Usernames)
	// Output: alice@example.com [alice alice-admin]
}

// A request names the tenant whose accounts it means. Two tenants may both have an alice.
func ExampleResetRequest_tenant() {
	ctx := context.Background()
	users := memstore.New()
	for id, tenant := range map[string]string{"1": "acme", "2": "globex"} {
		users.Put(recovery.Account{
			ID: id, Tenant: tenant, Username: "alice", Email: "alice@" + tenant + ".example",
			Active: true, HasPassword: true, EmailVerified: true,
		}, "hash")
	}
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Tenant: "globex", Username: "alice"}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	for _, mail := range mails.Messages() {
		fmt.Println(mail.Tenant, mail.To)
	}
	// Output: globex alice@globex.example
}

// A short code to type where one asked, beside the token. It works only with the ticket of its own
// request: keep that in a cookie, or in the memory of an app.
func ExampleReceipt() {
	ctx := context.Background()
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash")
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, nil)
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := svc.RequestReset(ctx, recovery.ResetRequest{Email: "alice@example.com", Code: true})
	if err != nil {
		log.Fatal(err)
	}
	cookie := receipt.Ticket.Reveal() // HttpOnly, Secure, SameSite=Lax

	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()
	code := mail.Resets[0].Code // such as WDJB-MJHT
	fmt.Println(len(code), "characters, valid for", mail.CodesExpireAt.Sub(mail.SentAt).Round(time.Minute))

	account, err := svc.CompleteReset(ctx, recovery.CompleteRequest{
		Code: code, Ticket: cookie, Password: "Correct-h0rse-7",
	})
	fmt.Println(account.Username, err)
	// Output:
	// 9 characters, valid for 15m0s
	// alice <nil>
}

// A mail with a link to a page of yours, instead of a token to paste. The token is the fragment of
// the link, which no server and no log sees: a script of the page reads location.hash.
func ExamplePortal() {
	ctx := context.Background()
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash")
	isStaff := func(_ context.Context, a recovery.Account) (bool, error) { return a.ID == "1", nil }
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, &recovery.Options{
		Portals: map[string]recovery.Portal{
			"customers": {URL: "https://acme.example/reset", Tenants: []string{"", "shop"}},
			"staff":     {URL: "https://staff.acme.example/reset", Allow: isStaff},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice", Portal: "staff"}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()
	reset := mail.Resets[0]
	fmt.Println(mail.Kind, reset.Link == "https://staff.acme.example/reset#token="+reset.Token.Reveal())
	// Output: reset_link true
}

// An account that logs in elsewhere gets no token, but is told where it logs in.
func ExampleAccount_signIn() {
	ctx := context.Background()
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, EmailVerified: true,
		HasPassword: false, SignIn: "Google",
	}, "")
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, nil)
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
	fmt.Println(mail.Kind, mail.SignIns[0].Username, mail.SignIns[0].Provider)
	// Output: sign_in alice Google
}

// Looser limits for a network whose users share one address, and stricter ones for a mailbox. A
// zero Limit is the default.
func ExampleLimits() {
	ctx := context.Background()
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Limits: recovery.Limits{
			PerClient:  recovery.Limit{Burst: 2, Every: 10 * time.Second}, // two at once, then one per 10 seconds
			PerMailbox: recovery.Limit{Burst: 5, Every: time.Hour},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		_, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"})
		fmt.Println(err == nil)
	}
	// Output:
	// true
	// true
	// false
}

// What a column for look-ups by address holds, beside the address as it was typed.
func ExampleCanonicalEmail() {
	for _, typed := range []string{"Alice@Example.COM", " alice@bücher.example ", "alice"} {
		canonical, err := recovery.CanonicalEmail(typed)
		fmt.Printf("%q %v\n", canonical, err)
	}
	// Output:
	// "alice@example.com" <nil>
	// "alice@xn--bcher-kva.example" <nil>
	// "" recovery: email must be one address with exactly one @
}

// At sign-up, a name is taken if its canonical form is. Of two names with one form only the one
// that is exactly as typed could be recovered.
func ExampleCanonicalUsername() {
	taken := map[string]bool{"alice": true}
	for _, name := range []string{"Alice", "bob", "a\u200blice"} {
		canonical, err := recovery.CanonicalUsername(name)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(canonical, taken[canonical])
	}
	// Output:
	// alice true
	// bob false
	// recovery: username must not contain control, format or other invisible characters
}
