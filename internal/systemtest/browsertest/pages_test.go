package browsertest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/portal"
)

var screenshots = flag.Bool("screenshots", false, "write pictures of all pages to the folder screenshots")

// A state is a page as a person sees it.
type state struct {
	name  string
	reach func(s *site, b *tab)
}

// faulty sends a form while the store has trouble.
func faulty(fault func() error) func(s *site, b *tab) {
	return func(s *site, b *tab) {
		s.fault.Store(&fault)
		defer s.fault.Store(nil)
		b.visit(s.base + "username")
		b.fill("#email", "alice@example.com")
		b.click("button[type=submit]")
	}
}

func visit(path string) func(s *site, b *tab) {
	return func(s *site, b *tab) { b.visit(s.base + path) }
}

func chooseWith(token, password string) func(s *site, b *tab) {
	return func(s *site, b *tab) {
		live := token
		if live == "" {
			_, live = s.link("billybob")
		}
		b.visit(s.base)
		b.visit(s.base + "reset#token=" + live)
		b.submit(password)
	}
}

var denied atomic.Bool

var states = []state{
	{"start", visit("")},
	{"password", visit("password")},
	{"password-by-username", func(s *site, b *tab) {
		b.visit(s.base + "password")
		b.do(clickOn("input[value=username]"))
		b.fill("#username", "billybob")
	}},
	{"password-wrong", func(s *site, b *tab) {
		b.visit(s.base + "password")
		b.fill("#email", "billybob")
		b.click("button[type=submit]")
	}},
	{"password-sent", visit("password-sent")},
	{"username", visit("username")},
	{"username-wrong", func(s *site, b *tab) {
		b.visit(s.base + "username")
		b.click("button[type=submit]")
	}},
	{"username-sent", visit("username-sent")},
	{"reset-with-token", visit("reset#token=" + noToken)},
	{"reset-typing", func(s *site, b *tab) {
		b.visit(s.base + "reset#token=" + noToken)
		b.fill("#password", "Tr0ubador")
		b.fill("#repeat", "Tr0ubadour")
		b.do(clickOn("#show"))
	}},
	{"reset-kept-back", func(s *site, b *tab) {
		b.visit(s.base + "reset")
		b.do(clickOn("button[type=submit]"))
	}},
	{"reset-rejected", chooseWith("", "My-Billybob-26!")},
	{"reset", visit("reset")},
	{"done", visit("done")},
	{"error-token", chooseWith(noToken, newPassword)},
	{"error-denied", func(s *site, b *tab) {
		denied.Store(true)
		defer denied.Store(false)
		chooseWith("", newPassword)(s, b)
	}},
	{"error-limit", faulty(overLimit)},
	{"error-busy", faulty(storeDown)},
	{"error-internal", faulty(storePanics)},
	{"error-not-found", visit("nothing")},
	{"error-request", func(s *site, b *tab) {
		b.visit(s.base + "username")
		eval[bool](b, `document.querySelector("form").enctype = "text/plain", true`)
		b.click("button[type=submit]")
	}},
	{"error-cross-site", func(s *site, b *tab) {
		b.visit(evil(s.t, fmt.Sprintf(`<!doctype html><title>x</title><form method="post" action="%susername"><input name="email"><button>x</button></form>`, s.base)))
		b.click("button")
	}},
}

type look struct {
	scheme string
	width  int64
}

// The widths are those of a desktop, of the narrowest phone, and of both sides of where the style
// sheet changes.
var looks = []look{{"light", 1280}, {"dark", 1280}, {"dark", 545}, {"light", 544}, {"dark", 320}, {"light", 320}}

// All pages, in both languages, light and dark, from the narrowest phone to a desktop: no fault
// that axe finds, nothing wider than the window, nothing that the Content-Security-Policy refuses.
func TestEveryPage(t *testing.T) {
	for _, lang := range []string{"en", "ja"} {
		t.Run(lang, func(t *testing.T) {
			is := is.New(t)
			s := serve(t, recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
				if denied.Load() {
					return recovery.ErrDenied
				}
				return nil
			}}, portal.Options{})
			b := open(t, profile{language: lang})
			problems := map[string]bool{}
			for _, state := range states {
				state.reach(s, b)
				is.Equal(eval[string](b, "document.documentElement.lang"), lang)
				page, rest, _ := strings.Cut(state.name, "-")
				if rest == "sent" {
					page = rest
				}
				is.Equal(eval[string](b, "document.body.dataset.page"), page)
				if page == "error" {
					problems[b.text(".lead")] = true
				}
				b.examine(state.name, looks)
				if *screenshots {
					for _, l := range []look{{"light", 1280}, {"dark", 1280}, {"light", 390}, {"dark", 390}} {
						b.shoot(l, fmt.Sprintf("%s-%s-%s-%d.png", state.name, lang, l.scheme, l.width))
					}
				}
				b.do(chromedp.ResetViewport())
				eval[bool](b, "sessionStorage.clear(), true")
			}
			is.Equal(len(problems), 8) // each its own text
			b.quiet()
		})
	}
}

// The example's own pages pass the same checks.
func TestExamplePages(t *testing.T) {
	is := is.New(t)
	e := startExample(t)
	b := open(t, profile{})
	examine := func(name string) {
		b.examine(name, []look{{"light", 1280}, {"dark", 1280}, {"light", 320}, {"dark", 320}})
		b.do(chromedp.ResetViewport())
	}
	for _, path := range []string{"/", "/login", "/mailbox"} {
		b.visit(e.base + path)
		examine(path)
	}
	b.visit(e.base + "/recover/username")
	b.fill("#email", "alice@example.com")
	b.click("button[type=submit]")
	e.mails(1)
	b.visit(e.base + "/mailbox")
	examine("the mailbox with a mail")
	is.Equal(b.click(`a[href="/"]`), int64(200)) // the way back to the start
	b.visit(e.base + "/mailbox")
	is.Equal(b.click(`a[href="/login"]`), int64(200))
	for password, status := range map[string]int64{"wrong": 401, "Old-passw0rd-1": 200} {
		b.visit(e.base + "/login")
		b.fill("#username", "mallory, who has a long name, of which a narrow page must not become wide, whatever-it-is-that-the-name-has")
		if status == 200 {
			b.fill("#username", "alice")
		}
		b.fill("#password", password)
		is.Equal(b.click("button"), status)
		examine(b.text("h1"))
	}
}

// examine wants the page to be without faults, and no wider than the window.
func (b *tab) examine(name string, looks []look) {
	b.t.Helper()
	for _, l := range looks {
		b.look(l, 800)
		if width := eval[int64](b, "document.documentElement.scrollWidth"); width > l.width {
			b.t.Errorf("%s is %d wide in %d", name, width, l.width)
		}
		for _, v := range b.violations() {
			b.t.Errorf("%s, %v: %s (%s): %v", name, l, v.ID, v.Help, v.Nodes)
		}
	}
}

func (b *tab) look(l look, height int64) {
	b.t.Helper()
	b.do(
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}}),
		chromedp.EmulateViewport(l.width, height),
	)
}

func (b *tab) shoot(l look, name string) {
	b.t.Helper()
	b.look(l, 800)
	ctx, cancel := context.WithTimeout(b.ctx, slow)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	b.is.NoErr(err)
	b.is.NoErr(os.MkdirAll("screenshots", 0o755))
	b.is.NoErr(os.WriteFile(filepath.Join("screenshots", name), picture, 0o644))
}

// A page comes in one round trip after its HTML: the style sheet, which alone keeps it from being
// drawn, and the script; together with at most 30 kB on the wire, from an empty cache.
func TestWeight(t *testing.T) {
	is := is.New(t)
	s := serve(t, recovery.Options{}, portal.Options{})
	b := open(t, profile{language: "ja"})
	var bytes atomic.Int64
	is.NoErr(chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*network.EventLoadingFinished); ok {
			bytes.Add(int64(e.EncodedDataLength)) // with headers
		}
	}))
	for _, path := range []string{"", "password", "password-sent", "username", "username-sent", "reset", "done"} {
		b.do(call(network.ClearBrowserCache, cdp.Empty{}))
		bytes.Store(0)
		b.visit(s.base + path)
		type entry struct {
			Name                 string
			RenderBlockingStatus string
			InitiatorType        string
		}
		entries := eval[[]entry](b, `performance.getEntriesByType("resource").filter((e) => !e.name.endsWith("/favicon.ico"))
			.map((e) => ({Name: e.name, RenderBlockingStatus: e.renderBlockingStatus, InitiatorType: e.initiatorType}))`)
		is.Equal(len(entries), 2)
		blocking := 0
		for _, e := range entries {
			is.True(strings.HasPrefix(e.Name, s.base+"portal."))
			is.True(e.InitiatorType == "link" || e.InitiatorType == "script") // by the HTML, not by what it loads
			if e.RenderBlockingStatus == "blocking" {
				blocking++
				is.True(strings.Contains(e.Name, "portal.css"))
			}
		}
		is.Equal(blocking, 1)
		is.True(bytes.Load() > 5_000 && bytes.Load() <= 30_000)
		t.Logf("%q: %d bytes", path, bytes.Load())

		b.visit(s.base + path)
		kept := eval[int](b, `performance.getEntriesByType("resource").filter((e) => e.name.includes("portal.") && e.transferSize === 0).length`)
		is.Equal(kept, 2) // the second time only the HTML is loaded
	}
}
