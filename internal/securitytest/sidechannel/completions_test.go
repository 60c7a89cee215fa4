package sidechannel

import (
	"context"
	"crypto/rand"
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

// mailed has a token mailed to the account of s and returns it.
func (w *world) mailed(s subject) string {
	w.is.Helper()
	w.deliver()
	w.is.NoErr(w.svc.RequestReset(w.t.Context(), recovery.ResetRequest{Username: s.username}))
	mails := w.deliver()
	w.is.Equal(len(mails), 1)
	return mails[0].Resets[0].Token.Reveal()
}

// use resets the password with the token.
func (w *world) use(token string) {
	w.is.Helper()
	_, err := w.svc.CompleteReset(w.t.Context(), recovery.CompleteRequest{Token: token, Password: goodPassword})
	w.is.NoErr(err)
}

// dead are the ways in which a token cannot be used, beside being unknown.
var dead = []struct {
	name   string
	reason recovery.TokenReason // as the store knows it
	kill   func(w *world, s *subject, a recovery.Account)
}{
	{"used", recovery.TokenUsed, func(w *world, s *subject, a recovery.Account) {
		s.token = w.mailed(*s)
		w.use(s.token)
	}},
	{"superseded", recovery.TokenSuperseded, func(w *world, s *subject, a recovery.Account) {
		s.token = w.mailed(*s)
		w.now = w.now.Add(time.Hour)
		w.mailed(*s)
	}},
	{"voided", recovery.TokenVoided, func(w *world, s *subject, a recovery.Account) {
		other := w.mailed(*s)
		w.now = w.now.Add(time.Second)
		s.token = w.unsent(a, w.now.Add(16*time.Hour))
		w.use(other)
	}},
	{"of a changed password", recovery.TokenStale, func(w *world, s *subject, a recovery.Account) {
		s.token = w.mailed(*s)
		w.is.NoErr(w.put(a, "another hash"))
	}},
	{"of a changed address", recovery.TokenStale, func(w *world, s *subject, a recovery.Account) {
		s.token = w.mailed(*s)
		a.Email = "new" + a.Email
		w.is.NoErr(w.put(a, oldHash))
	}},
	{"of a disabled account", recovery.TokenAccountGone, func(w *world, s *subject, a recovery.Account) {
		s.token = w.mailed(*s)
		a.Active = false
		w.is.NoErr(w.put(a, oldHash))
	}},
	{"of an account without a password", recovery.TokenAccountGone, func(w *world, s *subject, a recovery.Account) {
		s.token = w.mailed(*s)
		a.HasPassword = false
		w.is.NoErr(w.put(a, oldHash))
	}},
	{"of a deleted account", recovery.TokenAccountGone, func(w *world, s *subject, a recovery.Account) {
		s.token = w.mailed(*s)
		w.is.NoErr(w.drop(a.ID))
	}},
	{"expired", recovery.TokenExpired, func(w *world, s *subject, a recovery.Account) { // not long ago, or it is purged
		s.token = w.unsent(a, w.now)
	}},
	// The last is alive; it is dead only for a caller who names somebody else.
	{"of another user", "", func(w *world, s *subject, a recovery.Account) {
		s.token = w.mailed(*s)
		s.username = w.someone().username
		w.add(s.username, s.username+"@example.com", nil)
	}},
}

// unsent stores a token of the account that no mail carried.
func (w *world) unsent(a recovery.Account, expires time.Time) string {
	w.is.Helper()
	text := randomToken()
	token, err := recovery.ParseToken(text)
	w.is.NoErr(err)
	w.is.NoErr(plant(w.t.Context(), w.store, w.now, recovery.Reset{
		Digest: token.Digest(), AccountID: a.ID, Version: a.Version, RequestedAt: w.now, ExpiresAt: expires,
	}))
	return text
}

// plant stores resets that no mail carries.
func plant(ctx context.Context, store recovery.Store, at time.Time, resets ...recovery.Reset) error {
	job := recovery.Job{
		ID: randomToken(), Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "planted", RequestedAt: at, Turn: at,
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
	if _, err = store.CreateResets(ctx, recovery.Mint{JobID: job.ID, LeaseID: job.ID, At: at, Resets: resets}); err != nil {
		return err
	}
	return store.Finish(ctx, recovery.Outcome{JobID: job.ID, LeaseID: job.ID, At: at})
}

// tokens returns a subject for an unknown token and one for each kind of dead one.
func (w *world) tokens() (none subject, kinds []subject) {
	w.is.Helper()
	none = w.someone()
	none.token = randomToken()
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
	}
	w.trace.take()
	return none, kinds
}

// compareCompletions tries to use each kind of dead token with each action and returns what differs.
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
		// The limit is counted first, and nothing else is written.
		calls := strings.Split(strings.TrimPrefix(want.calls, "Now \n"), "\n")
		if len(calls) != 2 || !strings.HasPrefix(calls[0], "TakeLimits ") || !strings.HasPrefix(calls[1], "FindReset ") || strings.Contains(want.rows, "\n") {
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
		none, kinds := w.tokens()
		for _, a := range completions {
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
