package recovery_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/netip"
	"strings"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// auditHooks name accounts by their IDs. No hook gets a token or a password.
func auditHooks(audit *slog.Logger) recovery.Hooks {
	return recovery.Hooks{
		MailSent: func(e recovery.JobEvent) {
			audit.Info("mail sent", "request", e.ID, "kind", e.Kind, "account", e.Account.ID, "client", e.Client)
		},
		JobDropped: func(e recovery.JobEvent) {
			audit.Info("nothing mailed", "reason", e.Reason, "client", e.Client)
		},
		JobFailed: func(e recovery.JobEvent) {
			audit.Error("job failed", "request", e.ID, "kind", e.Kind, "error", e.Err)
		},
		TokenRefused: func(e recovery.ResetEvent) {
			audit.Warn("token refused", "reason", e.Reason, "account", e.Account.ID, "client", e.Client)
		},
		PasswordChanged: func(e recovery.ResetEvent) {
			audit.Info("password changed", "tenant", e.Account.Tenant, "account", e.Account.ID, "client", e.Client)
		},
	}
}

// An audit log with log/slog. It says what no caller is told: why nothing was mailed, and why a
// token was refused.
func ExampleHooks() {
	ctx, client := context.Background(), netip.MustParseAddr("192.0.2.10")
	r, w := io.Pipe() // in a program: os.Stdout
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Hooks: auditHooks(slog.New(slog.NewTextHandler(w, nil))),
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "nobody", Client: client}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	_, _ = svc.CompleteReset(ctx, recovery.CompleteRequest{Token: "guessed", Password: "Correct-h0rse-7", Client: client})

	lines := bufio.NewScanner(r)
	for range 2 { // hooks run soon after the calls
		lines.Scan()
		_, line, _ := strings.Cut(lines.Text(), " ") // without the time
		fmt.Println(line)
	}
	// Output:
	// level=INFO msg="nothing mailed" reason=no_account client=192.0.2.10
	// level=WARN msg="token refused" reason=malformed account="" client=192.0.2.10
}
