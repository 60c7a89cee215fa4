package main

import (
	"cmp"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// The guide's commands work as they are printed, with a value in the place of each word in
// capitals.
func TestGuide(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			t.Fatal("curl is not installed, and RECOVERY_REQUIRE_ALL is 1")
		}
		t.Skip("curl is not installed: the guide's commands were not run")
	}
	is := is.New(t)
	p := start(t, "-limits=high") // nobody waits between the commands, as people would
	defer p.stop(os.Interrupt)
	_, guide := p.do("GET", "/", "")
	mails := []int{1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9} // after each command
	var token, code, ticket string
	for line := range strings.Lines(guide) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "curl ")
		if !ok {
			continue
		}
		command = strings.NewReplacer("TOKEN", token, "CODE", code, "TICKET", ticket).Replace(command)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "curl -sS --fail-with-body "+command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		is.True(len(mails) > 0) // a command too many
		sent := p.mails(mails[0])
		mails = mails[1:]
		last := sent[len(sent)-1]
		token, code = cmp.Or(last.Token, token), cmp.Or(last.Code, code)
		if found := regexp.MustCompile(`"ticket":"(\w+)"`).FindSubmatch(out); found != nil {
			ticket = string(found[1])
		}
	}
	is.Equal(len(mails), 0) // a command too few
	is.Equal(p.login("billybob", "New-passw0rd-4"), 204)
	is.Equal(p.login("alice", "New-passw0rd-3"), 204)
}
