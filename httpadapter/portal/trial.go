package portal

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// tryPages renders every page in every language, and checks what a replaced page must have.
func (h *handler) tryPages() (faults []error) {
	seen := map[string]bool{}
	for _, l := range h.locales {
		for _, p := range h.samples(l) {
			var texts []string
			if page, err := h.render(p); err != nil {
				texts = []string{err.Error()}
			} else {
				texts = missing(p, page)
			}
			for _, text := range texts {
				if text = fmt.Sprintf("portal: %s.html in %s: %s", p.Name, p.Lang, text); !seen[text] {
					seen[text] = true
					faults = append(faults, fmt.Errorf("%s", text))
				}
			}
		}
	}
	return faults
}

// missing lists what the server and the script need and the page p does not have.
func missing(p *Page, page []byte) (texts []string) {
	fault := func(format string, args ...any) { texts = append(texts, fmt.Sprintf("must have "+format, args...)) }
	document, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		fault("HTML: %v", err)
		return texts
	}
	var form *html.Node
	for n := range document.Descendants() {
		switch {
		case n.DataAtom == atom.Form && form == nil:
			form = n
		case n.DataAtom == atom.Body && n.Type == html.ElementNode:
			if attribute(n, "data-page") != p.Name {
				fault("<body data-page=%q>, in %s", p.Name, layoutFile)
			}
			if has(n, "data-forget") != p.ForgetToken {
				fault("data-forget at <body> where ForgetToken is true and nowhere else, in %s", layoutFile)
			}
		}
	}
	fields, isForm := formFields[p.Name]
	if !isForm {
		return texts
	}
	if form == nil || !strings.EqualFold(attribute(form, "method"), "post") ||
		!strings.HasSuffix("/"+attribute(form, "action"), "/"+p.Name) || has(form, "enctype") {
		fault(`a form with method="post" action=%q and no enctype, and no other form before it`, p.Name)
		return texts
	}
	found := map[string]int{}
	for n := range form.Descendants() {
		name := attribute(n, "name")
		switch {
		case has(n, "formmethod") || has(n, "formaction") || has(n, "formenctype"):
			fault("no button that sends the form in its own way")
		case name == "" || has(n, "disabled"):
		case n.DataAtom == atom.Button:
			fault("no button with a name, but has %q", name)
		case n.DataAtom != atom.Input && n.DataAtom != atom.Select && n.DataAtom != atom.Textarea:
		case !slices.Contains(fields, name):
			fault("no field with name=%q", name)
		case p.Name == "reset" && attribute(n, "id") != name:
			fault("id=%q at the field with name=%[1]q", name)
			found[name]++
		case attribute(n, "type") != "radio" || found[name] == 0:
			found[name]++
		}
	}
	for _, name := range fields {
		if found[name] != 1 {
			fault("a field with name=%q in its form, once", name)
		}
	}
	return texts
}

// attribute returns the value of an attribute, or "".
func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// samples returns all pages, with and without their optional content.
func (h *handler) samples(l *locale) (pages []*Page) {
	for _, name := range pageNames {
		p := h.page(l, name)
		switch name {
		case "sent":
			p.For = "password"
			other := *p
			other.For = "username"
			pages = append(pages, &other)
		case "error":
			for _, problem := range problems {
				p := h.problem(l, problem)
				p.Wait = l.duration(time.Minute, true)
				retry := *p
				retry.Retry = "reset"
				pages = append(pages, p, &retry)
			}
			continue
		case "password", "username", "reset":
			failed := *p
			failed.By, failed.Email, failed.Username = "username", "name@example.com", "name"
			failed.EmailError, failed.UsernameError = "wrong", "wrong"
			failed.TokenError, failed.RepeatError, failed.PasswordErrors = "wrong", "wrong", []string{"one", "two"}
			failed.Rules = slices.Clone(p.Rules)
			for i := range failed.Rules {
				failed.Rules[i].Unmet = true
			}
			pages = append(pages, &failed)
		}
		pages = append(pages, p)
	}
	return pages
}
