package catalogue

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

func TestAttack_S27_WrittenOtherwise(t *testing.T) {
	onEveryEntry(t, nil, func(s *site, e *entry) {
		token, never := s.token("billybob"), e.complete(noToken, newPassword)
		for i, v := range s.vectors("tokens", "S27") {
			if !s.turn(e, i) {
				continue
			}
			text, ok := written(v.Value, token)
			s.is.True(ok)
			got := e.complete(text, newPassword)
			s.meets(v, e, got)
			s.is.True(got.outcome != badToken || got == never) // whatever is wrong with it
			s.is.Equal(s.verifies("3", newPassword), v.Want == accepted)
			if v.Want == accepted {
				token = s.again(billybob)
			}
		}
		s.lives(e, "3", token)
		s.sound("3")
	})
}

// A hundred thousand guesses come from one client: random tokens, and neighbours of the live one.
// The databases get fewer, because there each is a transaction.
func TestAttack_S28_Guesses(t *testing.T) {
	with := func(_ *site, o *recovery.Options) {
		o.Limits.InsecureOff = false
		o.Hooks.LimitReached = nil                     // a hundred thousand of them
		o.Policy = &recovery.Policy{AllowCommon: true} // the most expensive check before the limit
	}
	everywhere(t, with, func(s *site) {
		guesses := 100_000
		if s.db != nil {
			guesses = 300
		}
		token := s.token("billybob")
		outcomes, tried, raw := map[string]int{}, 0, make([]byte, 32)
		unpadded := base32.StdEncoding.WithPadding(base32.NoPadding)
		for i := range guesses {
			_, _ = rand.Read(raw)
			guess := strings.ToLower(unpadded.EncodeToString(raw))
			if i%2 == 0 { // a neighbour
				guess = token[:i%51] + guess[:1] + token[i%51+1:]
				if guess == token {
					continue
				}
			}
			tried++
			_, err := s.CompleteReset(s.ctx, recovery.CompleteRequest{Token: guess, Password: newPassword, Client: s.client})
			switch {
			case errors.Is(err, recovery.ErrInvalidToken):
				outcomes[badToken]++
			case errors.Is(err, recovery.ErrLimited):
				outcomes[limited]++
			}
		}
		s.is.Equal(outcomes, map[string]int{badToken: 20, limited: tried - 20}) // as the limit says
		s.is.Equal(s.hashed.Load(), int32(0))
		s.is.Equal(s.lookedUp(), 20) // the rest was not looked up

		for range 60 { // an hour of patience
			s.advance(time.Minute)
			for range 10 {
				_, err := s.CompleteReset(s.ctx, recovery.CompleteRequest{Token: noToken, Password: newPassword, Client: s.client})
				if errors.Is(err, recovery.ErrInvalidToken) {
					outcomes["later"]++
				}
			}
		}
		s.is.Equal(outcomes["later"], 120) // one per 30 seconds
		s.is.Equal(s.hashed.Load(), int32(0))
		for _, name := range entryNames {
			got := s.entry(name).complete(token, newPassword)
			s.is.Equal(got.outcome, limited) // through every entry
			s.is.Equal(got, s.entry(name).complete(noToken, newPassword))
		}
		s.client = s.client.Next()
		s.lives(s.direct(), "3", token) // nobody else is kept out
		s.is.Equal(s.hashed.Load(), int32(1))
		s.sound("3")
	})
}

// Malformed guesses are limited like others, and none is looked up.
func TestAttack_S28_MalformedGuesses(t *testing.T) {
	with := func(_ *site, o *recovery.Options) { o.Limits.InsecureOff = false }
	onEntries(t, apart, with, func(s *site, e *entry) {
		s.trace.calls()
		passed := 0
		for i := range 200 {
			got := e.complete(strings.Repeat("a", 1+i%51), newPassword)
			s.is.True(got.refused() || got.outcome == limited)
			if got.outcome != limited {
				passed++
			}
		}
		s.is.Equal(passed, 20)
		for _, call := range s.trace.calls() {
			s.is.Equal(call, "TakeLimits")
		}
		s.is.Equal(s.hashed.Load(), int32(0))
		s.sound()
	})
}

// No answer repeats a token, whatever it was sent with; sound checks every answer.
func TestAttack_S29_AnswersNeverHaveTheToken(t *testing.T) {
	onEveryEntry(t, nil, func(s *site, e *entry) {
		token := s.token("billybob")
		tried := 0
		for _, v := range s.vectors("tokens", "S29") {
			if !v.is(e) {
				continue
			}
			tried++
			body, ok := written(v.Body, token)
			s.is.True(ok)
			header := []string{}
			for _, line := range v.Header {
				line, ok := written(line, token)
				s.is.True(ok)
				header = append(header, line)
			}
			got := e.send(v.Call, body, header...)
			if v.Want == "same" {
				s.is.Equal(got.outcome, accepted)
			} else {
				s.meets(v, e, got)
			}
			s.is.Equal(leak(got.text, []string{token}), "")
		}
		s.is.True(tried >= 6 || e.name == "direct")
		s.deliver() // what is asked for by a token is looked for, and forgotten
		got := e.complete(token, newPassword)
		s.is.Equal(got.outcome, accepted)
		s.is.Equal(leak(got.text, []string{token, newPassword}), "") // nor where it worked
		s.sound("3")
	})
}

// The request that a browser sends for a mailed link, and so the server's access log, has no token.
func TestAttack_S29_LinksKeepTheTokenFromServers(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		s.is.NoErr(spy.Err(s.RequestReset(s.ctx, recovery.ResetRequest{Username: "billybob", Portal: "web"})))
		mails := s.deliver()
		s.is.Equal(len(mails), 1)
		token := spy.Token(mails[0])
		link, err := url.Parse(mails[0].Resets[0].Link)
		s.is.NoErr(err)
		s.is.Equal(link.Fragment, "token="+token)
		request, err := http.NewRequest("GET", mails[0].Resets[0].Link, nil)
		s.is.NoErr(err)
		var sent strings.Builder
		s.is.NoErr(request.Write(&sent))
		s.is.Equal(leak(sent.String(), []string{token}), "")
		link.Fragment = "" // what a Referer is made of
		s.is.Equal(leak(link.String(), []string{token}), "")
		policy := s.do("GET", "/recover/reset", "").text
		s.is.True(strings.Contains(policy, "Referrer-Policy: strict-origin\n")) // and the path stays at home too
		s.lives(s.entry("portal"), "3", token)
		s.sound("3")
	})
}

func TestAttack_S30_MailScanners(t *testing.T) {
	onEntries(t, httpApart, nil, func(s *site, e *entry) {
		token := s.token("billybob")
		s.trace.calls()
		for _, v := range s.vectors("tokens", "S30") {
			if !v.is(e) {
				continue
			}
			target, ok := written(v.Value, token)
			s.is.True(ok)
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				s.do(method, target, "", "X-Auth-Token: "+token, "User-Agent: BarracudaLinkScanner") // for sound to look at
				r := httptest.NewRequest(method, target, nil)
				r.Header.Set("X-Auth-Token", token)
				for range 99 {
					s.mux.ServeHTTP(httptest.NewRecorder(), r)
				}
			}
		}
		s.is.Equal(s.trace.calls(), nil) // nothing was even looked up
		s.lives(e, "3", token)
		s.sound("3")
	})
}

func TestAttack_S31_RejectedPassword(t *testing.T) {
	onEveryEntry(t, nil, func(s *site, e *entry) {
		token := s.token("billybob")
		for i, v := range s.vectors("tokens", "S31") {
			if !s.turn(e, i) {
				continue
			}
			if len(v.Value) >= window && v.Want != "own_word" {
				s.secret(v.Value)
			}
			got := e.complete(token, v.Value)
			if e.name == "Rackspace XML" && got.outcome == malformed && strings.Contains(v.Want, "not_text") {
				continue // XML has no such character, and no way to write it
			}
			if got.outcome != weak {
				s.t.Errorf("%s, %s: %s", v.What, e.name, got.outcome)
			}
			told := html.UnescapeString(got.text)
			var rejected *recovery.PasswordError
			policy := s.Options().Policy
			s.is.True(errors.As(policy.Validate(v.Value, "billybob", "billybob@example.com", "Acme"), &rejected))
			var names []string
			for _, reason := range rejected.Reasons {
				names = append(names, reason.Name)
				if e.name != "portal" && !strings.Contains(told, reason.Text) { // the portal has words of its own
					s.t.Errorf("%s, %s: %q is not told", v.What, e.name, reason.Text)
				}
			}
			for want := range strings.FieldsSeq(v.Want) {
				s.is.True(strings.Contains(strings.Join(names, " "), want))
			}
			s.is.True(s.verifies("3", oldPassword))
		}
		s.lives(e, "3", token)
		s.sound("3")
	})
}

var wellFormed = regexp.MustCompile(`^[a-z2-7]{52}$`)

func TestAttack_S32_NoToken(t *testing.T) {
	onEveryEntry(t, nil, func(s *site, e *entry) {
		token, never := s.token("billybob"), e.complete(noToken, newPassword)
		s.trace.calls()
		for i, v := range s.vectors("tokens", "S32") {
			switch {
			case v.is(e) && v.Entry != "":
				s.meets(v, e, e.send(v.Call, v.Body, v.Header...))
			case v.Entry == "" && s.turn(e, i):
				got := e.complete(v.Value, newPassword)
				s.meets(v, e, got)
				s.is.True(got.outcome != badToken || got == never || v.Value == "") // a header that is missing is told
			}
			if !wellFormed.MatchString(v.Value) {
				s.is.Equal(s.trace.calls(), nil) // a malformed token is not looked up
			}
			s.trace.calls()
		}
		s.lives(e, "3", token)
		s.sound("3")
	})
}
