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
// HEAD is answered like GET, and neither changes anything. A form that was accepted is answered
// with 303 to the next page; one whose fields are at fault with 422 and the form; a token that
// cannot be used with 422 and a page that offers a new mail. Beyond that: 400, 404, 405, 413 and
// 415 for what no browser sends by itself, 403 for other sites and where Options.Approve of package
// recovery denies or asks for a second factor, for which these pages have no field, 429 and 503
// with Retry-After, 500. Status 503 is for what may work later: the store failed or took too long,
// too many passwords are being hashed, or Options.Approve failed without denying. Status 500 is for
// what has to be mended: a panic, or an Options.Tenant that returned what package recovery refuses.
//
// # Without JavaScript
//
// Everything works. The token of the link stays in the address bar then, because no server sees
// that part of a URL, and is pasted into the form, alone or with the whole link. White space,
// U+200B, U+FEFF and one pair of angle brackets around it are passed over. After a form that was at
// fault it has to be pasted again, because no answer repeats it.
//
// A rejected password is answered with every rule that it is known to break. Whether it holds the
// account's own name or address, has leaked, or is against a rule of the application's own, is
// known when all else is right: the token must be alive, and is looked up only to be used. A reason
// of the application (recovery.PasswordReason) is shown with the text that it came with, in one
// language.
//
// With JavaScript a script of 7 kB takes the token out of the address bar and into the form, keeps
// it in the tab's session storage until it was used, and shows which rules a password meets. It
// never submits a form by itself, so programs that follow links in mails do no harm.
//
// # What the caller can learn
//
// What package recovery lets it learn: the answer to a request is the same, byte for byte, whoever
// is named, an account of another tenant included. Status 429 is about who asks, never about who is
// mailed too often. No page repeats anything of a request but the name and the address that were
// typed, into their own fields. No token appears in a URL that is sent, in an answer, a redirect or
// the log. The language of a page depends on Accept-Language alone, and is the one in which mail is
// asked for.
//
// # Other sites
//
// No cookie is set or read. Forms from other origins are refused ([http.CrossOriginProtection]),
// pages cannot be framed, load nothing from elsewhere (the logo aside, if it is given so), and have
// no code or style inline, no parameters and no way to redirect a reader.
package portal

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/text/language"

	"example.com/recovery"
)

// Options configure the pages. The zero value of every field is its documented default, and nil
// Options are the zero Options.
//
// A URL is https, or a path of the same origin that begins with one slash.
type Options struct {
	// Portal is the name in Options.Portals of package recovery whose URL leads to the page "reset"
	// of these pages. Where there are several portals, each must have Tenants or Allow. With the
	// default, "", mails hold the link of the entry for the empty name, or where there is none the
	// bare token, which people paste.
	Portal string

	// Application is the name of the product; default Options.Application of package recovery.
	Application string
	// LogInURL is where one logs in; default none, and then no page leads there.
	LogInURL string
	// SupportURL is where people find help, also a mailto: URL; default none.
	SupportURL string
	// LogoURL is an image to show in the place of the name; default none. Where it is an https URL,
	// the pages load images from that origin, too.
	LogoURL string

	// Accent is the colour of buttons and links where the reader prefers a light page, AccentDark
	// where a dark one, both as "#rrggbb". They must have a contrast of at least 4.5 to what is
	// behind them. The defaults are a strong and a pale blue.
	Accent, AccentDark string
	// CSS is appended to the style sheet; at most 64 KiB. Images that it names must be of the
	// pages' own origin or the logo's; fonts are not loaded.
	CSS string

	// Templates replaces single files of the pages, or adds languages. The files are those of the
	// folder assets beside the source: layout.html, the frame; start.html, password.html,
	// username.html, sent.html, reset.html, done.html and error.html, the pages, which get a
	// [Page]; locales/en.json and so on, the texts. Files whose names begin with a dot are ignored,
	// any other is an error.
	//
	// The frame must have <body data-page="{{.Name}}">, with data-forget where ForgetToken is true.
	// The first form of a page that has one must be sent with POST to the page of its own name, and
	// have exactly the fields of the built-in form; those of the page "reset" have ids that equal
	// their names. Other ids are the script's: what a page does not have is not shown.
	//
	// A language is named by its BCP 47 tag; a new one must have every text that English has, one
	// that is built in may have some. A text must have the placeholders of the English one, and no
	// others. docs/languages.md leads through it.
	Templates fs.FS

	// ClientAddr tells who is asking; limits are counted by it. The default is Request.RemoteAddr,
	// with or without a port. Behind a proxy that is the proxy's: supply a function that reads the
	// header which your own proxy sets, and no other, because a client can send any header. All
	// requests for which there is no address, the zero Addr, count as one client.
	ClientAddr func(*http.Request) netip.Addr

	// Tenant tells whose accounts a request means, see recovery.ResetRequest; the default is "". It
	// may go by the request's host or path: what it returns is where accounts are looked for, no
	// more. A completion is not asked about, because a token belongs to one account.
	//
	// A tenant that package recovery refuses is the application's fault, and so is one that Portal
	// is not for: the answer is 500, whoever is meant, and the log has a line for it.
	Tenant func(*http.Request) string

	// CrossOrigin decides which forms come from here. The default trusts the request's own host;
	// one of your own is needed where a proxy changes the Host header and the pages are not on
	// https.
	CrossOrigin *http.CrossOriginProtection

	// BodyTimeout is how long a form may take to arrive: default 10 seconds. It takes the place of
	// the server's ReadTimeout, of a shorter one too. It needs a ResponseWriter whose deadlines
	// http.ResponseController can set; a middleware's must have Unwrap.
	BodyTimeout time.Duration

	// Logger gets panics, faults of Tenant and, at most one a minute, errors of the store: default
	// slog.Default().
	Logger *slog.Logger
}

// New returns the pages. The error joins every fault of the options; every page was tried in every
// language.
func New(svc *recovery.Service, opts *Options) (http.Handler, error) {
	if svc == nil {
		return nil, errors.New("portal: New needs a Service")
	}
	core := svc.Options()
	o, faults := opts.settings(&core)
	files, errs := readFiles(o.Templates)
	faults = append(faults, errs...)
	locales, errs := compileLocales(files)
	faults = append(faults, errs...)
	pages, errs := compilePages(files)
	faults = append(faults, errs...)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}

	h := &handler{svc: svc, opts: o, core: core, locales: locales, pages: pages}
	tags := make([]language.Tag, len(locales))
	for i, l := range locales {
		tags[i] = l.tag
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

// ChangePassword returns a handler for GET /.well-known/change-password, by which password managers
// find the page where a password is changed (W3C, A Well-Known URL for Changing Passwords). It
// redirects to target, the path of the pages or of the application's own page for those who are
// logged in.
func ChangePassword(target string) (http.Handler, error) {
	if target == "" || checkURL(target) != nil {
		return nil, errors.New("portal: the target of ChangePassword " + urlRule)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		setHeaders(header)
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
