package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

// build builds the program once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "recovery-server")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "server")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// A process is the running program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	base   string
	rest   chan string // what it prints after the guide
	stderr *bytes.Buffer
}

func start(t *testing.T, flags ...string) *process {
	t.Helper()
	is := is.New(t)
	path, err := build()
	is.NoErr(err)
	p := &process{t: t, rest: make(chan string, 1), stderr: &bytes.Buffer{}}
	if !slices.Contains(flags, "-db") {
		flags = append(flags, "-db", "memory")
	}
	p.cmd = exec.Command(path, append([]string{"-addr", "127.0.0.1:0"}, flags...)...)
	p.cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir(), "HOME="+t.TempDir())
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	is.NoErr(err)
	is.NoErr(p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, base, ok := strings.Cut(lines.Text(), "to try out, on "); ok {
			p.base = base
		}
		if strings.HasPrefix(lines.Text(), "If you ask again") { // the last line
			break
		}
	}
	is.True(p.base != "") // the program must say where it listens
	go func() {
		var rest string
		for lines.Scan() {
			rest += lines.Text() + "\n"
		}
		p.rest <- rest
	}()
	return p
}

// stop sends the signal, wants the program to end well, and returns what it still printed.
func (p *process) stop(signal os.Signal) string {
	p.t.Helper()
	is := is.New(p.t)
	is.NoErr(p.cmd.Process.Signal(signal))
	rest := <-p.rest
	is.NoErr(p.cmd.Wait()) // exit status 0
	return rest
}

// do sends a request and returns the status and the body.
func (p *process) do(method, path, body string, header ...string) (int, string) {
	p.t.Helper()
	is := is.New(p.t)
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(body))
	is.NoErr(err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	is.NoErr(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	is.NoErr(err)
	return response.StatusCode, string(text)
}

func (p *process) login(username, password string) int {
	p.t.Helper()
	status, _ := p.do("POST", "/login", fmt.Sprintf(`{"username":%q,"password":%q}`, username, password))
	return status
}

// mails waits until there are n mails and returns them.
func (p *process) mails(n int) []mail {
	p.t.Helper()
	is := is.New(p.t)
	var mails []mail
	for range 200 {
		_, text := p.do("GET", "/mailbox.json", "")
		is.NoErr(json.Unmarshal([]byte(text), &mails))
		if len(mails) >= n {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	is.Equal(len(mails), n)
	return mails
}

// The documents' own commands, with this server's address: five steps to reset a password, three to
// retrieve a user name.
func TestDocumentedCommands(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			t.Fatal("curl is not installed, and RECOVERY_REQUIRE_ALL is 1")
		}
		t.Skip("curl is not installed: the documents' curl commands were not run")
	}
	is := is.New(t)
	dir := t.TempDir()
	p := start(t, "-db", "sqlite:"+filepath.Join(dir, "server.db"))
	defer p.stop(os.Interrupt)
	write := func(name, content string) { is.NoErr(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)) }
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), curl, append(args, p.base+"/account-recovery")...)
		cmd.Dir = dir
		out, err := cmd.Output()
		is.NoErr(err)
		return string(out)
	}
	const ok = `{"response":{"status":"OK","dbg_info":{"version":"1","warnings":[],"time":0,"output_term":"account-recovery"}}}`

	is.Equal(p.login("billybob", "Old-passw0rd-1"), 204)
	write("reset_password_1", "{\n    \"account-recovery\": {\n        \"username\" : \"billybob\"\n    }\n}\n")
	is.Equal(run("-X", "POST", "-d", "@reset_password_1"), ok)
	m := p.mails(1)[0]
	is.Equal(m.To, "billybob@example.com")
	is.True(strings.Contains(m.Text, m.Token))
	is.True(strings.Contains(m.Text, "(16 hours)"))
	write("reset_password_2", "{\n    \"account-recovery\": {\n        \"username\": \"billybob\",\n"+
		"        \"password\": \"100%-New&+passw0rd\",\n        \"token\": \""+m.Token+"\"\n    }\n}\n")
	is.Equal(run("-X", "PUT", "-d", "@reset_password_2"), ok)
	is.Equal(string(p.mails(2)[1].Kind), "password_changed")
	is.Equal(p.login("billybob", "Old-passw0rd-1"), 401)
	is.Equal(p.login("billybob", "100%-New&+passw0rd"), 204)

	write("retrieve_username", "{\n    \"account-recovery\": {\n        \"email\" : \"alice@example.com\"\n    }\n    }\n")
	is.Equal(run("-X", "POST", "-d", "@retrieve_username"), ok)
	m = p.mails(3)[2]
	is.Equal(m.To, "alice@example.com")
	is.True(strings.Contains(m.Text, "\n    alice\n") && strings.Contains(m.Text, "\n    alicia\n"))
}

func TestRackspaceFlow(t *testing.T) {
	const (
		forgot   = "/v2.0/users/RAX-AUTH/forgot-pwd"
		reset    = "/v2.0/users/RAX-AUTH/pwd-reset"
		space    = `xmlns="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0"`
		jsonType = "application/json"
		xmlType  = "application/xml"
	)
	is := is.New(t)
	p := start(t, "-accounts", "4")
	defer p.stop(syscall.SIGTERM)
	for i, c := range []struct{ username, media, request, reset string }{
		{"user000001", jsonType, `{"RAX-AUTH:forgotPasswordCredentials":{"username":"user000001"}}`, `{"RAX-AUTH:passwordReset":{"password":"superSecurePassw0rd!"}}`},
		{"user000002", xmlType, `<forgotPasswordCredentials ` + space + ` username="user000002"/>`, `<passwordReset ` + space + ` password="superSecurePassw0rd!"/>`},
		{"user000003", jsonType, `{"RAX-AUTH:forgotPasswordCredentials":{"username":"user000003","portal":"cloud_control"}}`, `{"RAX-AUTH:passwordReset":{"password":"superSecurePassw0rd!"}}`},
		{"user000004", xmlType, `<forgotPasswordCredentials ` + space + ` username="user000004" portal="cloud_control"/>`, `<passwordReset ` + space + ` password="superSecurePassw0rd!"/>`},
	} {
		is.Equal(p.login(c.username, "Old-passw0rd-1"), 204)
		status, body := p.do("POST", forgot, c.request, "Content-Type", c.media, "Accept", c.media)
		is.Equal(status, 204)
		is.Equal(body, "")
		m := p.mails(2*i + 1)[2*i]
		is.Equal(m.To, c.username+"@example.com")
		token := m.Token
		if strings.Contains(c.request, "cloud_control") {
			is.Equal(m.Token, "")
			var link string
			link, token, _ = strings.Cut(m.Link, "#token=")
			is.Equal(link, p.base+"/recover/reset")
			status, page := p.do("GET", "/recover/reset", "")
			is.Equal(status, 200)
			is.True(strings.Contains(page, "<h1>Choose a new password</h1>"))
		}
		status, body = p.do("POST", reset, c.reset, "Content-Type", c.media, "Accept", c.media, "X-Auth-Token", token)
		is.Equal(status, 204)
		is.Equal(body, "")
		is.Equal(string(p.mails(2*i + 2)[2*i+1].Kind), "password_changed")
		is.Equal(p.login(c.username, "Old-passw0rd-1"), 401)
		is.Equal(p.login(c.username, "superSecurePassw0rd!"), 204)
	}
}

func TestSilence(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	var first string
	for _, name := range []string{"mallory", "nobody", "alice"} {
		status, body := p.do("POST", "/account-recovery", fmt.Sprintf(`{"account-recovery":{"username":%q}}`, name))
		is.Equal(status, 200)
		if first == "" {
			first = body
		}
		is.Equal(body, first)
	}
	is.Equal(p.mails(1)[0].To, "alice@example.com") // the last one asked for, and the only one
	is.Equal(p.login("mallory", "Old-passw0rd-1"), 401)
	is.Equal(p.login("nobody", "Old-passw0rd-1"), 401)
}

// The default database outlives the program, and what a reset changed with it. It is a file in the
// cache directory.
func TestStateIsKept(t *testing.T) {
	is := is.New(t)
	db := "sqlite:" + filepath.Join(t.TempDir(), "a b%20c.db")
	p := start(t, "-db", db)
	p.ask("alice")
	token := p.mails(1)[0].Token
	p.stop(os.Interrupt)

	p = start(t, "-db", db)
	is.Equal(p.complete(token), 200) // the token of before
	is.Equal(string(p.mails(1)[0].Kind), "password_changed")
	p.stop(os.Interrupt)

	p = start(t, "-db", db)
	is.Equal(p.login("alice", "Old-passw0rd-1"), 401)
	is.Equal(p.login("alice", "New-passw0rd-2"), 204)
	p.stop(os.Interrupt)

	p = start(t, "-db", "sqlite:")
	_, guide := p.do("GET", "/", "")
	is.True(strings.Contains(guide, "recovery-example/server.db"))
	p.stop(os.Interrupt)
}

// A request that is accepted just before the end is mailed before the end.
func TestDrain(t *testing.T) {
	is := is.New(t)
	p := start(t, "-limits=off", "-accounts", "500")
	for i := range 500 {
		p.ask(username(i))
	}
	is.Equal(p.stop(syscall.SIGTERM), "stopped; mails sent: 500\n")
	is.Equal(strings.Count(p.stderr.String(), "WARNING: -limits=off"), 1)
	is.Equal(strings.Count(p.stderr.String(), "level="), 0) // nothing went wrong
}

// A queue in memory is lost, and the exit status says so.
func TestStoppedInMemoryWithABacklog(t *testing.T) {
	is := is.New(t)
	mails := newMailServer(t)
	p := start(t, "-smtp", mails.flag(), "-send-timeout", "1s")
	mails.down()
	p.ask("billybob")
	is.NoErr(p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.rest
	is.True(p.cmd.Wait() != nil)
	is.Equal(p.cmd.ProcessState.ExitCode(), 1)
	is.True(strings.Contains(p.stderr.String(), "server: jobs lost, as they were in memory only: 1"))
}

// One of two servers on a database sends the mails of both; with high limits nobody is kept
// waiting.
func TestWorkerElsewhere(t *testing.T) {
	is := is.New(t)
	db := "sqlite:" + filepath.Join(t.TempDir(), "shared.db")
	const requests = 30 // more than the default limits let pass
	p := start(t, "-db", db, "-worker=false", "-limits=high", "-accounts", fmt.Sprint(requests))
	for i := range requests {
		p.ask(username(i))
	}
	is.Equal(p.stop(syscall.SIGTERM), "stopped; mails sent: 0\n")
	start(t, "-db", db).mails(requests)
}

func TestPages(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	for path, want := range map[string]string{
		"/": "Account recovery, to try out", "/healthz": "ok\n", "/mailbox": "No mail yet", "/mailbox.json": "[]\n",
	} {
		status, body := p.do("GET", path, "")
		is.Equal(status, 200)
		is.True(strings.Contains(body, want))
	}
	p.ask("billybob")
	p.mails(1)
	_, page := p.do("GET", "/mailbox", "")
	is.True(strings.Contains(page, "To billybob@example.com (reset_token)"))
	status, body := p.do("POST", "/login", "x")
	is.Equal(status, 400)
	is.Equal(body, "the body must be {\"username\":\"…\",\"password\":\"…\"}\n")
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-db", "oracle:x"}, `-db must be sqlite:FILE, postgres://…, mysql://… or memory, is "oracle"`},
		{[]string{"-db", "mysql:x"}, "-db must be a URL such as mysql://user:password@127.0.0.1:3306/name"},
		{[]string{"-db", "postgres://%zz"}, "-db must be a URL such as postgres://user:password@127.0.0.1:5432/name"},
		{[]string{"-limits", "maybe"}, `-limits must be on, high or off, is "maybe"`},
		{[]string{"-accounts", "-1"}, "-accounts must be from 0 to 10000000, is -1"},
		{[]string{"extra"}, `unexpected argument "extra": there are only flags`},
		{[]string{"-addr", "nowhere", "-db", "memory"}, "listen tcp: address nowhere: missing port in address"},
		{[]string{"-unknown"}, "flag provided but not defined: -unknown"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			is := is.New(t)
			err := run(t.Context(), c.args, io.Discard, io.Discard)
			is.True(err != nil)
			is.Equal(err.Error(), c.want)
		})
	}
}
