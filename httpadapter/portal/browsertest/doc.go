// Package browsertest proves package portal in a real browser. It has tests only.
//
// They need Chromium, which they look for where RECOVERY_CHROMIUM says, else as chromium,
// chromium-browser or google-chrome in the PATH; and for accessibility axe-core, where RECOVERY_AXE
// says (the file axe.min.js), else in the folder .cache, where they put it with npm. What is not found
// is skipped with a word, or an error where RECOVERY_REQUIRE_ALL is 1.
//
//	go test ./httpadapter/portal/browsertest -screenshots
//
// also writes pictures of all pages to the folder screenshots.
package browsertest
