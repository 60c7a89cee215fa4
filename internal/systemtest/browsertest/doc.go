// Package browsertest tests package portal in a real browser. It has tests only.
//
// The tests need Chromium: the program that RECOVERY_CHROMIUM names, else chromium,
// chromium-browser or google-chrome in the PATH. For accessibility they need axe-core: the file
// axe.min.js that RECOVERY_AXE names, else one that npm installs into the user's cache. A
// test without its program is skipped with a message, or fails if RECOVERY_REQUIRE_ALL is 1.
//
//	go test ./internal/systemtest/browsertest -screenshots
//
// also writes pictures of all pages to the folder screenshots.
package browsertest
