package browsertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/matryer/is"
)

// slow is how long one step may take on a busy machine.
const slow = 30 * time.Second

// The browser that all tests share, started by the first. All its traffic goes through a proxy that
// keeps a record.
var (
	browser     context.Context
	stopBrowser = func() {}
	traffic     = &proxy{}
	launch      = sync.OnceValue(startBrowser)
)

var errNoChromium = errors.New("no Chromium was found: set RECOVERY_CHROMIUM or install it")

func startBrowser() error {
	path := os.Getenv("RECOVERY_CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path == "" {
			path, _ = exec.LookPath(name)
		}
	}
	if path == "" {
		return errNoChromium
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, traffic) }()
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.ProxyServer("http://"+listener.Addr().String()),
		chromedp.Flag("proxy-bypass-list", "<-loopback>"), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-sync", true), chromedp.Flag("no-first-run", true),
		chromedp.Flag("lang", "en-US"), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("disable-features", "AutofillServerCommunication,OptimizationHints,Translate,MediaRouter,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable"),
	)...)
	ctx, cancel := chromedp.NewContext(allocator)
	stopBrowser = func() { cancel(); stopAllocator() }
	browser = ctx
	if err := chromedp.Do(ctx); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	return nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	stopBrowser()
	removeExample()
	os.Exit(code)
}

// missing skips the test, or fails it where nothing may be missing.
func missing(t *testing.T, what error) {
	t.Helper()
	if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
		t.Fatalf("RECOVERY_REQUIRE_ALL is 1: %v", what)
	}
	t.Skipf("nothing was tested: %v", what)
}

// A tab is a page in a browser profile of its own, or in another tab's.
type tab struct {
	t    *testing.T
	is   *is.I
	ctx  context.Context
	mu   sync.Mutex
	sent []*network.Request
	said []string // to the console, and what the Content-Security-Policy refused
}

type profile struct {
	language string
	noScript bool
	beside   *tab // whose profile to share
}

func open(t *testing.T, p profile) *tab {
	t.Helper()
	if err := launch(); errors.Is(err, errNoChromium) {
		missing(t, err)
	} else if err != nil {
		t.Fatal(err)
	}
	parent, opt := browser, chromedp.WithNewBrowserContext()
	if p.beside != nil {
		parent = p.beside.ctx
		opt = chromedp.WithExistingBrowserContext(chromedp.FromContext(parent).BrowserContextID)
	}
	ctx, cancel := chromedp.NewContext(parent, opt)
	t.Cleanup(cancel)
	b := &tab{t: t, is: is.New(t), ctx: ctx}
	b.is.NoErr(chromedp.Do(ctx)) // without a deadline, which would be the tab's
	b.is.NoErr(chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			b.sent = append(b.sent, e.Request)
		case *runtime.EventExceptionThrown:
			b.said = append(b.said, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			b.said = append(b.said, fmt.Sprint(e.Type))
		case *log.EventEntryAdded:
			// A status of 422 adds an entry too.
			if e.Entry.Level != log.EntryLevelVerbose && e.Entry.Source != log.EntrySourceNetwork {
				b.said = append(b.said, e.Entry.Text)
			}
		}
	}))
	b.do(call(log.Enable, cdp.Empty{}))
	if p.language == "" {
		p.language = "en-US"
	}
	b.do(call(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": p.language}}))
	if p.noScript {
		b.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	}
	return b
}

// do does the steps, each within its time.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(b.ctx, slow)
		err := chromedp.Do(ctx, step)
		cancel()
		if err != nil {
			b.t.Fatalf("%v, on %s", err, b.url())
		}
	}
}

// load does a step that leads to another page, and returns the page's status.
func (b *tab) load(steps ...chromedp.Action[chromedp.Void]) int64 {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, slow)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		b.t.Fatalf("%v, on %s", err, b.url())
	}
	if response == nil {
		return 0
	}
	return response.Status
}

func (b *tab) visit(url string) int64 {
	b.t.Helper()
	return b.load(chromedp.Navigate(url))
}

func (b *tab) click(selector string) int64 {
	b.t.Helper()
	return b.load(clickOn(selector))
}

// press sends keys to whatever has the focus.
func (b *tab) press(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// back goes back to the page with the heading. It may come from the browser's memory, which
// chromedp does not notice.
func (b *tab) back(heading string) {
	b.t.Helper()
	eval[bool](b, "setTimeout(() => history.back()), true")
	b.shows(heading)
}

// follow opens a link on the page, which may lead to another part of the same page.
func (b *tab) follow(link, heading string) {
	b.t.Helper()
	eval[bool](b, fmt.Sprintf("setTimeout(() => location.href = %q), true", link))
	b.shows(heading)
}

// shows waits for the page with the heading.
func (b *tab) shows(heading string) {
	b.t.Helper()
	b.comes(`document.readyState + document.querySelector("h1").innerText`, "complete"+heading)
}

// comes waits until a script has the value. A page that is left meanwhile has none.
func (b *tab) comes(script, value string) {
	b.t.Helper()
	eventually(b.t, value, func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, time.Second)
		defer cancel()
		v, err := chromedp.Run(ctx, chromedp.Evaluate[string](script))
		return err == nil && v == value
	})
}

// fill replaces what is in a field, as pasting does.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	is := is.New(b.t)
	is.True(eval[bool](b, fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		e.focus();
		if (document.activeElement === e) e.select();
		return document.activeElement === e;
	})()`, selector))) // a field that can be seen takes the focus
	if text == "" {
		b.press("\b")
		return
	}
	b.do(call(input.InsertText, input.InsertTextParams{Text: text}))
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf(`(() => { const e = document.querySelector(%q); return e ? e.innerText : "(none)" })()`, selector))
}

func (b *tab) value(selector string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("document.querySelector(%q).value", selector))
}

// reaches waits for the page whose address has this ending.
func (b *tab) reaches(path string) {
	b.t.Helper()
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("on %s: %s", b.url(), b.text("body"))
		}
	})
	eventually(b.t, path, func() bool { return strings.HasSuffix(b.url(), path) })
}

func (b *tab) url() string {
	ctx, cancel := context.WithTimeout(b.ctx, slow)
	defer cancel()
	u, _ := chromedp.Run(ctx, chromedp.Location())
	return u
}

// requests returns what the tab sent since the last call.
func (b *tab) requests() []*network.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	sent := b.sent
	b.sent = nil
	return sent
}

// quiet wants an empty console: no error, no refusal by the Content-Security-Policy.
func (b *tab) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.is.Equal(b.said, nil)
}

// beforePages makes every page of the tab run a script before its own.
func (b *tab) beforePages(script string) {
	b.t.Helper()
	b.do(call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script}))
}

func eval[T any](b *tab, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, slow)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%v, of %.200s", err, script)
	}
	return v
}

// clickOn clicks with the mouse where the element is, if it can be seen there. It does not use
// chromedp's model of the document, which is lost when a page comes back from the browser's memory.
func clickOn(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		at, err := chromedp.Evaluate[[]float64](fmt.Sprintf(`(() => {
			const e = document.querySelector(%q);
			if (!e) return [];
			e.scrollIntoView({block: "center", behavior: "instant"});
			const r = e.getClientRects()[0];
			if (!r) return [];
			const x = r.x + r.width / 2, y = r.y + r.height / 2, top = document.elementFromPoint(x, y);
			return top && e.contains(top) ? [x, y] : [];
		})()`, selector))(ctx, t)
		if err == nil && len(at) == 0 {
			err = fmt.Errorf("%s cannot be clicked on", selector)
		}
		if err != nil {
			return err
		}
		_, err = chromedp.MouseClickXY(at[0], at[1])(ctx, t)
		return err
	})
}

// call makes an action of a command of the protocol.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// eventually asks until the answer is true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < slow; time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never came: %s", what)
}

// A proxy passes requests to this machine on and keeps a record. It refuses the browser's own
// requests to its maker.
type proxy struct {
	mu   sync.Mutex
	seen []request
}

type request struct {
	method, url, header, body string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var header strings.Builder
	_ = r.Header.Write(&header)
	p.mu.Lock()
	p.seen = append(p.seen, request{r.Method, r.URL.String(), header.String(), string(body)})
	p.mu.Unlock()
	if host := r.URL.Hostname(); r.Method == http.MethodConnect || host != "127.0.0.1" && host != "localhost" {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.Header.Del("Proxy-Connection")
	response, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}

// to returns the requests to the server at base.
func (p *proxy) to(base string) (requests []request) {
	u, _ := url.Parse(base)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.seen {
		if v, err := url.Parse(r.url); err == nil && v.Host == u.Host {
			requests = append(requests, r)
		}
	}
	return requests
}
