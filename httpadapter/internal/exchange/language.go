package exchange

import (
	"net/http"
	"strings"

	"golang.org/x/text/language"
)

// maxAccept is how much of Accept-Language is looked at: browsers send less.
const maxAccept = 256

// maxLocale is how many bytes recovery.ResetRequest.Locale may have.
const maxLocale = 64

// Languages returns the languages of Accept-Language, the preferred first. It skips what is
// malformed or does not fit into maxAccept.
func Languages(h http.Header) []language.Tag {
	accept := strings.Join(h["Accept-Language"], ",")
	if len(accept) > maxAccept {
		accept = accept[:max(0, strings.LastIndexByte(accept[:maxAccept+1], ','))]
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

// Locale returns the languages of Accept-Language as recovery.ResetRequest.Locale wants them, as
// many as fit there.
func Locale(h http.Header) string {
	var locale strings.Builder
	for _, tag := range Languages(h) {
		s := tag.String()
		if s == "und" || s == "mul" || locale.Len()+1+len(s) > maxLocale { // "mul" is how "*" is read
			continue
		}
		if locale.Len() > 0 {
			locale.WriteByte(',')
		}
		locale.WriteString(s)
	}
	return locale.String()
}
