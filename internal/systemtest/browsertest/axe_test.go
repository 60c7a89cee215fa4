package browsertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"example.com/recovery/internal/npm"
)

// axeScript returns axe-core.
var axeScript = sync.OnceValues(func() (string, error) {
	path := os.Getenv("RECOVERY_AXE")
	if path == "" {
		modules, err := npm.Modules("axe-core@4.14.1")
		if err != nil {
			return "", fmt.Errorf("axe-core was not found: set RECOVERY_AXE or install npm: %w", err)
		}
		path = filepath.Join(modules, "axe-core", "axe.min.js")
	}
	script, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(script), "axe") {
		err = errors.New(path + " is not axe-core")
	}
	return string(script), err
})

type violation struct {
	ID, Help string
	Nodes    []struct{ HTML, FailureSummary string }
}

// violations runs axe on the page as it is. A contrast that axe cannot decide counts as a
// violation.
func (b *tab) violations() []violation {
	b.t.Helper()
	script, err := axeScript()
	if err != nil {
		missing(b.t, err)
	}
	if !eval[bool](b, "typeof axe === 'object'") {
		eval[bool](b, script+"\n; true")
	}
	return eval[[]violation](b, `axe.run(document, {resultTypes: ["violations", "incomplete"]}).then((r) =>
		[...r.violations, ...r.incomplete.filter((v) => v.id === "color-contrast")].map((v) => ({ID: v.id, Help: v.help,
			Nodes: v.nodes.map((n) => ({HTML: n.html, FailureSummary: n.failureSummary}))})))`)
}
