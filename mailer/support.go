package mailer

import (
	"errors"
	"net/url"
	"strings"
)

// support is a checked Options.SupportURL.
type support struct {
	url  string
	text string // the address of a mailto URL, else the URL
}

func parseSupport(s string) (support, error) {
	if s == "" {
		return support{}, nil
	}
	fault := errors.New("mailer: Options.SupportURL must be an https or mailto URL of visible ASCII characters")
	visible := func(r rune) bool { return '!' <= r && r <= '~' && !strings.ContainsRune("<>\"`\\", r) }
	if strings.ContainsFunc(s, func(r rune) bool { return !visible(r) }) {
		return support{}, fault
	}
	u, err := url.Parse(s)
	switch {
	case err == nil && u.Scheme == "https" && u.Host != "":
		return support{s, s}, nil
	case err == nil && u.Scheme == "mailto" && strings.Contains(u.Opaque, "@"):
		return support{s, u.Opaque}, nil
	}
	return support{}, fault
}
