// Package acceptlanguage reads which languages a caller prefers.
package acceptlanguage

import (
	"net/http"
	"strings"

	"golang.org/x/text/language"
)

// maxBytes is how much of Accept-Language is looked at: browsers send less.
const maxBytes = 256

// Tags returns the languages of Accept-Language, the preferred first. It skips what is malformed or
// does not fit into maxBytes.
func Tags(h http.Header) []language.Tag {
	accept := strings.Join(h["Accept-Language"], ",")
	if len(accept) > maxBytes {
		accept = accept[:max(0, strings.LastIndexByte(accept[:maxBytes+1], ','))]
	}
	var items []string
	for item := range strings.SplitSeq(accept, ",") {
		if _, _, err := language.ParseAcceptLanguage(item); err == nil {
			items = append(items, item)
		}
	}
	tags, _, _ := language.ParseAcceptLanguage(strings.Join(items, ",")) // every item was parsed
	return tags
}
