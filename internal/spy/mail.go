package spy

import (
	"net/netip"
	"time"

	"example.com/recovery"
)

// Err returns the error of a call, for tests that need nothing else of it.
func Err[T any](_ T, err error) error { return err }

// Token returns the token for the first account of a mail, "" if it has none.
func Token(m recovery.Message) string {
	if len(m.Resets) == 0 {
		return ""
	}
	return m.Resets[0].Token.Reveal()
}

// TokenText is a well-formed token, which the first account of a Message has; LinkStart begins its
// link.
const (
	TokenText = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"
	LinkStart = "https://app.example.com/reset#"
)

// Message returns a message of the kind with every field set except codes and, unless kind is
// MessageSignIn, sign-ins.
func Message(kind recovery.MessageKind) recovery.Message {
	asked := time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC)
	m := recovery.Message{
		ID: "m1", Kind: kind, To: "billybob@example.com", Tenant: "acme", Application: "Example",
		SentAt: asked, RequestedAt: asked, Client: netip.MustParseAddr("192.0.2.7"),
	}
	SetNames(&m, "billybob")
	switch kind {
	case recovery.MessageResetToken, recovery.MessageResetLink:
		m.ExpiresAt = asked.Add(16 * time.Hour)
	case recovery.MessageUsernames:
		m.Usernames, m.MoreNames = []string{"billybob", "anna.me", "bob@example.com"}, 3
	}
	return m
}

// SetNames makes it a message about accounts of these names, each with a token of its own.
func SetNames(m *recovery.Message, names ...string) {
	switch m.Kind {
	case recovery.MessagePasswordChanged, recovery.MessageUsernames:
		m.Usernames = names
		return
	case recovery.MessageSignIn:
		SetSignIns(m, names...)
		return
	}
	m.Resets = nil
	for i, name := range names {
		token, err := recovery.ParseToken(TokenOf(i))
		if err != nil {
			panic(err)
		}
		r := recovery.MessageReset{Username: name, Token: token}
		if m.Kind == recovery.MessageResetLink {
			r.Link = LinkStart + TokenOf(i)
		}
		m.Resets = append(m.Resets, r)
	}
}

// TokenOf returns the text of the token of an account; that of the first is TokenText.
func TokenOf(i int) string { return string(rune('a'+i)) + TokenText[1:] }

// SetSignIns adds accounts of these names that log in elsewhere, every second one at a place that
// is not known.
func SetSignIns(m *recovery.Message, names ...string) {
	m.SignIns = nil
	for i, name := range names {
		m.SignIns = append(m.SignIns, recovery.SignIn{Username: name, Provider: []string{"Google", ""}[i%2]})
	}
}
