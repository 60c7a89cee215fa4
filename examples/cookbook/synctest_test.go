package cookbook_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// An hour with a running worker takes no time. The clock moves on once hooks and mails are done.
func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		users := memstore.New()
		users.Put(recovery.Account{
			ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
		}, "hash")
		refused := make(chan recovery.TokenReason, 1)
		var mails mailertest.Recorder
		svc, err := recovery.New(users, &mails, &recovery.Options{
			TokenTTL: time.Hour,
			Hooks:    recovery.Hooks{TokenRefused: func(e recovery.ResetEvent) { refused <- e.Reason }},
		})
		is.NoErr(err)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go svc.Run(ctx)

		_, err = svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"})
		is.NoErr(err)
		time.Sleep(time.Second) // a tick
		mail, ok := mails.Last()
		is.True(ok)

		time.Sleep(time.Hour)
		_, err = svc.CompleteReset(ctx, recovery.CompleteRequest{
			Token: mail.Resets[0].Token.Reveal(), Password: "Correct-h0rse-7",
		})
		is.True(errors.Is(err, recovery.ErrInvalidToken))
		is.Equal(<-refused, recovery.TokenExpired)
	})
}
