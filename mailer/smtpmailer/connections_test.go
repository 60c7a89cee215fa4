package smtpmailer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

func count(verbs []string, verb string) (n int) {
	for _, v := range verbs {
		if v == verb {
			n++
		}
	}
	return n
}

// once acts the first time only.
func once(first act, otherwise act) act {
	var o sync.Once
	return func(p *peer) (goesOn bool) {
		a := otherwise
		o.Do(func() { a = first })
		return a(p)
	}
}

func TestConnectionIsKept(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	for range 5 {
		is.NoErr(m.Send(t.Context(), message())) // sent
	}
	is.Equal(f.dialed(), 1)   // over one connection
	is.Equal(len(f.got()), 5) // each
}

func TestNoMoreConnectionsThanAllowed(t *testing.T) {
	is := is.New(t)
	noLeak(t)
	f, m := newPair(t, func(o *Options) { o.Connections = 3 })
	var wg sync.WaitGroup
	for i := range 45 {
		wg.Go(func() {
			msg := message()
			msg.ID = fmt.Sprint("mail-", i)
			if err := m.Send(t.Context(), msg); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	dials, _, most, _ := f.counts()
	is.True(most <= 3)         // connections at once
	is.True(dials <= 3)        // and none for nothing
	is.Equal(len(f.got()), 45) // every mail
	seen := map[string]bool{}
	for _, r := range f.got() {
		_, id, _ := strings.Cut(string(r.raw), "Message-ID: <")
		id, _, _ = strings.Cut(id, "@")
		seen[id] = true
	}
	is.Equal(len(seen), 45) // once
}

// A place of the worker without a connection of its own would wait for the mails of others.
func TestEveryPlaceOfTheWorkerHasAConnection(t *testing.T) {
	is := is.New(t)
	noLeak(t)
	service, err := recovery.New(struct{ recovery.Store }{}, struct{ recovery.Mailer }{}, nil)
	is.NoErr(err) // the default options
	places := service.Options().Workers * 5 / 4

	f, m := newPair(t, nil)
	var arrived atomic.Int32
	all := make(chan bool)
	f.set(map[string]act{"end": func(p *peer) bool {
		if arrived.Add(1) == int32(places) {
			close(all)
		}
		<-all // until each of them is here
		return accept(p)
	}})
	var wg sync.WaitGroup
	for range places {
		wg.Go(func() {
			if err := m.Send(t.Context(), message()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	dials, _, most, _ := f.counts()
	is.Equal(dials, places)        // made in one burst
	is.Equal(most, places)         // at the same time
	is.Equal(len(f.got()), places) // with a mail each

	f.set(nil)
	for range 10 {
		is.NoErr(m.Send(t.Context(), message()))
	}
	is.Equal(f.dialed(), places) // the kept ones are used
	began := time.Now()
	is.NoErr(m.Close())
	is.True(time.Since(began) < quitTimeout)       // all quit at once
	is.True(eventually(f.idle))                    // none is left
	is.Equal(count(f.verbs(), "tls QUIT"), places) // politely
}

// If a relay admits few connections, the mails beyond them are deferred, and none is lost.
func TestRelayThatAdmitsFewConnections(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	var admitted atomic.Int32
	f.set(map[string]act{"banner": func(p *peer) bool {
		if admitted.Add(1) > 5 {
			return sayAndClose("421 4.7.0 too many connections")(p)
		}
		return say("220 mail.example.com ESMTP")(p)
	}})
	var accepted, deferred atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch classOf(m.Send(t.Context(), message())) {
			case sent:
				accepted.Add(1)
			case temporary:
				deferred.Add(1)
			}
		})
	}
	wg.Wait()
	is.Equal(int(accepted.Load()), len(f.got())) // the mails that the server has
	is.True(accepted.Load() >= 5)                // over those connections
	is.Equal(accepted.Load()+deferred.Load(), int32(20))
}

// A mail that failed before the final dot was certainly not accepted: its tokens are deleted.
func TestOnlyTheFinalDotMakesAMailUncertain(t *testing.T) {
	for _, step := range []string{"banner", "EHLO", "STARTTLS", "handshake", "AUTH", "MAIL", "RCPT", "DATA", "end"} {
		t.Run(step, func(t *testing.T) {
			is := is.New(t)
			noLeak(t)
			f, m := newPair(t, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			f.set(map[string]act{step: func(p *peer) bool { cancel(); return hang(p) }})
			err := m.Send(ctx, message())
			is.Equal(len(f.got()), 0) // the server has nothing
			if step == "end" {
				is.Equal(classOf(err), uncertain) // the client cannot know here
			} else {
				is.Equal(classOf(err), temporary)
			}
			is.True(errors.Is(err, context.Canceled)) // as recovery.Mailer wants it
		})
	}
}

func TestWaitingForAConnectionEndsWithTheContext(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, func(o *Options) { o.Connections = 1 })
	busy, release := make(chan bool), make(chan bool)
	f.set(map[string]act{"RCPT": func(p *peer) bool { close(busy); <-release; return say("250 ok")(p) }})
	first := make(chan error, 1)
	go func() { first <- m.Send(t.Context(), message()) }()
	<-busy
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := m.Send(ctx, message())
	is.True(errors.Is(err, context.DeadlineExceeded))                                        // it ended
	is.Equal(err.Error(), "smtpmailer: waiting for a connection: context deadline exceeded") // and says of what
	close(release)
	is.NoErr(<-first) // the one before is not disturbed
}

// A kept connection that has died in whatever way is replaced, and the mail is sent once.
func TestDeadConnectionIsReplaced(t *testing.T) {
	ok := say("250 ok")
	for name, acts := range map[string]map[string]act{
		"closed after the mail": {"end": once(after(accept, shut), accept)},
		"reset after the mail":  {"end": once(after(accept, reset), accept)},
		"421 after the mail":    {"end": once(after(accept, sayAndClose("421 4.4.2 idle")), accept)},
		"silent after the mail": {"end": once(after(accept, hang), accept)},
		"closed at MAIL":        {"MAIL": once(ok, once(shut, ok))},
		"421 at MAIL":           {"MAIL": once(ok, once(sayAndClose("421 4.4.2 idle"), ok))},
		"too many mails":        {"MAIL": once(ok, once(say("452 4.5.3 too many"), ok))},
		"log-in expired":        {"MAIL": once(ok, once(say("530 5.7.0 log in"), ok))},
		"closed at RCPT":        {"RCPT": once(ok, once(shut, ok))},
		"421 at RCPT":           {"RCPT": once(ok, once(sayAndClose("421 4.4.2 idle"), ok))},
		"closed at DATA": {"DATA": func() act {
			d := func(p *peer) bool { return say("354 go")(p) && p.body() }
			return once(d, once(shut, d))
		}()},
		"one reply too many":     {"end": once(func(p *peer) bool { p.took(); return say("250 ok\r\n250 ok")(p) }, accept)},
		"late reply to the mail": {"MAIL": once(ok, once(say("250 ok\r\n250 ok"), ok))},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			noLeak(t)
			f, m := newPair(t, nil)
			answered := map[string]act{}
			for step, a := range acts {
				answered[step] = a
				if step == "MAIL" || step == "RCPT" { // these keep the envelope
					answered[step] = func(p *peer) bool { p.mail.from, p.mail.to = "x", "x"; return a(p) }
				}
			}
			f.set(answered)
			is.NoErr(m.Send(t.Context(), message())) // over a new connection
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			is.NoErr(m.Send(ctx, message())) // over another one
			is.Equal(f.dialed(), 2)          // once more
			is.Equal(len(f.got()), 2)        // each mail once
		})
	}
}

// Once the final dot is sent, the server may have the mail. Whether to send it again is the
// worker's decision.
func TestNothingIsRepeatedAfterTheFinalDot(t *testing.T) {
	for name, end := range map[string]act{
		"closed": shut, "reset": reset, "421": sayAndClose("421 4.3.2 bye"), "451": say("451 4.3.0 later"), "taken and closed": func(p *peer) bool { p.took(); return false },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f, m := newPair(t, nil)
			is.NoErr(m.Send(t.Context(), message())) // the connection is kept
			f.set(map[string]act{"end": end})
			want := uncertain
			if name == "421" || name == "451" { // the server says that it has not
				want = temporary
			}
			is.Equal(classOf(m.Send(t.Context(), message())), want)
			is.Equal(count(f.verbs(), "tls DATA"), 2) // one try each
		})
	}
}

func TestRefusedRecipientLeavesTheConnection(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	is.NoErr(m.Send(t.Context(), message())) // a good one
	f.set(map[string]act{"RCPT": say("550 5.1.1 no")})
	is.Equal(classOf(m.Send(t.Context(), message())), permanent) // a bad one
	is.Equal(count(f.verbs(), "tls RCPT"), 2)                    // asked once
	f.set(nil)
	is.NoErr(m.Send(t.Context(), message())) // a good one again
	verbs := f.verbs()
	is.Equal(verbs[len(verbs)-4:], []string{"tls RSET", "tls MAIL", "tls RCPT", "tls DATA"}) // from a clean start
	is.Equal(f.dialed(), 1)                                                                  // over the same connection
}

func TestDeferredRecipientIsNotAskedForTwice(t *testing.T) {
	for _, step := range []string{"RCPT", "DATA"} {
		t.Run(step, func(t *testing.T) {
			is := is.New(t)
			f, m := newPair(t, nil)
			is.NoErr(m.Send(t.Context(), message())) // the connection is kept
			f.set(map[string]act{step: say("450 4.2.1 later")})
			is.Equal(classOf(m.Send(t.Context(), message())), temporary) // the worker comes again
			is.Equal(count(f.verbs(), "tls RCPT"), 2)                    // and not we
		})
	}
}

func TestWordyServerKeepsItsConnection(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	f.set(map[string]act{"MAIL": say(strings.Repeat("250-x\r\n", 20<<10) + "250 ok")}) // 140 kB
	for range 3 {
		is.NoErr(m.Send(t.Context(), message())) // each has room for the replies
	}
	is.Equal(f.dialed(), 1) // over one connection
}

// Only the first answer of a kept connection has to come early.
func TestKeptConnectionMayTakeItsTime(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	is.NoErr(m.Send(t.Context(), message())) // the connection is kept
	f.set(map[string]act{"end": func(p *peer) bool { time.Sleep(1300 * time.Millisecond); return accept(p) }})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	is.NoErr(m.Send(ctx, message())) // within its time, though not within a quarter of it
	is.Equal(len(f.got()), 2)        // both
}

func TestIdleConnectionEnds(t *testing.T) {
	is := is.New(t)
	noLeak(t)
	f, m := newPair(t, nil)
	m.opts.IdleTimeout = 30 * time.Millisecond
	is.NoErr(m.Send(t.Context(), message()))        // sent
	is.True(eventually(f.idle))                     // ended by itself
	is.True(slices.Contains(f.verbs(), "tls QUIT")) // politely
	is.NoErr(m.Send(t.Context(), message()))        // and made anew when needed
}

func TestCloseEndsTheConnections(t *testing.T) {
	for name, quit := range map[string]act{"goodbye": sayAndClose("221 bye"), "hang at QUIT": hang, "closed at QUIT": shut, "421 at QUIT": sayAndClose("421 no"), "endless goodbye": flood("221-x\r\n")} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			noLeak(t)
			f, m := newPair(t, nil)
			f.set(map[string]act{"QUIT": quit})
			is.NoErr(m.Send(t.Context(), message())) // the connection is kept
			closed := make(chan error, 1)
			go func() { closed <- m.Close() }()
			select {
			case err := <-closed:
				is.NoErr(err) // how the server answers QUIT is no error of Close
			case <-time.After(quitTimeout + 10*time.Second):
				t.Fatal("Close does not return")
			}
			is.True(eventually(f.idle))               // none is left
			is.Equal(count(f.verbs(), "tls QUIT"), 1) // QUIT was sent
			_, _, _, wrote := f.counts()
			is.True(wrote < 16<<20) // bytes of a goodbye; nobody listens to more
			err := m.Send(t.Context(), message())
			is.Equal(err, errClosed)          // no mail after Close
			is.Equal(classOf(err), temporary) // another process sends it
			is.NoErr(m.Close())               // closing twice is fine
		})
	}
}

func TestCloseLetsASendFinish(t *testing.T) {
	is := is.New(t)
	noLeak(t)
	f, m := newPair(t, nil)
	busy, release := make(chan bool), make(chan bool)
	f.set(map[string]act{"RCPT": func(p *peer) bool { close(busy); <-release; return say("250 ok")(p) }})
	sent := make(chan error, 1)
	go func() { sent <- m.Send(t.Context(), message()) }()
	<-busy
	is.NoErr(m.Close()) // meanwhile
	close(release)
	is.NoErr(<-sent)            // it goes on
	is.True(eventually(f.idle)) // and keeps nothing
}

func TestEndedContextCostsNoConnection(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		is.NoErr(m.Send(t.Context(), message()))                     // the connection is kept
		is.True(errors.Is(m.Send(ctx, message()), context.Canceled)) // it has ended already
	}
	is.Equal(f.dialed(), 1) // the same all the time
}

func TestSendHasATimeoutOfItsOwn(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	m.opts.Timeout = 100 * time.Millisecond
	f.set(map[string]act{"banner": hang})
	is.True(errors.Is(m.Send(context.Background(), message()), context.DeadlineExceeded)) // without a deadline of the caller's
}

func TestServerThatIsDown(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	is.NoErr(f.listener.Close())
	err := m.Send(t.Context(), message())
	is.Equal(classOf(err), temporary)                                   // it may come up again
	is.True(strings.HasPrefix(err.Error(), "smtpmailer: connecting: ")) // the step
}
