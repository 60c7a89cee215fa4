package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/npm"
)

// badToken is what both formats say of a token that cannot be used.
const badToken = "the token cannot be used: it is wrong, used, expired, replaced by a newer one, or another user's"

// made is what a client made of an answer.
type made struct {
	OK     bool
	Status int
	User   string // X-User-Name

	Error                          string // the type of the exception
	ID, Code, Message, Description string
	RetryAfter                     int // seconds
	Logins                         int // during the call
}

// client starts a program of testdata, which makes calls with a client that others wrote, and
// returns what makes a call. If something is missing the test is skipped, or fails where everything
// must be there.
func (p *process) client(name string, find func() (*exec.Cmd, error)) func(call any) made {
	p.t.Helper()
	is := is.New(p.t)
	cmd, err := find()
	if err != nil {
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			p.t.Fatalf("%s was not found, and RECOVERY_REQUIRE_ALL is 1: %v", name, err)
		}
		p.t.Skipf("%s was not found, so nothing was tested with it: %v", name, err)
	}
	cmd.Args = append(cmd.Args, p.base)
	cmd.Env = append(cmd.Environ(), "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	is.NoErr(err)
	out, err := cmd.StdoutPipe()
	is.NoErr(err)
	is.NoErr(cmd.Start())
	p.t.Cleanup(func() {
		_ = in.Close() // then the program ends
		if err := cmd.Wait(); err != nil {
			p.t.Errorf("%s: %v: %.2000s", name, err, stderr.String())
		}
	})
	calls, answers := json.NewEncoder(in), json.NewDecoder(out)
	return func(call any) (m made) {
		is.Helper()
		is.NoErr(calls.Encode(call))
		is.NoErr(answers.Decode(&m))
		return m
	}
}

// xandr starts anx-api.
func (p *process) xandr() func(method string, body map[string]string) made {
	p.t.Helper()
	client := p.client("anx-api", func() (*exec.Cmd, error) {
		node, err := exec.LookPath("node")
		if err != nil {
			return nil, err
		}
		modules, err := npm.Modules("anx-api@8.2.1")
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(node, filepath.Join("testdata", "anx.js"))
		cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
		return cmd, nil
	})
	return func(method string, body map[string]string) made {
		p.t.Helper()
		return client(map[string]any{"method": method, "body": body})
	}
}

func TestXandrClient(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	call := p.xandr()
	const password = "100%-New&+pässw0rd"

	is.Equal(call("post", map[string]string{"username": "billybob"}), made{OK: true, Status: 200})
	token := p.mails(1)[0].Token
	weak := call("put", map[string]string{"username": "billybob", "password": "short", "token": token})
	is.True(strings.Contains(weak.Message, "at least 10 characters"))
	is.Equal(weak, made{Error: "ApiError", Status: 400, ID: "SYNTAX", Code: "INVALID_PASSWORD",
		Message: weak.Message, Description: "too_short,no_upper,no_digit,no_special"})
	body := map[string]string{"username": "billybob", "password": password, "token": token}
	is.Equal(call("put", body), made{OK: true, Status: 200})
	is.Equal(p.login("billybob", password), 204)
	is.Equal(string(p.mails(2)[1].Kind), "password_changed")

	// Not NotAuthenticatedError, after which an application logs in and calls again.
	is.Equal(call("put", body), made{Error: "ApiError", Status: 400, ID: "SYNTAX", Code: "INVALID_TOKEN", Message: badToken})

	is.Equal(call("post", map[string]string{"email": "alice@example.com"}), made{OK: true, Status: 200})
	text := p.mails(3)[2].Text
	is.True(strings.Contains(text, "\n    alice\n") && strings.Contains(text, "\n    alicia\n"))
}

func TestXandrClientOverTheLimit(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	call := p.xandr()
	got := untilRefused(func() made { return call("post", map[string]string{"username": "nobody"}) })
	is.True(0 < got.RetryAfter && got.RetryAfter <= 30)
	is.Equal(got, made{Error: "RateLimitExceededError", Status: 429, ID: "SYSTEM", Code: "RATE_EXCEEDED",
		Message: got.Message, RetryAfter: got.RetryAfter})
}

// untilRefused calls until a call is refused, and at most a hundred times.
func untilRefused(call func() made) (m made) {
	for range 100 {
		if m = call(); !m.OK {
			break
		}
	}
	return m
}

// rackspace starts fog-rackspace.
func (p *process) rackspace() func(path, token string, body any) made {
	p.t.Helper()
	client := p.client("fog-rackspace", func() (*exec.Cmd, error) {
		ruby, err := exec.LookPath("ruby")
		if err != nil {
			return nil, err
		}
		if exec.Command(ruby, "-rfog/rackspace", "-e", "").Run() != nil {
			return nil, errors.New("ruby cannot load fog/rackspace")
		}
		return exec.Command(ruby, filepath.Join("testdata", "fog.rb")), nil
	})
	return func(path, token string, body any) made {
		p.t.Helper()
		return client(map[string]any{"path": path, "token": token, "body": body})
	}
}

func forgotPassword(username string) any {
	return map[string]any{"RAX-AUTH:forgotPasswordCredentials": map[string]string{"username": username}}
}

func passwordReset(password string) any {
	return map[string]any{"RAX-AUTH:passwordReset": map[string]string{"password": password}}
}

func TestRackspaceClient(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	call := p.rackspace()
	const password = "100%-New&+pässw0rd"

	is.Equal(call("forgot-pwd", "", forgotPassword("billybob")), made{OK: true, Status: 204, User: "billybob"})
	token := p.mails(1)[0].Token
	weak := call("pwd-reset", token, passwordReset("short"))
	is.True(strings.Contains(weak.Message, "at least 10 characters"))
	is.Equal(weak, made{Error: "Excon::Error::BadRequest", Status: 400, Code: "badRequest", Message: weak.Message})
	is.Equal(call("pwd-reset", token, passwordReset(password)), made{OK: true, Status: 204, User: "billybob"})
	is.Equal(p.login("billybob", password), 204)

	// 401 is what Rackspace documents. The client logs in and calls once more.
	is.Equal(call("pwd-reset", token, passwordReset(password)), made{Error: "Excon::Error::Unauthorized", Status: 401,
		Code: "unauthorized", Message: badToken, Logins: 1})
}

func TestRackspaceClientOverTheLimit(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	call := p.rackspace()
	got := untilRefused(func() made { return call("forgot-pwd", "", forgotPassword("nobody")) })
	is.True(0 < got.RetryAfter && got.RetryAfter <= 30)
	is.Equal(got, made{Error: "Excon::Error::RequestEntityTooLarge", Status: 413, Code: "overLimit",
		Message: "too many requests", RetryAfter: got.RetryAfter})
}
