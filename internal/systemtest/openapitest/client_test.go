package openapitest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/npm"
)

// packages make the client, and the last one has OpenAPI's schema of documents.
var packages = []string{"openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@seriousme/openapi-schema-validator@2.11.0"}

// modules returns the folder that has the packages.
func modules(t *testing.T) string {
	t.Helper()
	_, err := exec.LookPath("node")
	folder := ""
	if err == nil {
		folder, err = npm.Modules(packages...)
	}
	if err != nil {
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			t.Fatalf("RECOVERY_REQUIRE_ALL is 1: %v", err)
		}
		t.Skipf("nothing was tested: this needs node and npm: %v", err)
	}
	return folder
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
