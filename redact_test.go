package recovery_test

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

const secret = "s3cr3t"

// Every exported struct that may hold a token, a password or an address, with secrets in all
// fields.
func secretValues(t *testing.T) []any {
	t.Helper()
	values := []any{
		&recovery.Message{}, &recovery.MessageReset{}, &recovery.Account{}, &recovery.AccountQuery{}, &recovery.Redemption{}, &recovery.Job{},
		&recovery.Outcome{}, &recovery.ResetRequest{}, &recovery.UsernameRequest{}, &recovery.CompleteRequest{},
		&recovery.JobEvent{}, &recovery.ResetEvent{}, &recovery.LimitEvent{}, &recovery.Token{},
	}
	for _, v := range values {
		fill(t, reflect.ValueOf(v).Elem())
	}
	w := newWorld(t, nil)
	receipt, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Ticket: tokenText})
	w.is.NoErr(err)
	w.is.Equal(receipt.Ticket.Reveal(), tokenText)
	return append(values, &receipt, &receipt.Ticket)
}

func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case recovery.Token:
		token, err := recovery.ParseToken(tokenText)
		is.New(t).NoErr(err)
		v.Set(reflect.ValueOf(token))
		return
	case time.Time, netip.Addr, recovery.Version, recovery.Digest, recovery.JobKind, recovery.DropReason, recovery.TokenReason:
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Field(i))
			}
		}
	case reflect.String:
		v.SetString(secret)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	}
}

// No printed, logged or marshalled form of anything shows what it holds.
func TestNothingPrintsItsSecrets(t *testing.T) {
	for _, p := range secretValues(t) {
		v := reflect.ValueOf(p).Elem().Interface()
		t.Run(fmt.Sprintf("%T", v), func(t *testing.T) {
			is := is.New(t)
			var out bytes.Buffer
			type wrapper struct {
				Value any
				List  []any
				Map   map[string]any
			}
			for _, shown := range []any{v, p, wrapper{v, []any{v, p}, map[string]any{"value": v, "pointer": p}}} {
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
					fmt.Fprintf(&out, verb+"\n", shown)
				}
				slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", shown)
				slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", shown)
				text, err := json.Marshal(shown)
				is.NoErr(err)
				out.Write(text)
			}
			if text, err := xml.Marshal(v); err == nil {
				out.Write(text)
			}
			is.NoErr(gob.NewEncoder(&out).Encode(v))
			for _, s := range []string{secret, fmt.Sprintf("%x", secret), tokenText[:8], fmt.Sprintf("%x", tokenText[:8])} {
				is.True(!strings.Contains(out.String(), s)) // must be redacted
			}
			is.True(strings.Contains(out.String(), "[redacted]"))
		})
	}
}

// Neither do the things that hold them.
func TestHoldersPrintNothing(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token("alice")
	for name, v := range map[string]any{"Service": w.Service, "memstore.Store": w.users, "mailertest.Recorder": w.mail} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
			text := fmt.Sprintf(verb, v) + fmt.Sprintf(verb, []any{v}) + fmt.Sprintf(verb, struct{ V any }{v})
			for _, s := range []string{"alice", "example.com", token} {
				if strings.Contains(text, s) {
					t.Errorf("%s shows %q with %s", name, s, verb)
				}
			}
		}
	}
}

// A Token in an unexported field is out of reach of its methods, and still shows no byte.
func TestTokenInPrivateField(t *testing.T) {
	is := is.New(t)
	token, err := recovery.ParseToken(tokenText)
	is.NoErr(err)
	raw, err := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).DecodeString(tokenText)
	is.NoErr(err)
	type session struct{ token recovery.Token }
	s := session{token}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		text := fmt.Sprintf(verb, s)
		for _, form := range []string{"%d %d %d", "%x%x%x", "0x%x, 0x%x, 0x%x"} {
			is.True(!strings.Contains(text, fmt.Sprintf(form, raw[9], raw[10], raw[11])))
		}
	}
	is.Equal(s.token.Reveal(), tokenText)
}

// scrubbed returns the text of an error of the Store about a request, as the caller gets it.
func scrubbed(t *testing.T, r recovery.ResetRequest, text string) string {
	t.Helper()
	w := newWorld(t, nil)
	w.store.failAt("Enqueue", errors.New(text))
	err := errOf(w.RequestReset(w.ctx, r))
	w.is.True(err != nil)
	return strings.TrimPrefix(err.Error(), "recovery: add the request: ")
}

// A user name of a few letters is taken out where it stands alone, and not inside of words.
func TestShortSecretsAreScrubbedAlone(t *testing.T) {
	is := is.New(t)
	is.Equal(scrubbed(t, recovery.ResetRequest{Username: "e"}, "the key (e)=E of e exists, e2e"), "the key ([redacted])=[redacted] of [redacted] exists, e2e")
	is.Equal(scrubbed(t, recovery.ResetRequest{Username: "bob"}, "bob, bobby and BOB"), "[redacted], bobby and [redacted]")
	is.Equal(scrubbed(t, recovery.ResetRequest{Username: "carl"}, "carla"), "[redacted]a") // long enough to be no part of words
}

// A text is passed over once: what was put in is not looked at again.
func TestScrubbingDoesNotRepeat(t *testing.T) {
	is := is.New(t)
	for _, name := range []string{"redacted", "red", "[redacted]", "acte"} {
		is.Equal(scrubbed(t, recovery.ResetRequest{Username: name}, "user "+name+" exists"), "user [redacted] exists")
	}
	is.Equal(scrubbed(t, recovery.ResetRequest{Email: "redacted@example.com"}, "<redacted@example.com> redacted"), "<[redacted]> redacted")
}

// What is scrubbed does not grow beyond a bound that its own length sets.
func TestScrubbedTextIsBounded(t *testing.T) {
	is := is.New(t)
	for _, name := range []string{"e", "r", "d", "redacted", "e d"} {
		text := strings.Repeat(name+" ", 10_000)
		got := scrubbed(t, recovery.ResetRequest{Username: name}, text)
		is.True(len(got) <= len(text)*len("[redacted]"))
		is.Equal(strings.Count(got, "[redacted]"), 10_000)
	}
}

// An address is taken out whole, also if a part of it is a secret as well.
func TestLongestSecretGoesFirst(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.put("9", "alice@example.com", "alice@example.com.au")
	w.mail.Fail(func(m recovery.Message) error { return errors.New("no mail for <" + m.To + ">") })
	w.ask("alice@example.com")
	w.deliver()
	is.True(strings.Contains(w.log.String(), "no mail for <[redacted]>"))
}

// A mail system may put an address into quotes, or take them off, and both are the address.
func TestQuotedAddressesAreTakenOut(t *testing.T) {
	for stored, local := range map[string]string{"da..me.@example.com": "da..me.", `"da..me."@Example.com`: "da..me.", `".da..me"@example.com`: ".da..me"} {
		is := is.New(t)
		w := newWorld(t, nil)
		w.put("9", "dame", stored)
		w.mail.Fail(func(recovery.Message) error {
			return errors.New(`550 <"` + local + `"@example.com> ` + local + `@example.com "` + strings.ToUpper(local) + `"@EXAMPLE.COM`)
		})
		w.ask("dame")
		w.deliver()
		is.True(strings.Contains(w.log.String(), "a job failed"))
		is.True(!strings.Contains(strings.ToLower(w.log.String()), "da..me"))
	}
}

// Mail systems repeat an address as it was sent, in small letters or with the domain's A-label.
func TestAddressesAreScrubbedInEveryForm(t *testing.T) {
	for stored, repeated := range map[string]string{
		"Alice@Example.COM":      "550 5.1.1 <alice@example.com>: Recipient address rejected",
		"alice@example.com":      "550 5.1.1 <ALICE@EXAMPLE.COM>: Recipient address rejected",
		"ALICE@bücher.example":   "550 5.1.1 <alice@xn--bcher-kva.example>: Recipient address rejected",
		"alice@XN--bcher-kva.de": "550 5.1.1 <Alice@xn--BCHER-KVA.de>: Recipient address rejected",
	} {
		t.Run(stored, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			w.put("9", "ally", stored)
			w.mail.Fail(func(recovery.Message) error { return errors.New(repeated) })
			w.ask("ally")
			w.deliver()
			is.True(strings.Contains(w.log.String(), "550 5.1.1 <[redacted]>: Recipient address rejected"))
			local, _, _ := strings.Cut(stored, "@")
			is.True(!strings.Contains(strings.ToLower(w.log.String()), strings.ToLower(local)+"@"))
		})
	}
}

// Errors of the Mailer and of the application lose the address, that of a notice too.
func TestErrorsAfterACompletionAreScrubbed(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{OnReset: func(_ context.Context, a recovery.Account) error {
		return errors.New("no sessions @ all of " + a.Email)
	}})
	is.NoErr(w.complete(w.token("alice"), goodPassword))
	w.put("1", "alice", "no address") // the notice goes to the address before
	w.mail.Fail(func(m recovery.Message) error { return errors.New("no mail for " + m.To) })
	w.deliver()
	is.True(strings.Contains(w.log.String(), "no mail for [redacted]"))
	is.True(strings.Contains(w.log.String(), "no sessions @ all of [redacted]"))
	is.True(!strings.Contains(w.log.String(), "@example.com"))
}

func TestStoreErrorsAreWrappedAndScrubbed(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	token := w.token("alice")
	w.store.failWith(func(string) error {
		return fmt.Errorf("%w at Alice@Example.com alice@example.com %s %s", errStore, token, goodPassword)
	})
	err := errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "Alice@Example.com"}))
	is.True(errors.Is(err, errStore))
	is.True(strings.HasPrefix(err.Error(), "recovery: add the request: store failed at [redacted] [redacted] "))
	err = w.complete(token, goodPassword)
	is.True(errors.Is(err, errStore))
	is.True(!strings.Contains(err.Error(), token))
	is.True(!strings.Contains(fmt.Sprintf("%#v %d", err, err), goodPassword))

	// Once the account is known, so are its address and the new hash.
	w.store.failAt("Redeem", fmt.Errorf("%w at alice@example.com %s hash of %s", errStore, token, goodPassword))
	err = w.complete(token, goodPassword)
	is.Equal(err.Error(), "recovery: complete the reset: store failed at [redacted] [redacted] [redacted]")
}

// Errors need not be text: what stands beside a secret is kept, byte for byte.
func TestSecretsAmongBytesAreScrubbed(t *testing.T) {
	is := is.New(t)
	text := "Alice@example.com \xff\xfe ALICE@EXAMPLE.COM \xff\x80 alice@Example.com\xff"
	is.Equal(scrubbed(t, recovery.ResetRequest{Email: "alice@example.com"}, text), "[redacted] \xff\xfe [redacted] \xff\x80 [redacted]\xff")
}

// Secrets are taken out however they are quoted.
func TestQuotedSecretsAreScrubbed(t *testing.T) {
	is := is.New(t)
	const password = "Corr\"ct h0rse&%"
	w := newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(password string) (string, error) {
		return "", fmt.Errorf("%w: %q %s %s", errHash, password, url.QueryEscape(password), url.PathEscape(password))
	}}})
	err := w.complete(w.token("alice"), password)
	is.True(errors.Is(err, errHash))
	is.Equal(err.Error(), "recovery: hash the password: hashing failed: \"[redacted]\" [redacted] [redacted]")
}

// An answer of this library in an error of the application is not the library's: it decides
// nothing.
func TestForeignErrorsDoNotDecide(t *testing.T) {
	ours := []error{
		recovery.ErrInvalidToken, recovery.ErrInvalidPassword, recovery.ErrInvalidRequest, recovery.ErrLimited, recovery.ErrDenied, recovery.ErrChallenged,
	}
	for _, foreign := range append(ours,
		&recovery.FieldError{Field: "x", Rule: "for alice@example.com"}, &recovery.PasswordError{}, &recovery.LimitError{}, &recovery.TokenError{}, &recovery.ChallengeError{},
	) {
		t.Run(fmt.Sprintf("%T %v", foreign, foreign), func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) {
				return "", fmt.Errorf("%w: %w", errHash, foreign)
			}}})
			err := w.complete(w.token("alice"), goodPassword)
			is.True(strings.HasPrefix(err.Error(), "recovery: hash the password: hashing failed: "))
			is.True(!strings.Contains(err.Error(), "alice@"))
			is.True(errors.Is(err, errHash)) // what else is in it is found
			for _, sentinel := range ours {
				is.True(!errors.Is(err, sentinel))
			}
			target := reflect.New(reflect.TypeOf(foreign)).Interface()
			is.Equal(errors.As(err, target), reflect.TypeOf(foreign) == reflect.TypeOf(errHash)) // a sentinel has no type of its own
		})
	}
}
