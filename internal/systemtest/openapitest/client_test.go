package openapitest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// packages make the client, and the last one has OpenAPI's schema of documents. Their dependencies
// are those that npm chose on the day.
var packages = []string{"openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@seriousme/openapi-schema-validator@2.11.0"}

const day = "2026-11-01"

// modules returns the folder that has the packages.
func modules(t *testing.T) string {
	t.Helper()
	modules, err := install()
	if err != nil {
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			t.Fatalf("RECOVERY_REQUIRE_ALL is 1: %v", err)
		}
		t.Skipf("nothing was tested: this needs node and npm: %v", err)
	}
	return modules
}

// install lets npm install the packages into the user's cache, the first time.
func install() (string, error) {
	if _, err := exec.LookPath("node"); err != nil {
		return "", err
	}
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
	npm := exec.Command("npm", append([]string{"install", "--prefix", temp, "--before", day,
		"--no-save", "--no-audit", "--no-fund", "--ignore-scripts"}, packages...)...)
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm: %w: %.500s", err, out)
	}
	return modules, os.Rename(temp, dir)
}

// A client that knows the document only can do everything. Its types are generated from the
// document, and its exchanges fit it.
func TestClientFromTheDocument(t *testing.T) {
	is := is.New(t)
	modules := modules(t)
	s, d := newSite(t), load(t)
	base := s.serve(t, d)
	dir := t.TempDir()
	is.NoErr(os.Symlink(modules, filepath.Join(dir, "node_modules")))
	is.NoErr(os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600))
	client, err := os.ReadFile("testdata/client.ts")
	is.NoErr(err)
	is.NoErr(os.WriteFile(filepath.Join(dir, "client.ts"), client, 0o600))
	for _, args := range [][]string{
		{filepath.Join(modules, "openapi-typescript", "bin", "cli.js"), base + "/api/recovery/openapi.yaml", "-o", "schema.d.ts"},
		{filepath.Join(modules, "typescript", "bin", "tsc"), "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "--skipLibCheck", "client.ts"},
		{"client.js", base},
	} {
		node := exec.CommandContext(t.Context(), "node", args...)
		node.Dir = dir
		if out, err := node.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", filepath.Base(args[0]), err, out)
		}
	}
	for _, id := range []string{"1", "2"} {
		hash, _ := s.users.PasswordHash(id)
		is.Equal(hash, "hash of Correct-h0rse-7")
	}
}
