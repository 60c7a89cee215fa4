package smtptest

import (
	"context"
	"net/mail"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/smtpmailer"
)

func TestWaysToReachAServer(t *testing.T) {
	for name, c := range map[string]struct {
		server func(*smtp.Server, *server)
		mailer func(*smtpmailer.Options)
		want   session
	}{
		"STARTTLS and PLAIN": {want: session{"id.example.com", true, username, "PLAIN"}},
		"implicit TLS and PLAIN": {
			server: func(i *smtp.Server, _ *server) { i.Network = "implicit" },
			mailer: func(o *smtpmailer.Options) { o.ImplicitTLS = true },
			want:   session{"id.example.com", true, username, "PLAIN"},
		},
		"LOGIN": {
			server: func(_ *smtp.Server, s *server) { s.mechanisms = []string{"LOGIN"} },
			want:   session{"id.example.com", true, username, "LOGIN"},
		},
		"LOGIN by name": {
			server: func(_ *smtp.Server, s *server) { s.mechanisms = []string{"LOGIN", "PLAIN"} },
			mailer: func(o *smtpmailer.Options) { o.Auth = "LOGIN" },
			want:   session{"id.example.com", true, username, "LOGIN"},
		},
		"XOAUTH2": {
			server: func(_ *smtp.Server, s *server) { s.mechanisms = []string{"PLAIN", "XOAUTH2"} },
			mailer: func(o *smtpmailer.Options) {
				o.Password, o.AccessToken = "", func(context.Context) (string, error) { return token, nil }
			},
			want: session{"id.example.com", true, username, "XOAUTH2"},
		},
		"STARTTLS without AUTH": {
			server: func(_ *smtp.Server, s *server) { s.mechanisms = nil },
			mailer: func(o *smtpmailer.Options) { o.Username, o.Password, o.Hello = "", "", "relay.example.net" },
			want:   session{hello: "relay.example.net", tls: true},
		},
		"plaintext without AUTH": {
			server: func(i *smtp.Server, s *server) { i.TLSConfig, s.mechanisms = nil, nil },
			mailer: func(o *smtpmailer.Options) { o.InsecurePlaintext, o.Username, o.Password = true, "", "" },
			want:   session{hello: "id.example.com"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := newServer(t, c.server)
			m, _ := newMailer(t, s, c.mailer)
			for range 3 {
				is.NoErr(m.Send(t.Context(), message(recovery.MessageResetToken, "en"))) // sent
			}
			is.Equal(s.sessions, []session{c.want, c.want, c.want}) // in this way
		})
	}
}

// An address against the grammar is sent in quotes, which are no part of it: inside them, the
// server and a reader of the header find the address.
func TestAddressesThatNeedQuotes(t *testing.T) {
	s := newServer(t, nil)
	m, _ := newMailer(t, s, nil)
	for to, want := range map[string]string{
		"da..me.@docomo.ne.jp":   "da..me.@docomo.ne.jp",
		`"da..me."@docomo.ne.jp`: "da..me.@docomo.ne.jp",
		"me.@例え.jp":              "me.@xn--r8jz45g.jp",
		`".me"@example.com`:      ".me@example.com",
		`"me"@example.com`:       "me@example.com",
	} {
		t.Run(to, func(t *testing.T) {
			is := is.New(t)
			msg := message(recovery.MessageResetToken, "ja")
			msg.To = to
			is.NoErr(m.Send(t.Context(), msg)) // sent
			mails := s.mails()
			got := mails[len(mails)-1]
			is.Equal(got.to, want) // as the server reads it
			header, err := mail.ReadMessage(strings.NewReader(got.data))
			is.NoErr(err) // a message
			addresses, err := header.Header.AddressList("To")
			is.NoErr(err)                        // legal
			is.Equal(len(addresses), 1)          // one
			is.Equal(addresses[0].Address, want) // the same
			local, _, _ := strings.Cut(want, "@")
			is.True(strings.Contains(got.data, "\r\nTo: <\""+local+"\"@")) // in quotes, once
		})
	}
}
