package portal

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.com/recovery"
	"example.com/recovery/internal/invisible"
)

const (
	maxCSS  = 64 << 10
	urlRule = `must be an https URL, or a path that begins with one "/", of visible ASCII characters`
)

// settings returns the options with every default filled in, and every fault.
func (o *Options) settings(core *recovery.Options) (s Options, faults []error) {
	s = *o
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("portal: Options."+format, args...))
	}
	p, ok := core.Portals[s.Portal]
	if s.Portal != "" && !ok {
		fault("Portal must be a name in Options.Portals of package recovery, is %q", s.Portal)
	}
	if s.Tenant == nil && len(p.Tenants) > 0 && !slices.Contains(p.Tenants, "") {
		fault("Tenant must be set, as the portal %q is for the tenants %q", s.Portal, p.Tenants)
	}
	if s.Application == "" {
		s.Application = core.Application
	}
	if invisible.In(s.Application) {
		fault("Application must be one line of visible text")
	}
	for _, u := range []struct{ name, value string }{{"LogInURL", s.LogInURL}, {"LogoURL", s.LogoURL}} {
		if checkURL(u.value) != nil {
			fault("%s %s", u.name, urlRule)
		}
	}
	if address, ok := strings.CutPrefix(s.SupportURL, "mailto:"); ok {
		address, _, _ = strings.Cut(address, "?") // without the subject and the like
		if _, err := recovery.CanonicalEmail(address); err != nil || !isVisibleASCII(s.SupportURL) {
			fault("SupportURL must have an address after mailto:, and visible ASCII characters only")
		}
	} else if checkURL(s.SupportURL) != nil {
		fault("SupportURL %s, or begin with mailto:", urlRule)
	}
	for _, c := range []struct {
		name, value string
		behind      []string
	}{{"Accent", s.Accent, lightSurfaces}, {"AccentDark", s.AccentDark, darkSurfaces}} {
		if err := checkAccent(c.value, c.behind); err != nil {
			fault("%s %w", c.name, err)
		}
	}
	if len(s.CSS) > maxCSS || !utf8.ValidString(s.CSS) {
		fault("CSS must be UTF-8 and have at most %d bytes, has %d", maxCSS, len(s.CSS))
	}
	return s, faults
}

var errURL = errors.New(urlRule)

// checkURL admits "", for none. It refuses a second slash or a backslash, which make a path another
// origin. It checks the decoded host, which goes into the Content-Security-Policy.
func checkURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || !isVisibleASCII(s) || strings.Contains(s, `\`) {
		return errURL
	}
	if strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") {
		return nil
	}
	if u.Scheme != "https" || u.User != nil || !isHost.MatchString(u.Host) {
		return errURL
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && err != nil {
		return errURL
	}
	return nil
}

// isHost admits names in A-labels and addresses, with or without a port.
var isHost = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?$`)

func isVisibleASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
