// Package portal serves the pages on which people recover their accounts: "forgot password",
// "forgot user name", "choose a new password" and what comes between.
//
//	pages, err := portal.New(svc, &portal.Options{Portal: "web", LogInURL: "/login"})
//	if err != nil {
//		return err
//	}
//	mux.Handle("/recover/", pages)
//
// The handler can be mounted below any path that ends in a slash, with or without
// [http.StripPrefix]: it looks at the last segment of the path only, and its links and redirects
// are relative. The URL of the [recovery.Portal] must lead to the page "reset" below it:
//
//	recovery.Options{Portals: map[string]recovery.Portal{"web": {URL: "https://example.com/recover/reset"}}}
//
// # Pages
//
//	GET        (the path itself)  what was forgotten
//	GET, POST  password           ask for a link, by address or by user name
//	GET        password-sent      the mail is on its way, if there is an account
//	GET, POST  username           ask for the user names of an address
//	GET        username-sent      the same
//	GET, POST  reset              choose a new password, with the mail's link or its token
//	GET        done               the password was changed
//	GET        portal.css, portal.js
//
// HEAD is answered like GET, and neither changes anything. A POST has the page's fields, each once
// and no others, URL-encoded (application/x-www-form-urlencoded):
//
//	password   by ("email" or "username"), email and username; one of the two may be empty
//	username   email
//	reset      token, password, repeat
//
// Other answers than 200 are:
//
//	303  the form was accepted: the next page
//	403  the form is from another site; or Options.Approve of package recovery denied the reset or
//	     asks for a second factor
//	422  fields are at fault: the form again; the token cannot be used: a page that offers a new mail
//	429  over a limit, with Retry-After
//	500  a panic, or Options.Tenant returned what package recovery refuses
//	503  may work later, with Retry-After: the store failed or took too long, too many passwords are
//	     being hashed, or Options.Approve, Policy.Check or the breach service failed
//
// Statuses 400, 404, 405, 413 and 415 are for requests that no browser sends by itself. For a form
// with other fields, a line at the level Debug names those that the page has.
//
// These pages have no field for a second factor. If Options.Approve of package recovery may ask for
// one, mount a page of your own in the place of "reset", which calls CompleteReset with the factor,
// and redirect to "done".
//
// # Without JavaScript
//
// Everything works. The token of the link then stays in the address bar, because no server sees
// that part of a URL. The reader pastes the token or the whole link into the form, as
// recovery.CompleteRequest takes it. After a form that was at fault the reader has to paste it
// again, because no answer repeats it. If a mail program encodes the "#" of the link, the server
// sees the token; it redirects to the form, and logs nothing.
//
// If a password is rejected, the page shows every rule that it is known to break. Three are checked
// only if all else is right and the token is alive, because a token is looked up only to be used:
// whether the password holds the account's name or address, has leaked, or breaks a rule of the
// application. A reason of the application (recovery.PasswordReason) is shown with its own text, in
// one language.
//
// With JavaScript a script of 8 kB moves the token from the address bar into the form, keeps it in
// the tab's session storage until it was used, and shows which rules a password meets. It never
// submits a form by itself, so programs that follow links in mails do no harm.
//
// # What the caller can learn
//
// A caller learns what package recovery reveals, and nothing more. The answer to a request is the
// same, byte for byte, whoever it names, even an account of another tenant. Status 429 is about the
// callers, never about a person who was mailed too often. A page repeats nothing of a request but
// the name and the address that were typed, in their own fields. No token appears in a URL that is
// sent, in an answer, a redirect or the log, with one exception: where a mail program encoded the
// "#", the request has it in its path, and the redirect in its fragment. The language of a page
// depends on Accept-Language alone, and its mails are requested in the same language.
//
// # Other sites
//
// No cookie is set or read. Forms from other origins are refused ([http.CrossOriginProtection]).
// Pages cannot be framed, and load nothing from elsewhere but a logo whose URL is https. They have
// no inline code or style, no parameters and no way to redirect a reader.
package portal

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/text/language"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/exchange"
)

// Options configure the pages. The zero value of every field is its documented default, and nil
// Options are the zero Options.
//
// A URL is https, or a path of the same origin that begins with one slash.
type Options struct {
	// Portal is the name in Options.Portals of package recovery whose URL leads to the page "reset"
	// of these pages. If there are several portals, each must have Tenants or Allow. With the
	// default, "", mails hold the link of the entry for the empty name. If there is no such entry,
	// they hold the bare token, which people paste.
	Portal string

	// Application is the name of the product; default Options.Application of package recovery.
	Application string
	// LogInURL is where people log in; default none, and then no page leads there.
	LogInURL string
	// SupportURL is where people find help, also a mailto: URL; default none.
	SupportURL string
	// LogoURL is an image to show instead of the name; default none. If it is an https URL, the
	// pages load images from that origin too.
	LogoURL string

	// Accent is the colour of buttons and links on light pages, AccentDark on dark ones, both as
	// "#rrggbb". They must have a contrast of at least 4.5 to the pages' backgrounds. The defaults
	// are a strong and a pale blue.
	Accent, AccentDark string
	// CSS is appended to the style sheet; at most 64 KiB. Images that it names must come from the
	// pages' own origin or the logo's; fonts are not loaded. These custom properties of :root hold
	// all colours, and keep their names: --page and --card, the backgrounds; --text and --muted;
	// --line and --edge, the borders of boxes and of fields; --accent, --error and --good. Dark
	// pages have values of their own:
	//
	//	:root { --page: #fff8f0 }
	//	@media (prefers-color-scheme: dark) { :root { --page: #14100c } }
	CSS string

	// Templates replaces single files of the pages, or adds languages. The files are those of the
	// folder assets beside the source: layout.html, the frame; start.html, password.html,
	// username.html, sent.html, reset.html, done.html and error.html, the pages, which get a
	// [Page]; locales/en.json and so on, the texts. Files whose names begin with a dot are ignored;
	// any other file is an error.
	//
	// The frame must have <body data-page="{{.Name}}">, with data-forget where ForgetToken is true.
	// If the built-in page has a form, yours must have one too, before any other form. It must be
	// sent with POST to the page of its own name, and have exactly the fields of the built-in form.
	// On the page "reset" each field's id must equal its name. The script skips other ids that a
	// page does not have.
	//
	// A language is named by its BCP 47 tag. A new one must have every text that English has; for a
	// built-in one, a file may replace only some. A text must have the placeholders of the English
	// one, and no others. docs/languages.md explains the steps.
	Templates fs.FS

	// ClientAddr returns the client's address, by which limits are counted. The default is
	// Request.RemoteAddr, with or without a port. Behind a proxy that is the proxy's address: use
	// httpadapter.TrustedProxies. Requests without an address, the zero Addr, count as one client.
	ClientAddr func(*http.Request) netip.Addr

	// Tenant returns the tenant of a request, see recovery.ResetRequest; the default is "". It may
	// use the request's host or path, because the tenant only selects where accounts are looked up.
	// It is not called for a completion, because a token belongs to one account.
	//
	// A tenant that package recovery refuses, or that Portal does not serve, is the application's
	// fault. The answer is then 500, whoever is named, and the log has a line for it.
	//
	// For links to each tenant's own host, make one recovery.Portal and one New for each.
	// Request.Host has the port if it is not the default one.
	Tenant func(*http.Request) string

	// Origins are those of the pages, such as "https://example.com", if a proxy changes the Host
	// header; default the request's own host. If a proxy changes it and Origins is empty, forms of
	// browsers that send no Sec-Fetch-Site are refused with 403. Over plain http no browser sends
	// it.
	Origins []string

	// BodyTimeout is how long a form may take to arrive: default 10 seconds. It replaces the
	// server's ReadTimeout, even a shorter one. It needs a ResponseWriter whose deadlines
	// http.ResponseController can set; a middleware's ResponseWriter must have Unwrap.
	BodyTimeout time.Duration

	// Logger gets panics, faults of Tenant and, at most once a minute each, errors of the store and
	// forms refused as another site's: default slog.Default().
	Logger *slog.Logger
}

// New tries every page in every language, and returns them. The error joins every fault of opts.
func New(svc *recovery.Service, opts *Options) (http.Handler, error) {
	if opts == nil {
		opts = &Options{}
	}
	base, err := exchange.New("portal", svc, exchange.Options{
		ClientAddr: opts.ClientAddr, Tenant: opts.Tenant, Origins: opts.Origins, BodyTimeout: opts.BodyTimeout, Logger: opts.Logger,
	})
	if svc == nil {
		return nil, err
	}
	core := svc.Options()
	o, faults := opts.settings(&core)
	faults = append(faults, err)
	files, errs := readFiles(o.Templates)
	faults = append(faults, errs...)
	locales, errs := compileLocales(files)
	faults = append(faults, errs...)
	pages, errs := compilePages(files)
	faults = append(faults, errs...)
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}

	h := &handler{Base: base, opts: o, core: core, locales: locales, pages: pages}
	tags := make([]language.Tag, len(locales))
	for i, l := range locales {
		tags[i] = l.tag
	}
	if p, ok := core.Portals[o.Portal]; ok && !strings.HasSuffix(p.URL, "/reset") {
		base.Logger.Warn("portal: the URL of Options.Portals of package recovery does not end in /reset, the page that takes the token", "portal", o.Portal)
	}
	h.matcher = language.NewMatcher(tags)
	h.rules = core.Policy.Rules()
	h.assets = newAssets(&h.opts)
	h.policy = contentSecurityPolicy(h.opts.LogoURL)
	if faults := h.tryPages(); len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return h, nil
}

// ChangePassword returns a handler for GET /.well-known/change-password, where password managers
// look for the page that changes a password (W3C, A Well-Known URL for Changing Passwords). It
// redirects to target: the path of these pages, or of your own page for logged-in users.
func ChangePassword(target string) (http.Handler, error) {
	if target == "" || checkURL(target) != nil {
		return nil, errors.New("portal: the target of ChangePassword " + urlRule)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		setPageHeaders(header, "default-src 'none'; frame-ancestors 'none'")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			header.Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		header.Set("Location", target)
		w.WriteHeader(http.StatusSeeOther)
	}), nil
}
