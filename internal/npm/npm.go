// Package npm installs packages of npm for tests.
package npm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// day is when npm chooses the packages' own dependencies.
const day = "2026-11-20"

// Modules returns a folder node_modules with the packages, such as "typescript@5.9.3". The first
// time, npm installs them into the user's cache, and runs none of their scripts.
func Modules(packages ...string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "recovery-tools")
	dir := filepath.Join(cache, strings.ReplaceAll(strings.Join(append(packages, day), "_"), "/", "-"))
	modules := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(cache, "npm")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	install := exec.Command("npm", append([]string{"install", "--prefix", temp, "--before", day,
		"--no-save", "--no-audit", "--no-fund", "--ignore-scripts"}, packages...)...)
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm: %w: %.500s", err, out)
	}
	return modules, os.Rename(temp, dir)
}
