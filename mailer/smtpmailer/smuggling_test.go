package smtpmailer

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

// A smuggled text tries to end the mail that it is in and to begin another. The file has one of
// them a line: row of the catalogue of attacks, what it is, the value, and how often it is
// repeated.
type smuggled struct {
	Row, What, Value string
	Repeat           int
}

func smuggledTexts(t *testing.T) (all []smuggled) {
	t.Helper()
	is := is.New(t)
	f, err := os.Open("testdata/smuggling.jsonl")
	is.NoErr(err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var s smuggled
		is.NoErr(json.Unmarshal(lines.Bytes(), &s))
		is.Equal(s.Row, "S63")
		s.Value = strings.Repeat(s.Value, max(1, s.Repeat))
		all = append(all, s)
	}
	is.True(len(all) > 30)
	return all
}

// Whatever a name or a template contains, the server gets one mail in one DATA, and nothing in it
// that another server could take for the end of the mail.
func TestAttack_S63_Smuggling(t *testing.T) {
	kinds := []recovery.MessageKind{
		recovery.MessageResetToken, recovery.MessageResetLink, recovery.MessagePasswordChanged, recovery.MessageUsernames,
		recovery.MessageSignIn,
	}
	plain, err := mailer.New(nil)
	is.New(t).NoErr(err)
	for _, s := range smuggledTexts(t) {
		t.Run(s.What, func(t *testing.T) {
			is := is.New(t)
			templates := fstest.MapFS{}
			for _, kind := range kinds {
				body := s.Value + "\nhello{{range .Resets}}\n    {{.Username}}\n    {{.Token}}{{.Link}} {{.Code}}{{end}}{{range .Usernames}}\n    {{.}}{{end}}" +
					"{{range .SignIns}}\n    {{.Username}} {{.Provider}}{{end}}\n" + s.Value
				templates["en/"+string(kind)+".txt"] = &fstest.MapFile{Data: []byte(body)}
				templates["en/"+string(kind)+".html"] = &fstest.MapFile{Data: []byte(body)}
			}
			own, err := mailer.New(&mailer.Options{Templates: templates})
			is.NoErr(err) // an operator may write such templates
			f, m := newPair(t, nil)
			for _, m.renderer = range []*mailer.Renderer{plain, own} {
				for _, kind := range kinds {
					msg := message()
					msg.Kind, msg.Usernames, msg.Application = kind, []string{s.Value, "billybob"}, s.Value
					msg.Resets[0].Username = s.Value
					if kind == recovery.MessageSignIn {
						msg.SignIns = []recovery.SignIn{{Username: s.Value, Provider: s.Value}, {Username: "billybob"}}
					}
					if kind == recovery.MessageResetLink {
						msg.Resets[0].Link = "https://app.example.com/reset#token=" + spy.TokenText
					}
					before := len(f.got())
					is.NoErr(m.Send(t.Context(), msg))
					is.Equal(len(f.got()), before+1) // one mail
					rendered, err := m.renderer.Render(msg)
					is.NoErr(err)
					rendered.Text = strings.ReplaceAll(crlf(rendered.Text), "\r\n", "\n")
					rendered.HTML = strings.ReplaceAll(crlf(rendered.HTML), "\r\n", "\n")
					checkWire(is, f.got()[before], rendered)
				}
			}
			commands := strings.Join(f.verbs(), " ")
			is.Equal(strings.Count(commands, "tls DATA"), 2*len(kinds))
			is.Equal(strings.Count(commands, "tls MAIL"), 2*len(kinds))
			for _, verb := range f.verbs() { // every line that the server took for a command is one of ours
				is.True(strings.Contains(" EHLO STARTTLS tls EHLO tls AUTH tls MAIL tls RCPT tls DATA tls RSET tls NOOP ", " "+verb+" "))
			}
		})
	}
}
