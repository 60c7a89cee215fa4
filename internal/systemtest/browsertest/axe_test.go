package browsertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

const axeVersion = "4.14.1"

// axeScript returns axe-core.
var axeScript = sync.OnceValues(func() (string, error) {
	path := os.Getenv("RECOVERY_AXE")
	if path == "" {
		path = filepath.Join(".cache", "axe-core-"+axeVersion+".min.js")
		if _, err := os.Stat(path); err != nil {
			if err := fetchAxe(path); err != nil {
				return "", fmt.Errorf("axe-core was not found: set RECOVERY_AXE or install npm: %w", err)
			}
		}
	}
	script, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(script), "axe") {
		err = errors.New(path + " is not axe-core")
	}
	return string(script), err
})

func fetchAxe(path string) error {
	dir, err := os.MkdirTemp("", "recovery-axe")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	npm := exec.Command("npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "axe-core@"+axeVersion)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm: %w: %.500s", err, out)
	}
	script, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, script, 0o644)
}

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
