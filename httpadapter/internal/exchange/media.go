package exchange

import (
	"mime"
	"net/http"
	"slices"
	"strings"
)

// ContentType returns the media type of a body if it is one of those allowed, and else "". It
// refuses a Content-Encoding, two headers, a list in one, another charset than UTF-8 and any other
// parameter, because a program that reads them differently would read another document.
func ContentType(h http.Header, allowed ...string) string {
	for _, encoding := range h["Content-Encoding"] {
		if !strings.EqualFold(strings.TrimSpace(encoding), "identity") {
			return ""
		}
	}
	values := h["Content-Type"]
	if len(values) != 1 {
		return ""
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil || !slices.Contains(allowed, media) {
		return ""
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return ""
		}
	}
	return media
}
