package smtpmailer

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestStrongestMechanismIsChosen(t *testing.T) {
	for offered, want := range map[string]string{
		"LOGIN PLAIN":                          "PLAIN",
		"LOGIN":                                "LOGIN",
		"plain":                                "PLAIN",
		"PLAIN SCRAM-SHA-1 LOGIN":              "SCRAM-SHA-1",
		"PLAIN SCRAM-SHA-1-PLUS SCRAM-SHA-256": "SCRAM-SHA-256",
		"SCRAM-SHA-256 SCRAM-SHA-256-PLUS":     "SCRAM-SHA-256-PLUS",
		"CRAM-MD5 NTLM XOAUTH2 PLAINTEXT":      "",
		"":                                     "",
	} {
		t.Run(offered, func(t *testing.T) {
			is := is.New(t)
			is.Equal((&settings{}).mechanism(strings.Fields(offered)), want) // of what is offered
		})
	}
}

func TestNamedMechanismIsTheOnlyOne(t *testing.T) {
	is := is.New(t)
	s := &settings{Options: Options{Auth: "SCRAM-SHA-256"}}
	is.Equal(s.mechanism([]string{"PLAIN", "LOGIN"}), "")                                   // no falling back
	is.Equal(s.mechanism([]string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}), "SCRAM-SHA-256") // nor up
}

// offer makes the server offer a mechanism and hold a dialogue.
func offer(mechanism string, dialogue act) map[string]act {
	return map[string]act{"tls EHLO": say(ehlo + "AUTH " + mechanism), "tls AUTH": dialogue}
}

// ask sends a challenge and returns what the client answers.
func ask(p *peer, challenge string) string {
	say("334 " + base64.StdEncoding.EncodeToString([]byte(challenge)))(p)
	line, _ := p.r.ReadString('\n')
	answer, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
	return string(answer)
}

func TestPlain(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	var got string
	f.set(offer("LOGIN PLAIN", func(p *peer) bool { got = p.rest; return say("235 ok")(p) }))
	is.NoErr(m.Send(t.Context(), message()))                                                         // logged in
	is.Equal(got, "PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00relay-user\x00"+password))) // with these
}

func TestLogin(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	var user, pass string
	f.set(offer("LOGIN", func(p *peer) bool {
		user, pass = ask(p, "Username:"), ask(p, "Password:")
		return say("235 ok")(p)
	}))
	is.NoErr(m.Send(t.Context(), message()))                         // logged in
	is.Equal([]string{user, pass}, []string{"relay-user", password}) // with these
}

func TestXOAUTH2(t *testing.T) {
	failure := errors.New("the token server is down")
	for name, c := range map[string]struct {
		token string
		err   error
		want  class
		text  string
	}{
		"a token":            {"ya29.token-text", nil, sent, ""},
		"no token":           {"", failure, temporary, "smtpmailer: AUTH: Options.AccessToken: the token server is down"},
		"token with a break": {"ya29\x01auth=x", nil, temporary, "smtpmailer: AUTH: Options.AccessToken: the access token must"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f, m := newPair(t, func(o *Options) {
				o.Password = ""
				o.AccessToken = func(ctx context.Context) (string, error) {
					_, ok := ctx.Deadline()
					is.True(ok) // the caller's time is known
					return c.token, c.err
				}
			})
			var got string
			f.set(offer("PLAIN XOAUTH2", func(p *peer) bool { got = p.rest; return say("235 ok")(p) }))
			err := m.Send(t.Context(), message())
			if c.want == sent {
				is.Equal(got, "XOAUTH2 "+base64.StdEncoding.EncodeToString([]byte("user=relay-user\x01auth=Bearer "+c.token+"\x01\x01"))) // in the specified form
			} else {
				is.Equal(got, "") // nothing
			}
			is.Equal(classOf(err), c.want)                                // as the token is
			is.True(c.err == nil || errors.Is(err, c.err))                // the function's error is passed on
			is.True(err == nil || strings.HasPrefix(err.Error(), c.text)) // and named
			checkQuiet(t, err, "ya29")
		})
	}
}

func TestRefusedAccessToken(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, func(o *Options) {
		o.Password = ""
		o.AccessToken = func(context.Context) (string, error) { return "ya29.token-text", nil }
	})
	f.set(offer("XOAUTH2", func(p *peer) bool {
		ask(p, `{"status":"401"}`)
		return say("535 5.7.8 ya29.token-text")(p)
	}))
	err := m.Send(t.Context(), message())
	is.Equal(classOf(err), temporary) // the next one may be good
	reply, ok := errors.AsType[*ReplyError](err)
	is.True(ok)                                        // a reply
	is.Equal(*reply, ReplyError{"AUTH", 535, "5.7.8"}) // this one
	checkQuiet(t, err, "ya29")
}

// scram is the server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), or with another hash. With plus
// it is bound to the TLS connection (RFC 9266).
func scram(newHash func() hash.Hash, iterations int, plus, honest bool) act {
	return func(p *peer) bool {
		sum := func(key []byte, s string) []byte {
			h := hmac.New(newHash, key)
			h.Write([]byte(s))
			return h.Sum(nil)
		}
		start, binding := "n,,", "n,,"
		if plus {
			start = "p=tls-exporter,,"
			state := p.conn.(*tls.Conn).ConnectionState()
			exported, _ := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
			binding = start + string(exported)
		}
		bare, ok := strings.CutPrefix(ask(p, ""), start)
		if !ok {
			return say("535 5.7.8 no")(p)
		}
		_, nonce, _ := strings.Cut(bare, "r=")
		first := fmt.Sprintf("r=%sserver,s=%s,i=%d", nonce, base64.StdEncoding.EncodeToString([]byte("salt")), iterations)
		final := ask(p, first)
		without, proof, _ := strings.Cut(final, ",p=")
		channel, _, _ := strings.Cut(strings.TrimPrefix(without, "c="), ",")
		if iterations > maxIterations || channel != base64.StdEncoding.EncodeToString([]byte(binding)) {
			return say("535 5.7.8 no")(p)
		}
		salted, _ := pbkdf2.Key(newHash, password, []byte("salt"), iterations, newHash().Size())
		key := sum(salted, "Client Key")
		h := newHash()
		h.Write(key)
		signature := sum(h.Sum(nil), bare+","+first+","+without)
		for i := range key {
			key[i] ^= signature[i]
		}
		if proof != base64.StdEncoding.EncodeToString(key) {
			return say("535 5.7.8 no")(p)
		}
		verifier := sum(sum(salted, "Server Key"), bare+","+first+","+without)
		if !honest {
			verifier[0]++
		}
		ask(p, "v="+base64.StdEncoding.EncodeToString(verifier))
		return say("235 ok")(p)
	}
}

func TestSCRAM(t *testing.T) {
	for name, c := range map[string]struct {
		offered  string
		dialogue act
		want     class
	}{
		"SHA-256":                           {"PLAIN SCRAM-SHA-256", scram(sha256.New, 4096, false, true), sent},
		"SHA-256 bound to TLS":              {"SCRAM-SHA-256 SCRAM-SHA-256-PLUS", scram(sha256.New, 4096, true, true), sent},
		"SHA-1":                             {"PLAIN SCRAM-SHA-1", scram(sha1.New, 4096, false, true), sent},
		"SHA-1 bound to TLS":                {"SCRAM-SHA-1 SCRAM-SHA-1-PLUS", scram(sha1.New, 4096, true, true), sent},
		"a server without the password":     {"SCRAM-SHA-256", scram(sha256.New, 4096, false, false), temporary},
		"a server that wants hours of work": {"SCRAM-SHA-256", scram(sha256.New, 2_000_000_000, false, true), temporary},
		"a server that asks without end": {"SCRAM-SHA-256", func(p *peer) bool {
			for range 100 {
				ask(p, "")
			}
			return say("235 ok")(p)
		}, temporary},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f, m := newPair(t, nil)
			f.set(offer(c.offered, c.dialogue))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := m.Send(ctx, message())
			is.Equal(classOf(err), c.want)                         // as it should be
			is.True(!errors.Is(err, context.DeadlineExceeded))     // long before the end
			is.Equal(len(f.got()), map[class]int{sent: 1}[c.want]) // nothing is sent without AUTH
			checkQuiet(t, err, password, "relay-user")
		})
	}
}

// An error of AccessToken never ends a mail for good, because the mail is not at fault.
func TestAccessTokenErrorEndsNoMail(t *testing.T) {
	is := is.New(t)
	err := stepError(t.Context(), stepAuth, &tokenError{fmt.Errorf("no token: %w", recovery.ErrPermanent)})
	is.True(!errors.Is(err, recovery.ErrPermanent))
	is.Equal(err.Error(), "smtpmailer: AUTH: Options.AccessToken: no token: "+recovery.ErrPermanent.Error())
	err = stepError(t.Context(), stepAuth, &tokenError{fmt.Errorf("token endpoint: %w", x509.UnknownAuthorityError{})})
	is.True(strings.HasPrefix(err.Error(), "smtpmailer: AUTH: Options.AccessToken: token endpoint: x509")) // not the mail server's
}
