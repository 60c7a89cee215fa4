package sidechannel

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
)

// randomToken returns a well-formed token that nobody was mailed.
func randomToken() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
}

// mailed makes the Service mail a token and a code to the account of s, and puts them into s. It
// returns the token.
func (w *world) mailed(s *subject) string {
	w.is.Helper()
	w.deliver()
	receipt, err := w.svc.RequestReset(w.t.Context(), recovery.ResetRequest{Username: s.username, Tenant: tenant, Code: true})
	w.is.NoErr(err)
	mails := w.deliver()
	w.is.Equal(len(mails), 1)
	s.token, s.ticket, s.code = mails[0].Resets[0].Token.Reveal(), receipt.Ticket.Reveal(), mails[0].Resets[0].Code
	return s.token
}

// use resets the password with the token.
func (w *world) use(token string) {
	w.is.Helper()
	_, err := w.svc.CompleteReset(w.t.Context(), recovery.CompleteRequest{Token: token, Password: goodPassword})
	w.is.NoErr(err)
}

// dead lists the ways in which a token cannot be used, besides being unknown.
var dead = []struct {
	name   string
	reason recovery.TokenReason // as the store knows it
	kill   func(w *world, s *subject, a recovery.Account)
}{
	{"used", recovery.TokenUsed, func(w *world, s *subject, a recovery.Account) {
		w.unsent(s, a, 16*time.Hour)
		w.use(s.token)
	}},
	{"superseded", recovery.TokenSuperseded, func(w *world, s *subject, a recovery.Account) {
		w.mailed(s)
		w.now = w.now.Add(time.Hour)
		w.mailed(&subject{username: s.username})
	}},
	{"voided", recovery.TokenVoided, func(w *world, s *subject, a recovery.Account) {
		other := w.mailed(&subject{username: s.username})
		w.now = w.now.Add(time.Second)
		w.unsent(s, a, 16*time.Hour)
		w.use(other)
	}},
	{"of a changed password", recovery.TokenStale, func(w *world, s *subject, a recovery.Account) {
		w.unsent(s, a, 16*time.Hour)
		w.is.NoErr(w.put(a, "another hash"))
	}},
	{"of a changed address", recovery.TokenStale, afterwards(func(a *recovery.Account) { a.Email = "new" + a.Email })},
	{"of a disabled account", recovery.TokenAccountGone, afterwards(func(a *recovery.Account) { a.Active = false })},
	{"of an account without a password", recovery.TokenAccountGone, afterwards(func(a *recovery.Account) { a.HasPassword = false })},
	{"of an unverified address", recovery.TokenAccountGone, afterwards(func(a *recovery.Account) { a.EmailVerified = false })},
	{"of a deleted account", recovery.TokenAccountGone, func(w *world, s *subject, a recovery.Account) {
		w.unsent(s, a, 16*time.Hour)
		w.is.NoErr(w.drop(a.ID))
	}},
	{"expired", recovery.TokenExpired, func(w *world, s *subject, a recovery.Account) { // not long ago, or it is purged
		w.unsent(s, a, 0)
	}},
	// The last is alive; it is dead only for a caller who names somebody else.
	{"of another user", "", func(w *world, s *subject, a recovery.Account) {
		w.unsent(s, a, 16*time.Hour)
		s.username = w.someone().username
		w.add(s.username, s.username+"@example.com", nil)
	}},
}

// afterwards has the account change when the token is there.
func afterwards(change func(*recovery.Account)) func(*world, *subject, recovery.Account) {
	return func(w *world, s *subject, a recovery.Account) {
		w.unsent(s, a, 16*time.Hour)
		change(&a)
		w.is.NoErr(w.put(a, oldHash))
	}
}

// unsent stores a token and a code of the account that no mail carried. The subject has them then.
func (w *world) unsent(s *subject, a recovery.Account, lives time.Duration) {
	w.is.Helper()
	s.token, s.ticket, s.code = randomToken(), randomToken(), aCode
	token, err := recovery.ParseToken(s.token)
	w.is.NoErr(err)
	r := recovery.Reset{Digest: token.Digest(), AccountID: a.ID, Version: a.Version, RequestedAt: w.now, ExpiresAt: w.now.Add(lives)}
	code := r
	code.Digest = w.digestOf(*s)
	w.is.NoErr(plant(w.t.Context(), w.store, w.now, r, code))
}

const aCode = "BCDF-GHJK"

// digestOf returns the digest of a code that the store has, as in the library's code.go.
func (w *world) digestOf(s subject) recovery.Digest {
	w.is.Helper()
	ticket, err := recovery.ParseToken(s.ticket) // the same form
	w.is.NoErr(err)
	digest := ticket.Digest()
	return sha256.Sum256([]byte("recovery code\x00" + string(digest[:]) + strings.ReplaceAll(s.code, "-", "")))
}

// plant stores resets that no mail carries.
func plant(ctx context.Context, store recovery.Store, at time.Time, resets ...recovery.Reset) error {
	job := recovery.Job{
		ID: randomToken(), Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "planted", RequestedAt: at, Priority: at,
	}
	if err := store.Enqueue(ctx, job, nil); err != nil {
		return err
	}
	_, err := store.Claim(ctx, recovery.Claim{LeaseID: job.ID, Lane: recovery.LaneMail, At: at, Until: at.Add(time.Hour), Max: 1, JobID: job.ID})
	if err != nil {
		return err
	}
	for i := range resets {
		resets[i].JobID = job.ID
	}
	if _, err = store.CreateResets(ctx, recovery.ResetBatch{JobID: job.ID, LeaseID: job.ID, At: at, Resets: resets}); err != nil {
		return err
	}
	return store.Finish(ctx, recovery.Outcome{JobID: job.ID, LeaseID: job.ID, At: at})
}

// tokens returns a subject for an unknown token and one for each kind of dead one.
func (w *world) tokens() (none subject, kinds []subject) {
	w.is.Helper()
	none = w.someone()
	none.token, none.ticket, none.code = randomToken(), randomToken(), aCode
	for _, kind := range dead {
		s := w.someone()
		kind.kill(w, &s, w.add(s.username, s.email, nil))
		w.now = w.now.Add(2 * time.Minute)
		kinds = append(kinds, s)
	}
	for i, kind := range dead {
		token, err := recovery.ParseToken(kinds[i].token)
		w.is.NoErr(err)
		_, _, err = w.store.FindReset(w.t.Context(), token.Digest(), w.now)
		e, _ := errors.AsType[*recovery.TokenError](err)
		if kind.reason == "" {
			w.is.NoErr(err)
		} else {
			w.is.Equal(e.Reason, kind.reason)
		}
		_, _, err = w.store.FindReset(w.t.Context(), w.digestOf(kinds[i]), w.now)
		w.is.Equal(errors.Is(err, recovery.ErrInvalidToken), kind.reason != "") // its code is as dead
	}
	w.trace.take()
	return none, kinds
}

// compareCompletions tries to use each kind of dead token with each action and returns what
// differs.
func compareCompletions(w *world, actions []action) (found []string) {
	w.is.Helper()
	browser := w.browser()
	none, kinds := w.tokens()
	for _, a := range actions {
		observe := func(s subject) observation { return w.observe(func() string { return browser.do(a, s) }) }
		observe(none)                      // makes the row of the limit
		w.now = w.now.Add(2 * time.Minute) // so that each call looks at the Store's clock
		want := observe(none)
		for i, kind := range dead {
			if i == len(dead)-1 && !a.named {
				continue
			}
			w.now = w.now.Add(2 * time.Minute)
			o := observe(kinds[i])
			if d := o.differences(want); d != "" {
				found = append(found, fmt.Sprintf("%s, %s against unknown: %s", a.name, kind.name, d))
			}
		}
		// The limits are counted first, and nothing else is written.
		var methods []string
		for call := range strings.SplitSeq(strings.TrimPrefix(want.calls, "Now \n"), "\n") {
			method, _, _ := strings.Cut(call, " ")
			methods = append(methods, method)
		}
		takes := 1
		if a.byCode { // a try of the ticket, too
			takes = 2
		}
		should := strings.Repeat("TakeLimits ", takes) + "FindReset"
		if strings.Join(methods, " ") != should || strings.Count(want.rows, "\n") != takes-1 {
			found = append(found, fmt.Sprintf("%s does not do what it should:\n%s\n%s", a.name, want.calls, want.rows))
		}
	}
	return found
}

func TestAttack_S55_DeadTokensAreRefusedAlike(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		for _, difference := range compareCompletions(newWorld(t, b, generous, nil), completions) {
			t.Error(difference)
		}
	})
}

func TestAttack_S53_LimitsOfCompletionsAreReachedAlike(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		w := newWorld(t, b, limited, nil)
		browser := w.browser()
		for _, a := range completions {
			none, kinds := w.tokens() // tickets wear out
			sequence := func(s subject) string {
				return w.sequence(7, func() string { return browser.do(a, s) })
			}
			want := sequence(none)
			if refused := strings.Count(want, "recovery: too many") + strings.Count(want, "Retry-After"); refused != 2 {
				t.Errorf("%s: %d calls are over the limit:\n%s", a.name, refused, want)
			}
			for i, kind := range dead {
				if i == len(dead)-1 && !a.named {
					continue
				}
				if got := sequence(kinds[i]); got != want {
					t.Errorf("%s, %s:\n%s\nunknown:\n%s", a.name, kind.name, got, want)
				}
			}
		}
	})
}

func TestAttack_S52_FailuresOfCompletionsAreAnsweredAlike(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		w := newWorld(t, b, generous, nil)
		browser := w.browser()
		none, kinds := w.tokens()
		for _, failing := range []string{"TakeLimits", "FindReset"} {
			w.trace.fail = func(method string) error {
				if method == failing {
					return errors.New("connection refused")
				}
				return nil
			}
			for _, a := range completions {
				want := browser.do(a, none)
				for i, kind := range dead {
					if i == len(dead)-1 && !a.named {
						continue
					}
					if got := browser.do(a, kinds[i]); got != want {
						t.Errorf("%s fails, %s, %s:\n%s\nunknown:\n%s", failing, a.name, kind.name, got, want)
					}
				}
				if strings.Contains(want, "ErrInvalidToken") || strings.Contains(want, "not valid") {
					t.Errorf("%s fails, %s: %s", failing, a.name, want)
				}
			}
		}
		w.trace.fail = nil
	})
}
