package catalogue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/formats"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func allow(names ...string) func(context.Context, recovery.Account) (bool, error) {
	return func(_ context.Context, a recovery.Account) (bool, error) {
		for _, name := range names {
			if a.Username == name {
				return true, nil
			}
		}
		return false, nil
	}
}

// If there are several portals, each must say which accounts it is for.
func TestAttack_S35_SeveralPortalsMustBeBound(t *testing.T) {
	is := is.New(t)
	anybody := recovery.Portal{URL: portalURL}
	bound := recovery.Portal{URL: portalURL, Allow: allow("alice")}
	acmes := recovery.Portal{URL: portalURL, Tenants: []string{"acme"}}
	noTenants := recovery.Portal{URL: portalURL, Tenants: []string{}} // binds nobody
	for _, c := range []struct {
		portals map[string]recovery.Portal
		faults  []string // the names of those that are not bound
	}{
		{map[string]recovery.Portal{"web": anybody}, nil},
		{map[string]recovery.Portal{"": anybody}, nil},
		{map[string]recovery.Portal{"web": bound, "staff": bound}, nil},
		{map[string]recovery.Portal{"web": bound, "acme": acmes, "": acmes}, nil},
		{map[string]recovery.Portal{"web": bound, "none": noTenants}, []string{"none"}},
		{map[string]recovery.Portal{"web": anybody, "acme": acmes}, []string{"web"}},
		{map[string]recovery.Portal{"web": anybody, "staff": bound}, []string{"web"}},
		{map[string]recovery.Portal{"web": bound, "": anybody}, []string{""}},
		{map[string]recovery.Portal{"web": anybody, "staff": anybody, "shop": bound}, []string{"web", "staff"}},
	} {
		_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Portals: c.portals})
		is.Equal(err != nil, len(c.faults) > 0)
		if err == nil {
			err = errors.New("")
		}
		is.Equal(strings.Count(err.Error(), "must have Tenants or Allow"), len(c.faults))
		for _, name := range c.faults {
			is.True(strings.Contains(err.Error(), `Portals["`+name+`"] must have Tenants or Allow`))
		}
		attacked(t, 1)
	}
}

// staffed has a portal for everybody but mike, and one for mike and alicia.
func staffed(_ *site, o *recovery.Options) {
	o.Portals = map[string]recovery.Portal{
		"web":   {URL: portalURL, Allow: allow("alice", "alicia", "billybob", "victim")},
		"staff": {URL: "https://staff.example/reset", Allow: allow("mike", "alicia")},
	}
}

// through asks for a link to a portal, in the ways of the entry that name one.
func (s *site) through(e *entry, username, portal string) answer {
	s.is.Helper()
	if strings.HasPrefix(e.name, "Rackspace") {
		return e.send("reset", formats.Body(e.name, "reset", "username", username, "portal", portal))
	}
	return s.called(spy.Err(s.request(recovery.ResetRequest{Username: username, Portal: portal})))
}

func namesPortals(_ kind, e *entry) bool {
	return e.name == "direct" || strings.HasPrefix(e.name, "Rackspace")
}

// A caller names a portal that is not for the account: no link is mailed, and the caller sees no
// difference.
func TestAttack_S35_PortalOfOthers(t *testing.T) {
	onEntries(t, namesPortals, staffed, func(s *site, e *entry) {
		text := func(a answer, username string) answer {
			a.text = strings.ReplaceAll(a.text, username, "(as sent)")
			return a
		}
		for _, c := range []struct{ username, portal, link string }{
			{"billybob", "staff", ""}, {"victim", "staff", ""}, {"alice", "staff", ""}, {"mike", "web", ""}, {"mallory", "staff", ""},
			{"billybob", "web", portalURL}, {"mike", "staff", "https://staff.example/reset"}, {"alicia", "web", portalURL}, {"alicia", "staff", "https://staff.example/reset"},
		} {
			stranger := unknown("username", c.username)
			s.trace.calls()
			want, wantCalls := text(s.through(e, stranger, c.portal), stranger), shape(s.trace.calls())
			s.is.Equal(text(s.through(e, c.username, c.portal), c.username), want)
			s.is.Equal(shape(s.trace.calls()), wantCalls)
			s.is.Equal(want.outcome, accepted)
			mails := s.deliver()
			s.is.Equal(len(mails) == 1, c.link != "")
			for _, m := range mails {
				s.is.Equal(len(m.Resets), 1)
				s.is.Equal(m.Resets[0].Username, c.username)
				s.is.Equal(m.Resets[0].Link, c.link+"#token="+spy.Token(m)) // the portal's own page
			}
			s.is.Equal(strings.Contains(strings.Join(s.trace.calls(), " "), "CreateResets"), c.link != "") // no token is made
		}
		s.trace.calls()
		for _, portal := range []string{"web ", " staff", "shop", "../staff", "https://evil.example", "web\x00", "web,staff", strings.Repeat("x", 1000)} {
			s.is.Equal(s.through(e, "billybob", portal).outcome, malformed)
		}
		s.is.Equal(s.trace.calls(), nil)
		s.is.Equal(s.ended("JobDropped portal "), 4)
		s.sound()
	})
}

// portalsOfTenants has a portal for two tenants, and one for acme alone.
func portalsOfTenants(_ *site, o *recovery.Options) {
	o.Portals = map[string]recovery.Portal{
		"web":  {URL: portalURL, Tenants: []string{"", "acme"}},
		"acme": {URL: "https://acme.example/reset", Tenants: []string{"acme"}},
	}
}

// A portal of other tenants is refused for every name alike, before any call of the store.
func TestAttack_S35_PortalOfAnotherTenant(t *testing.T) {
	onEntries(t, namesPortals, portalsOfTenants, func(s *site, e *entry) {
		s.tenanted()
		for _, c := range []struct {
			tenant, portal string
			link           string // "" if it is refused
		}{
			{"", "acme", ""}, {"umbrella", "acme", ""}, {"umbrella", "web", ""}, {"ACME", "acme", ""}, {"acme ", "acme", ""},
			{"", "web", portalURL}, {"acme", "web", portalURL}, {"acme", "acme", "https://acme.example/reset"},
		} {
			s.tenant = c.tenant
			text := func(username string) answer {
				a := s.through(e, username, c.portal)
				a.text = strings.ReplaceAll(a.text, username, "(as sent)")
				return a
			}
			s.trace.calls()
			want := text(unknown("username", "billybob"))
			wantCalls := shape(s.trace.calls())
			s.is.Equal(want.outcome == accepted, c.link != "")
			for _, username := range []string{"billybob", "zoe", "mallory", "federate"} {
				s.is.Equal(text(username), want)
				s.is.Equal(shape(s.trace.calls()), wantCalls)
			}
			if c.link == "" {
				s.is.Equal(want.outcome, malformed)
				s.is.Equal(wantCalls, "")
			}
			for _, m := range s.deliver() {
				for _, r := range m.Resets {
					s.is.Equal(r.Link, c.link+"#token="+r.Token.Reveal())
				}
			}
		}
		s.tenant = ""
		s.sound()
	})
}

// The portal is taken from a tenant while its requests wait: they are dropped without a link.
func TestAttack_S35_PortalChangesItsTenants(t *testing.T) {
	everywhere(t, portalsOfTenants, func(s *site) {
		s.tenanted()
		later := *s.opts
		later.Portals = map[string]recovery.Portal{
			"web":  {URL: portalURL, Tenants: []string{""}},
			"acme": {URL: "https://acme.example/reset", Tenants: []string{"umbrella"}},
		}
		svc := s.another(&later)
		s.tenant = "acme"
		for _, portal := range []string{"web", "acme"} {
			for _, username := range []string{"billybob", "nobodyxx"} {
				s.is.Equal(s.through(s.direct(), username, portal).outcome, accepted)
			}
		}
		s.trace.calls()
		_, err := svc.Deliver(s.ctx)
		s.is.NoErr(err)
		s.is.Equal(len(s.mail.Messages()), 0)
		s.is.True(!slices.Contains(s.trace.calls(), "CreateResets")) // no token is made
		s.is.Equal(s.ended("JobDropped portal "), 2)                 // those that mean somebody
		s.sound()
	})
}

// Of the accounts of an address, only those that the portal is for get a link.
func TestAttack_S35_SomeAccountsOfAnAddress(t *testing.T) {
	everywhere(t, staffed, func(s *site) {
		err := spy.Err(s.RequestReset(s.ctx, recovery.ResetRequest{Email: "alice@example.com", Portal: "staff", Client: s.client}))
		s.is.Equal(s.called(err).outcome, accepted)
		mails := s.deliver()
		s.is.Equal(len(mails), 1)
		s.is.Equal(len(mails[0].Resets), 1)
		s.is.Equal(mails[0].Resets[0].Username, "alicia")
		s.is.Equal(mails[0].MoreResets, 0) // the mail says nothing of the other
		rendered := s.rendered(mails[0])
		s.is.True(strings.Contains(rendered, "alicia") && !strings.Contains(rendered, "alice\n") && !strings.Contains(rendered, "“alice”"))
		s.sound()
	})
}

// Portal.Allow is asked at each try, so a change before the mail counts. If it fails, it is asked
// again.
func TestAttack_S35_AllowChangesItsMind(t *testing.T) {
	var mind func(context.Context, recovery.Account) (bool, error)
	fickle := func(_ *site, o *recovery.Options) {
		o.Portals = map[string]recovery.Portal{
			"web":   {URL: portalURL, Allow: func(ctx context.Context, a recovery.Account) (bool, error) { return mind(ctx, a) }},
			"staff": {URL: "https://staff.example/reset", Allow: allow()},
		}
	}
	s := newSite(t, onMemory(), fickle) // the store makes no difference
	for what, c := range map[string]struct {
		then  func(context.Context, recovery.Account) (bool, error)
		mails int
	}{
		"yes": {allow("billybob"), 1}, "no": {allow(), 0},
		"no answer": {func(context.Context, recovery.Account) (bool, error) { return true, errors.New("try again") }, 0},
	} {
		mind = func(context.Context, recovery.Account) (bool, error) { return true, errors.New("not now") }
		s.advance(time.Hour)
		s.is.Equal(s.through(s.direct(), "billybob", "web").outcome, accepted)
		s.is.Equal(len(s.deliver()), 0) // not while Allow fails
		mind = c.then
		s.advance(10 * time.Minute)
		if got := len(s.deliver()); got != c.mails {
			t.Errorf("%s: %d mails", what, got)
		}
		s.advance(2 * time.Hour)
		s.deliver()
	}
	s.sound()
}
