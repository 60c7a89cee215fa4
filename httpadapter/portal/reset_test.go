package portal

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/html"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

// A mail program that encodes the "#" of the link sends the token to the server.
func TestTokenInThePath(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	for path, location := range map[string]string{
		"/recover/reset%23token=" + stage.NoToken:     "reset#token=" + stage.NoToken,
		"/recover/reset%23token%3D" + stage.NoToken:   "reset#token=" + stage.NoToken,
		"/recover/reset%23token=" + stage.NoToken[1:]: "",
		"/recover/reset%23token=%0d%0aSet-Cookie:x=y": "",
		"/recover/done%23token=" + stage.NoToken:      "",
	} {
		answer := w.do("GET", path, "")
		is.Equal(answer.Header().Get("Location"), location)
		is.Equal(answer.Code == 303, location != "")
	}
	is.Equal(w.do("POST", "/recover/reset%23token="+stage.NoToken, "").Code, 404)
	is.Equal(w.Log.String(), "")
}

// All rules that a password breaks are told at once, as far as they are known without the account:
// also where the Service has not come to them, or was not asked because another field is at fault.
func TestAllReasonsAtOnce(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{Policy: &recovery.Policy{Words: []string{"Wonderland"}}}, Options{})
	reasons := func(form url.Values) []string { return reasonsOf(t, w.post("/reset", form)) }
	const ownWord, noDigit = "no username, email address or product name in it", "a digit (0–9)"
	token := w.Token("billybob")
	for _, password := range []string{"My-Acme-account", "In-Wonderland"} {
		is.Equal(reasons(newPassword(token, password)), []string{noDigit, ownWord})
		is.Equal(reasons(newPassword(stage.NoToken, password)), []string{noDigit, ownWord}) // whatever the token is
		is.Equal(reasons(url.Values{"token": {token}, "password": {password}, "repeat": {"x"}}), []string{noDigit, ownWord})
	}
	is.Equal(reasons(newPassword(token, "My-Billybob-26!")), []string{ownWord}) // once, and only by the Service
	is.Equal(reasons(url.Values{"token": {token}, "password": {"My-Billybob-26!"}, "repeat": {"x"}}), nil)
	is.Equal(w.post("/reset", newPassword(token, stage.Password)).Code, 303) // nothing used the token
}

// Reasons of the account and of the breach service come together, each once.
func TestReasonsOfTheService(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{Policy: &recovery.Policy{Breached: func(context.Context, string) (bool, error) { return true, nil }}}, Options{})
	body := w.post("/reset", newPassword(w.Token("billybob"), "My-Billybob-26!")).Body.String()
	is.True(strings.Contains(body, "<ul><li>no username, email address or product name in it</li><li>no match in the list of leaked passwords</li></ul>"))
}

// A rule that only the server can check is marked in the list of rules, as the others are.
func TestBrokenRulesAreMarked(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	marked := func(body string) (names []string) {
		for n := range parse(t, body).Descendants() {
			if attribute(n, "class") == "unmet" {
				names = append(names, attribute(n, "data-rule"))
				is.True(strings.HasSuffix(textOf(n), " (not met yet)")) // for those who do not see the mark
			}
		}
		return names
	}
	token := w.Token("billybob")
	is.Equal(marked(w.post("/reset", newPassword(token, "My-Billybob-26!")).Body.String()), []string{"own_word"})
	is.Equal(marked(w.post("/reset", newPassword(token, "password")).Body.String()), []string{"too_short", "no_upper", "no_digit", "no_special", "common"})
	is.Equal(marked(w.do("GET", "/reset", "").Body.String()), nil)
}

// No page speaks of a link that the mail does not have, nor of limits and people that there may not
// be.
func TestTextsHoldWhateverTheOptions(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{TokenTTL: 150 * time.Minute}, Options{})
	w.handler = must(t)(New(w.Service, nil)) // whose mails have the bare token
	sent := textOf(parse(t, w.do("GET", "/password-sent", "").Body.String()))
	is.True(strings.Contains(sent, "valid for 2 hours")) // and not longer than it is
	for _, header := range [][]string{nil, ja} {
		for _, path := range allPaths[:len(allPaths)-2] {
			page := textOf(parse(t, w.do("GET", "/"+path, "", header...).Body.String()))
			for _, either := range []string{"link or token", "link or the token", "paste the whole link", "リンクまたはトークン", "リンク全体を"} {
				page = strings.ReplaceAll(page, either, "")
			}
			for _, claim := range []string{"link", "リンク", "hour.", "an hour", "1時間", "support team", "サポート窓口"} {
				if strings.Contains(page, claim) {
					t.Errorf("%q says %q: %s", path, claim, page)
				}
			}
		}
	}
}

// Only who has a support team is told to ask it.
func TestSupportIsNamedWhereThereIsOne(t *testing.T) {
	is := is.New(t)
	for _, support := range []string{"", "/help"} {
		w := newWorld(t, stage.Denied, Options{SupportURL: support})
		answer := w.post("/reset", newPassword(w.Token("alice"), stage.Password))
		is.Equal(answer.Code, 403)
		is.Equal(strings.Contains(answer.Body.String(), "Please ask the support team."), support != "")
	}
}

func parse(t *testing.T, page string) *html.Node {
	t.Helper()
	document, err := html.Parse(strings.NewReader(page))
	is.New(t).NoErr(err)
	return document
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}
