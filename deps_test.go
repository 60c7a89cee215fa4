package recovery_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// Only programs that send over SMTP import a library for it.
func TestOnlySMTPMailerImportsGoMail(t *testing.T) {
	is := is.New(t)
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{.Imports}}", "./...").CombinedOutput()
	is.NoErr(err)
	var importers []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "github.com/wneessen/go-mail") {
			importers = append(importers, strings.Fields(line)[0])
		}
	}
	is.Equal(importers, []string{"example.com/recovery/mailer/smtpmailer"})
}

// Importing the core imports no database, no SMTP, no HTML and no HTTP.
func TestCoreImportsLittle(t *testing.T) {
	is := is.New(t)
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "example.com/recovery").CombinedOutput()
	is.NoErr(err)
	modules := map[string]bool{
		"example.com/recovery": true, "github.com/google/uuid": true,
		"golang.org/x/crypto": true, "golang.org/x/net": true, "golang.org/x/text": true, "golang.org/x/sys": true,
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		switch pkg {
		case "database/sql", "net/http", "net/smtp", "net/mail", "html", "html/template", "text/template", "os/exec":
			t.Errorf("the core imports %s", pkg)
		}
		if root, _, _ := strings.Cut(pkg, "/"); !strings.Contains(root, ".") {
			continue // the standard library
		}
		known := false
		for module := range modules {
			known = known || pkg == module || strings.HasPrefix(pkg, module+"/")
		}
		if !known {
			t.Errorf("the core imports %s", pkg)
		}
	}
	for _, own := range []string{"store", "mailer", "httpadapter"} {
		if strings.Contains(string(out), "example.com/recovery/"+own) {
			t.Errorf("the core imports its own package %s", own)
		}
	}
}
