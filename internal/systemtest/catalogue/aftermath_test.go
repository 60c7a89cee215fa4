package catalogue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// mailTimes is a mail system that takes some time for each mail, and records when it reached whom.
type mailTimes struct {
	mu    sync.Mutex
	began time.Time
	came  []string
	hold  func(recovery.Message) error // beside the time that each mail takes
}

func (p *mailTimes) send(m recovery.Message) error {
	time.Sleep(30 * time.Millisecond)
	if p.hold != nil {
		if err := p.hold(m); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.came = append(p.came, fmt.Sprint(m.To, " ", m.Kind, " ", time.Since(p.began)))
	return nil
}

// to returns when mails came to an address.
func (p *mailTimes) to(address string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.came), func(came string) bool { return !strings.HasPrefix(came, address+" ") })
}

// Somebody asks for mails to himself, over and over. They come at the same instants, to the
// nanosecond, whether or not somebody else completes a reset meanwhile, and whatever happens to the
// notice and to OnReset.
func TestAttack_S57_CompletionsOfOthers(t *testing.T) {
	never := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, workers := range []int{1, 2, 16} {
		var want []string
		for _, c := range []struct {
			what      string
			completes bool
			notice    func(recovery.Message) error
			onReset   func(context.Context) error
			stats     bool // staff looks, again and again
		}{
			{what: "nobody completes"},
			{what: "nobody completes, staff looks", stats: true},
			{what: "completed", completes: true},
			{what: "completed, and the notice is slow", completes: true, notice: func(recovery.Message) error { time.Sleep(20 * time.Second); return nil }},
			{what: "completed, and the notice is refused", completes: true, notice: func(recovery.Message) error { return recovery.ErrPermanent }},
			{what: "completed, and the notice fails", completes: true, notice: func(recovery.Message) error { return errForeign }},
			{what: "completed, and OnReset hangs", completes: true, onReset: never, stats: true},
			{what: "completed, and OnReset fails", completes: true, onReset: func(context.Context) error { return errForeign }},
			{what: "completed, and OnReset panics", completes: true, onReset: func(context.Context) error { panic(panicText) }},
		} {
			t.Run(fmt.Sprint(workers, " workers/", c.what), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					post := &mailTimes{hold: func(m recovery.Message) error {
						if m.Kind == recovery.MessagePasswordChanged && c.notice != nil {
							return c.notice(m)
						}
						return nil
					}}
					s := newSite(t, onMemory(), func(s *site, o *recovery.Options) {
						o.Workers, o.Tick, o.Now = workers, 250*time.Millisecond, time.Now
						o.OnReset = func(ctx context.Context, _ recovery.Account) error {
							if c.onReset == nil {
								return nil
							}
							return c.onReset(ctx)
						}
					})
					var tokens, changed []string // of people who have nothing to do with the asker
					for i := range 10 {
						id, name := fmt.Sprint(100+i), fmt.Sprintf("person%d", i)
						s.put(eligible(id, name, name+"@example.com"))
						tokens, changed = append(tokens, s.token(name)), append(changed, id)
					}
					s.mail.Fail(post.send)
					ctx, stop := context.WithCancel(s.ctx)
					var worker sync.WaitGroup
					worker.Go(func() { _ = s.Run(ctx) })
					time.Sleep(1003 * time.Millisecond) // no call comes at a tick
					post.began = time.Now()
					e := s.direct()
					for _, token := range tokens {
						s.is.Equal(e.byName("attacker").outcome, accepted)
						time.Sleep(40 * time.Millisecond)
						if c.completes {
							s.is.Equal(e.complete(token, newPassword).outcome, accepted)
						}
						if c.stats {
							_, err := s.Stats(s.ctx)
							s.is.NoErr(err)
						}
						time.Sleep(40 * time.Millisecond)
						s.is.Equal(e.names("attacker@evil.example").outcome, accepted)
						time.Sleep(1007 * time.Millisecond)
					}
					time.Sleep(2 * time.Minute)
					stop()
					worker.Wait()
					got := slices.Sorted(slices.Values(post.to("attacker@evil.example")))
					if want == nil {
						want = got
						s.is.Equal(len(got), 20)
					}
					if !slices.Equal(got, want) {
						t.Errorf("own mails came at\n%s\nand with nobody else at\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
					s.is.Equal(s.verifies(changed[9], newPassword), c.completes)
					s.sound(changed...)
				})
			})
		}
	}
}

// On every store, one's own mail does not wait for the notice of somebody else, nor for OnReset.
func TestAttack_S57_NoticeThatHangs(t *testing.T) {
	release := map[*site]chan struct{}{}
	var mu sync.Mutex
	hang := func(s *site, o *recovery.Options) {
		until := make(chan struct{})
		mu.Lock()
		defer mu.Unlock()
		release[s] = until
		o.OnReset = func(context.Context, recovery.Account) error { <-until; return nil }
	}
	everywhere(t, hang, func(s *site) {
		mu.Lock()
		until := release[s]
		mu.Unlock()
		s.is.Equal(s.direct().complete(s.token("victim"), newPassword).outcome, accepted)
		own := make(chan struct{}, 10)
		s.mail.Fail(func(m recovery.Message) error {
			if m.Kind == recovery.MessagePasswordChanged {
				<-until
			} else {
				own <- struct{}{}
			}
			return nil
		})
		s.direct().byName("attacker")
		s.direct().names("attacker@evil.example")
		ctx, stop := context.WithCancel(s.ctx)
		var worker sync.WaitGroup
		worker.Go(func() { _ = s.Run(ctx) })
		for range 2 {
			select {
			case <-own:
			case <-time.After(20 * time.Second):
				s.t.Error("a mail waits for somebody else's notice")
			}
		}
		close(until)
		stop()
		worker.Wait()
		s.deliver() // what was not claimed yet
		s.sound("8")
	})
}

// named lists identifiers, some of which mean somebody to mail.
func (s *site) named() map[string]func() error {
	reset := func(name string) func() error {
		return func() error {
			return spy.Err(s.RequestReset(s.ctx, recovery.ResetRequest{Username: name, Client: s.client}))
		}
	}
	names := func(address string) func() error {
		return func() error {
			return spy.Err(s.RetrieveUsername(s.ctx, recovery.UsernameRequest{Email: address, Client: s.client}))
		}
	}
	return map[string]func() error{
		"known": reset("billybob"), "unknown": reset("nobodyxx"), "disabled": reset("mallory"), "without password": reset("federate"),
		"unproven": reset("unproven"), "over the limit": reset("attacker"),
		"names": names("alice@example.com"), "names of nobody": names("nobodyxx@example.com"), "names of the disabled": names("mallory@example.com"),
	}
}

// An engine that runs one job after the other can time DeliverJob. Each job takes as long as a
// mail, and asks for its retry at the same time.
func TestAttack_S57_DeliverJob(t *testing.T) {
	const takes = 30 * time.Millisecond
	for what, c := range map[string]struct {
		fails       error
		least, most time.Duration // until the job is to be tried again
	}{
		"mail works":            {nil, 0, 0},
		"mail is refused":       {recovery.ErrPermanent, 0, 0},
		"mail fails":            {errForeign, time.Second, 2 * time.Second},
		"mail may have arrived": {recovery.ErrUncertain, 20 * time.Minute, 20 * time.Minute},
	} {
		t.Run(what, func(t *testing.T) {
			everywhere(t, withLimits, func(s *site) {
				for range 2 {
					s.token("attacker")
				}
				svc, err := recovery.New(s.trace, s.mail, s.opts) // which has seen no mail yet
				s.is.NoErr(err)
				s.mail.Fail(func(m recovery.Message) error {
					s.mailed(m)
					time.Sleep(takes)
					return c.fails
				})
				run := func(ask func() error) (took, again time.Duration) {
					s.is.Equal(s.called(ask()).outcome, accepted)
					began := time.Now()
					retryAt, err := svc.DeliverJob(s.ctx, s.trace.added())
					s.is.NoErr(err)
					if took = time.Since(began); !retryAt.IsZero() {
						again = retryAt.Sub(s.clock())
					}
					return took, again
				}
				run(s.named()["known"])
				for class, ask := range s.named() {
					s.client = s.client.Next()
					if took, again := run(ask); took < takes || again < c.least || again > c.most {
						s.t.Errorf("%s: took %v, and is to be tried again in %v", class, took, again)
					}
				}
				s.sound()
			})
		})
	}
}

// Stats counts jobs, and a job counts the same whoever is meant: before it is worked on, and when
// it must be tried again.
func TestAttack_S57_Stats(t *testing.T) {
	for what, fails := range map[string]error{"mail works": nil, "mail is refused": recovery.ErrPermanent, "mail fails": errForeign} {
		t.Run(what, func(t *testing.T) {
			everywhere(t, withLimits, func(s *site) {
				for range 2 {
					s.token("attacker")
				}
				svc, err := recovery.New(s.trace, s.mail, s.opts)
				s.is.NoErr(err)
				s.mail.Fail(func(m recovery.Message) error { s.mailed(m); return fails })
				stats := func() string {
					all, err := svc.Stats(s.ctx)
					s.is.NoErr(err)
					return fmt.Sprint(all)
				}
				s.is.Equal(s.called(s.named()["known"]()).outcome, accepted)
				_, err = svc.DeliverJob(s.ctx, s.trace.added()) // so that the Service knows how mails go
				s.is.NoErr(err)
				if fails == errForeign { // ends what the failure left
					s.advance(2 * time.Hour)
					_, err = svc.Deliver(s.ctx)
					s.is.NoErr(err)
				}
				empty := stats()
				want := [2]string{}
				for class, ask := range s.named() {
					s.client = s.client.Next()
					s.is.Equal(s.called(ask()).outcome, accepted)
					got := [2]string{stats(), ""}
					s.is.True(got[0] != empty)
					_, err := svc.DeliverJob(s.ctx, s.trace.added())
					s.is.NoErr(err)
					got[1] = stats()
					s.is.Equal(got[1] == empty, fails != errForeign)
					if want[0] == "" {
						want = got
					}
					if got != want {
						s.t.Errorf("%s: %q, and others %q", class, got, want)
					}
					s.finish()
				}
				s.sound()
			})
		})
	}
}

// finish ends the waiting jobs without working on them.
func (s *site) finish() {
	s.is.Helper()
	for range 2 { // it may be leased
		lease := recovery.Claim{LeaseID: "the end", Lane: recovery.LaneMail, At: s.clock().Add(24 * time.Hour), Max: 100}
		lease.Until = lease.At.Add(time.Minute)
		jobs, err := s.Store.Claim(s.ctx, lease)
		s.is.NoErr(err)
		for _, j := range jobs {
			s.is.NoErr(s.Store.Finish(s.ctx, recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: lease.At}))
		}
	}
}
