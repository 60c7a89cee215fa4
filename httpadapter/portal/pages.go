package portal

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"example.com/recovery"
	"example.com/recovery/internal/direction"
)

// A Page is what a template gets. A template shows the texts of its language with T:
//
//	<h1>{{.Title}}</h1>
//	<p>{{.T "sent.valid" "duration" .TokenLife}}</p>
type Page struct {
	Name        string // of the template: "start", "password", "username", "sent", "reset", "done" or "error"
	Lang        string // BCP 47 tag
	Dir         string // "ltr" or "rtl"
	Stylesheet  string // relative URL
	Script      string // relative URL
	Application string // this and the next three are of the Options, or ""
	LogInURL    string
	SupportURL  string
	LogoURL     string
	TokenLife   string // how long a token is valid: "16 hours"
	ForgetToken bool   // the tab must forget the token, which is of no further use

	For string // of sent: "password" or "username", the page to ask again

	Problem string // of error: "token", "limit", "busy", "denied", "not_found", "request", "cross_site" or "internal"
	Wait    string // of the problems "limit" and "busy": "5 minutes"
	Retry   string // of error: the form's page, or ""

	By                        string // of password: "email" or "username"
	Email, Username           string // as they were typed
	EmailError, UsernameError string
	TokenError, RepeatError   string
	PasswordErrors            []string // the rules that the password breaks, the application's included

	Rules         []Rule // of reset: the policy in force
	PasswordRules string // of reset: the same for password managers, in Apple's notation

	locale *locale
}

// A Rule is a rule for new passwords.
type Rule struct {
	Name  string // as in recovery.PasswordReason
	Limit int    // the number in Text, or 0
	Text  string
	Unmet bool // the password that was sent breaks the rule
}

// T returns a text in the language of the page. After the key come names and values: each "{name}"
// in the text becomes the value.
func (p *Page) T(key string, pairs ...string) (string, error) { return p.locale.text(key, pairs...) }

// Title returns the heading of the page.
func (p *Page) Title() (string, error) {
	if p.Name == "error" {
		return p.T("error." + p.Problem + ".title")
	}
	return p.T(p.Name + ".title")
}

// Failed reports whether the page shows a form again because its fields are at fault.
func (p *Page) Failed() bool {
	return p.EmailError != "" || p.UsernameError != "" || p.TokenError != "" || p.RepeatError != "" || len(p.PasswordErrors) > 0
}

const layoutFile = "layout.html"

var (
	pageNames = []string{"start", "password", "username", "sent", "reset", "done", "error"}

	templateFiles = func() []string {
		names := []string{layoutFile}
		for _, name := range pageNames {
			names = append(names, name+".html")
		}
		return names
	}()

	problems = []string{"token", "limit", "busy", "denied", "not_found", "request", "cross_site", "internal"}

	// formFields are the fields of each form. Browsers send all of them.
	formFields = map[string][]string{
		"password": {"by", "email", "username"},
		"username": {"email"},
		"reset":    {"token", "password", "repeat"},
	}
)

// compilePages returns the templates by the names of their pages.
func compilePages(files map[string][]string) (pages map[string]*template.Template, faults []error) {
	last := func(name string) string { return files[name][len(files[name])-1] }
	pages = map[string]*template.Template{}
	layout, err := template.New(layoutFile).Parse(last(layoutFile))
	if err != nil {
		faults = append(faults, fmt.Errorf("portal: %w", err))
	}
	for _, name := range pageNames {
		if _, err := template.New(name + ".html").Parse(last(name + ".html")); err != nil {
			faults = append(faults, fmt.Errorf("portal: %w", err))
			continue
		}
		if layout == nil {
			continue
		}
		page := template.Must(layout.Clone()) // fails only after an execution
		template.Must(page.New("content").Parse(last(name + ".html")))
		pages[name] = page
	}
	return pages, faults
}

// page returns a Page with what all pages share.
func (h *handler) page(l *locale, name string) *Page {
	p := &Page{
		Name: name, Lang: l.name(), Dir: direction.Of(l.tag), locale: l,
		Stylesheet:  stylesheetName + "?v=" + h.assets[stylesheetName].version,
		Script:      scriptName + "?v=" + h.assets[scriptName].version,
		Application: h.opts.Application, LogInURL: h.opts.LogInURL, SupportURL: h.opts.SupportURL, LogoURL: h.opts.LogoURL,
		TokenLife: l.duration(h.core.TokenTTL, false),
	}
	switch name {
	case "reset":
		for _, r := range h.rules {
			p.Rules = append(p.Rules, Rule{Name: r.Name, Limit: r.Limit, Text: h.ruleText(l, r.PasswordReason)})
		}
		p.PasswordRules = passwordRules(h.rules, h.core.Policy.MaxBytes)
	case "done", "sent":
		p.ForgetToken = true
	}
	return p
}

func (h *handler) problem(l *locale, name string) *Page {
	p := h.page(l, "error")
	p.Problem = name
	p.ForgetToken = name == "token"
	return p
}

// ruleText is the text of a rule of the policy.
func (h *handler) ruleText(l *locale, reason recovery.PasswordReason) string {
	limit := ""
	for _, r := range h.rules {
		if r.Name == reason.Name && r.Limit != 0 {
			limit = fmt.Sprint(r.Limit)
		}
	}
	text, err := l.text("rule."+reason.Name, "limit", limit)
	if err != nil {
		return reason.Text // better than none
	}
	return text
}

// reject puts on p every rule that the password is known to break: those that the Service named,
// and those that need no account. Only the Service knows whether the password holds the account's
// name or address, has leaked, or breaks a rule of the application. It checks that only for a live
// token and if nothing else is wrong. Other reasons than the policy's are the application's, and
// are shown unchanged.
func (h *handler) reject(l *locale, p *Page, password string, named []recovery.PasswordReason) {
	var broken []recovery.PasswordReason
	var own []string
	if e, ok := errors.AsType[*recovery.PasswordError](h.core.Policy.Validate(password, h.core.Application)); ok {
		broken = e.Reasons
	}
	for _, reason := range named {
		switch {
		case slices.Contains(broken, reason):
		case h.isRule(reason):
			broken = append(broken, reason)
		default:
			own = append(own, reason.Text)
		}
	}
	for _, reason := range broken {
		if reason.Name == "too_many_bytes" && !h.isRule(reason) {
			reason.Name = "too_long" // it has more bytes than MaxLength characters can have
		}
		for i := range p.Rules {
			p.Rules[i].Unmet = p.Rules[i].Unmet || p.Rules[i].Name == reason.Name
		}
		p.PasswordErrors = append(p.PasswordErrors, h.ruleText(l, reason))
	}
	p.PasswordErrors = append(p.PasswordErrors, own...)
}

// isRule reports whether the reason is that of a rule which the page lists.
func (h *handler) isRule(reason recovery.PasswordReason) bool {
	return slices.ContainsFunc(h.rules, func(r recovery.PasswordRule) bool { return r.PasswordReason == reason })
}

// passwordRules tells password managers what to generate. They use ASCII, so bytes are characters.
// The special characters are those that the policy's text names and others that every keyboard has.
func passwordRules(rules []recovery.PasswordRule, maxBytes int) string {
	parts := map[string]string{
		"too_short": "minlength: %d", "too_long": "maxlength: %d",
		"no_upper": "required: upper", "no_lower": "required: lower", "no_digit": "required: digit", "no_special": "required: [-#$?%%&!*+=]",
	}
	var b strings.Builder
	for _, r := range rules {
		part, ok := parts[r.Name]
		if r.Name == "too_long" {
			r.Limit = min(r.Limit, maxBytes)
		}
		switch {
		case !ok:
			continue
		case r.Limit != 0:
			fmt.Fprintf(&b, part+"; ", r.Limit)
		default:
			b.WriteString(strings.ReplaceAll(part, "%%", "%") + "; ")
		}
	}
	return strings.TrimSpace(b.String())
}

func (h *handler) render(p *Page) ([]byte, error) {
	var b bytes.Buffer
	err := h.pages[p.Name].Execute(&b, p)
	return b.Bytes(), err
}
