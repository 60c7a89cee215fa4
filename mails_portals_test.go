package recovery_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// Portal.Allow is asked about so many accounts of one address, not about a thousand.
func TestAllowIsAskedAboutFew(t *testing.T) {
	asked := 0
	portals := map[string]recovery.Portal{"p": {URL: "https://portal.example/", Allow: func(context.Context, recovery.Account) (bool, error) {
		asked++
		return false, nil
	}}}
	inBubble(t, recovery.Options{Portals: portals}, func(_ *testing.T, is *is.I, w *world) {
		for i := range 500 {
			w.put(fmt.Sprint(1000+i), fmt.Sprint("many", i), "many@example.com")
		}
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "many@example.com", Portal: "p", Client: client})))
		is.Equal(len(w.deliver()), 0)
		synctest.Wait()
		is.Equal(asked, 50)
	})
}

// A portal that is gone, or another tenant's by now, is reported as such.
func TestPortalThatIsGone(t *testing.T) {
	for _, portal := range []string{"gone", "acme"} {
		portals := map[string]recovery.Portal{"acme": {URL: "https://acme.example/", Tenants: []string{"acme"}}}
		inBubble(t, recovery.Options{Portals: portals}, func(_ *testing.T, is *is.I, w *world) {
			is.NoErr(w.users.Enqueue(w.ctx, recovery.Job{ID: "id", Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "alice",
				Portal: portal, RequestedAt: time.Now(), Priority: time.Now()}, nil))
			is.Equal(len(w.deliver()), 0)
			is.Equal(w.told(), []string{"JobDropped portal", "JobStarted"})
		})
	}
}

func TestPortals(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Portals: map[string]recovery.Portal{
		"cloud_control": {URL: "https://portal.example/reset?lang=en", Tenants: []string{"acme", ""}},
		"support": {URL: "https://support.example/", Allow: func(_ context.Context, a recovery.Account) (bool, error) {
			return a.Username == "billybob", nil
		}},
	}})
	ask := func(username, portal string) []recovery.Message {
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: username, Portal: portal})))
		return w.deliver()
	}
	mails := ask("alice", "cloud_control")
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Kind, recovery.MessageResetLink)
	is.Equal(mails[0].Resets[0].Link, "https://portal.example/reset?lang=en#token="+tokenOf(mails[0]))
	is.Equal(ask("billybob", "support")[0].Kind, recovery.MessageResetLink)
	is.Equal(len(ask("alicia", "support")), 0) // not allowed, silently
	w.hooks.wait(t, "JobDropped portal")
	is.Equal(ask("alicia", "")[0].Kind, recovery.MessageResetToken)
}

// A mail has links for those accounts that the portal is for.
func TestPortalChoosesAmongAccounts(t *testing.T) {
	asked := 0
	allow := func(_ context.Context, a recovery.Account) (bool, error) { asked++; return a.Username >= "user02", nil }
	inBubble(t, recovery.Options{Portals: map[string]recovery.Portal{"p": {URL: "https://portal.example/", Allow: allow}}},
		func(_ *testing.T, is *is.I, w *world) {
			for i := range 15 {
				w.put(fmt.Sprintf("u%02d", i), fmt.Sprintf("user%02d", i), "many@example.com")
			}
			is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "many@example.com", Portal: "p"})))
			m := w.deliver()[0]
			is.Equal(namesOf(m)[0], "user02")
			is.Equal(len(m.Resets), 10)
			is.Equal(m.MoreResets, 3)
			is.Equal(asked, 12) // no more than are mailed
			synctest.Wait()
			is.Equal(w.accountsTold("JobDropped portal"), []string{"u00", "u01"})
			is.Equal(w.accountsTold("MailSent"), []string{"u02"})
		})
}
