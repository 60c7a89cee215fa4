package spy

import (
	"os"
	"path/filepath"
	"testing"
)

// Golden compares a text with a file of testdata, or writes the file.
func Golden(t testing.TB, update bool, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || got != string(want) {
		t.Errorf("%s has changed (-update accepts it): %v; got:\n%s", file, err, got)
	}
}
