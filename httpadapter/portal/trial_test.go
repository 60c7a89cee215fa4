package portal

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/matryer/is"
)

const ownReset = `<form method="post" action="reset"><input id="token" name="token"><input id="password" name="password"><input id="repeat" name="repeat"><button>Go</button></form>`

// faultsOf returns what New says of pages of one's own, in English.
func faultsOf(t *testing.T, files map[string]string) string {
	t.Helper()
	templates := fstest.MapFS{}
	for name, text := range files {
		templates[name] = &fstest.MapFile{Data: []byte(text)}
	}
	_, err := New(newService(t), &Options{Templates: templates})
	var faults []string
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			if line = strings.TrimSpace(line); !strings.Contains(line, " in ja: ") {
				faults = append(faults, strings.TrimPrefix(line, "portal: "))
			}
		}
	}
	return strings.Join(faults, "\n")
}

// Pages of one's own need little more than their fields, and the order of attributes is theirs.
func TestPagesOfOnesOwn(t *testing.T) {
	is := is.New(t)
	for name, text := range map[string]string{
		"reset.html":    ownReset + `<form action="/search"><input name="q"></form>`,
		"username.html": `<form action="./username" METHOD=POST><div><textarea name=email></textarea><input disabled name=x></div><input type=submit></form>`,
		"password.html": `<form method="post" action="/recover/password"><select name="by"><option>email</select><input name="email"><input name="username"></form>`,
		"sent.html":     `<p>{{.For}}</p>`,
	} {
		is.Equal(faultsOf(t, map[string]string{name: text}), "")
	}
}

// Without these the mail's link would be of no use, or the token would go where it must not.
func TestWhatPagesMustHave(t *testing.T) {
	form := `reset.html in en: must have a form with method="post" action="reset" and no enctype, and no other form before it`
	layout := string(mustRead(layoutFile))
	for _, c := range []struct{ file, text, want string }{
		{"reset.html", `<p>name="token" name="password" name="repeat"</p>`, form},
		{"reset.html", strings.Replace(ownReset, "post", "get", 1), form},
		{"reset.html", strings.Replace(ownReset, ` method="post"`, "", 1), form},
		{"reset.html", strings.Replace(ownReset, `"reset"`, `"password"`, 1), form},
		{"reset.html", strings.Replace(ownReset, ` action="reset"`, "", 1), form},
		{"reset.html", strings.Replace(ownReset, `"post"`, `"post" enctype="text/plain"`, 1), form},
		{"reset.html", `<form action="/search"></form>` + ownReset, form},
		{"reset.html", strings.Replace(ownReset, `id="token" `, "", 1), `reset.html in en: must have id="token" at the field with name="token"`},
		{"reset.html", strings.Replace(ownReset, `id="repeat" `, `id="again" `, 1), `reset.html in en: must have id="repeat" at the field with name="repeat"`},
		{"reset.html", strings.Replace(ownReset, `name="repeat"`, "", 1), `reset.html in en: must have a field with name="repeat" in its form, once`},
		{"reset.html", strings.Replace(ownReset, `name="repeat"`, `name="repeat" disabled`, 1), `reset.html in en: must have a field with name="repeat" in its form, once`},
		{"reset.html", strings.Replace(ownReset, "</form>", "", 1) + `<input id="token" name="token"></form>`, `reset.html in en: must have a field with name="token" in its form, once`},
		{"reset.html", strings.Replace(ownReset, "<button", `<input type="hidden" name="csrf"><button`, 1), `reset.html in en: must have no field with name="csrf"`},
		{"reset.html", strings.Replace(ownReset, "<button", `<button name="go"`, 1), `reset.html in en: must have no button with a name, but has "go"`},
		{"reset.html", strings.Replace(ownReset, "<button", `<button formmethod="get"`, 1), `reset.html in en: must have no button that sends the form in its own way`},
		{"reset.html", strings.Replace(ownReset, "<button", `<button formaction="password"`, 1), `reset.html in en: must have no button that sends the form in its own way`},
		{"reset.html", strings.Replace(ownReset, "<button", `<button formenctype="text/plain"`, 1), `reset.html in en: must have no button that sends the form in its own way`},
		{"username.html", `<form method="post" action="username"></form><input name="email">`, `username.html in en: must have a field with name="email" in its form, once`},
		{"layout.html", strings.Replace(layout, `{{if .ForgetToken}} data-forget{{end}}`, "", 1),
			"sent.html in en: must have data-forget at <body> where ForgetToken is true and nowhere else, in layout.html\n" +
				"done.html in en: must have data-forget at <body> where ForgetToken is true and nowhere else, in layout.html\n" +
				"error.html in en: must have data-forget at <body> where ForgetToken is true and nowhere else, in layout.html"},
	} {
		is := is.New(t)
		is.Equal(faultsOf(t, map[string]string{c.file: c.text}), c.want)
	}
	is := is.New(t)
	faults := faultsOf(t, map[string]string{"layout.html": strings.Replace(layout, ` data-page="{{.Name}}"`, "", 1)})
	for _, name := range pageNames {
		is.True(strings.Contains(faults, name+`.html in en: must have <body data-page="`+name+`">, in layout.html`))
	}
}

// A page that breaks in one state only is found.
func TestEveryStateIsTried(t *testing.T) {
	is := is.New(t)
	for _, c := range []struct{ file, condition string }{
		{"sent.html", `eq .For "password"`}, {"sent.html", `eq .For "username"`},
		{"error.html", `.Retry`}, {"error.html", `not .Retry`}, {"error.html", `eq .Problem "busy"`},
		{"password.html", `.UsernameError`}, {"username.html", `.EmailError`}, {"reset.html", `.PasswordErrors`}, {"reset.html", `not .Failed`},
		{"layout.html", `.Failed`}, {"layout.html", `.ForgetToken`},
	} {
		text := string(mustRead(c.file)) + `{{if ` + c.condition + `}}{{.T "no.such"}}{{end}}`
		is.True(strings.Contains(faultsOf(t, map[string]string{c.file: text}), `there is no text "no.such"`))
	}
	text := strings.Replace(string(mustRead("reset.html")), `{{.Text}}`, `{{if .Unmet}}{{$.T "no.such"}}{{end}}`, 1)
	is.True(strings.Contains(faultsOf(t, map[string]string{"reset.html": text}), `there is no text "no.such"`))
}

func TestFaultsOfTexts(t *testing.T) {
	is := is.New(t)
	for text, want := range map[string]string{
		`{"error.limit":"wait"}`:                  `locales/ja.json: "error.limit" must have {duration}`,
		`{"error.limit":"{duration} {Duration}"}`: `locales/ja.json: "error.limit" must not have {Duration}`,
		`{"error.token":"{life}{n}"}`:             `locales/ja.json: "error.token" must not have {n}`,
		`{"back":"a","log_in":"b","back":"c"}`:    `locales/ja.json: must be one JSON object of strings, each name once: "back" is there twice`,
		`{"back":"a","\u0062ack":"c"}`:            `locales/ja.json: must be one JSON object of strings, each name once: "back" is there twice`,
		`{"back":null}`:                           `locales/ja.json: must be one JSON object of strings, each name once: "back" is <nil>`,
		`null`:                                    `locales/ja.json: must be one JSON object of strings, each name once: it is <nil>`,
		`{"back":{}}`:                             `locales/ja.json: must be one JSON object of strings, each name once: json: cannot unmarshal object into Go value of type string`,
		`{"back":"a"} {}`:                         `locales/ja.json: must be one JSON object of strings, each name once: invalid character '{' after top-level value`,
		`{"back":"{"}`:                            "",
		`{}`:                                      "",
	} {
		is.Equal(faultsOf(t, map[string]string{"locales/ja.json": text}), want)
	}
}

func TestNamesOfLanguages(t *testing.T) {
	is := is.New(t)
	english := string(mustRead("locales/en.json"))
	for _, ok := range []string{"pt-BR", "zh-Hant", "sr-Latn"} {
		is.Equal(faultsOf(t, map[string]string{"locales/" + ok + ".json": english}), "")
	}
	for _, bad := range []string{"und", "pt-br", "pt_BR", "iw", "x_y", "english"} {
		is.True(strings.HasPrefix(faultsOf(t, map[string]string{"locales/" + bad + ".json": english}),
			"locales/"+bad+".json: the file must be named by a BCP 47 tag"))
	}
}

func TestDirections(t *testing.T) {
	is := is.New(t)
	for name, want := range map[string]string{
		"en": "ltr", "ja": "ltr", "ff": "ltr", "ar": "rtl", "he": "rtl", "fa": "rtl", "ff-Adlm": "rtl", "dv": "rtl", "nqo": "rtl", "syr": "rtl", "rhg": "rtl", "az-Arab": "rtl",
	} {
		h, err := New(newService(t), &Options{Templates: fstest.MapFS{"locales/" + name + ".json": {Data: mustRead("locales/en.json")}}})
		is.NoErr(err)
		for _, l := range h.(*handler).locales {
			if l.name() == name {
				is.Equal(h.(*handler).page(l, "start").Dir, want)
			}
		}
	}
}
