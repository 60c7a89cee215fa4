package recovery

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

const maxPortalName = 64 // bytes

// A Portal is a page on which a password is chosen.
type Portal struct {
	// URL is where the link in the mail leads; the token is appended as its fragment, "#token=…",
	// so that no server, log or Referer sees it. It must be https, except on localhost.
	URL string

	// Tenants, if set, are those whose accounts may have a link to this portal, and whose requests
	// may name it. []string{""} means all accounts of an application without tenants.
	Tenants []string

	// Allow, if set, decides who gets a link to this portal. The worker asks it after the caller
	// was answered: false means no mail, an error is tried again. It is asked for real accounts
	// only, at most 50 of one address. So it should be quick: if it were much slower than a mail,
	// the time of other mails would show that an account exists.
	Allow func(ctx context.Context, account Account) (bool, error)

	// InsecureHTTP admits an http URL on any host.
	InsecureHTTP bool
}

// isFor reports whether accounts of the tenant may have a link to the portal.
func (p Portal) isFor(tenant string) bool {
	return len(p.Tenants) == 0 || slices.Contains(p.Tenants, tenant)
}

func (p Portal) addFaults(f *faults, name string) {
	for _, tenant := range p.Tenants {
		f.unless(checkTenant(tenant) == nil, "Portals[%q] must have Tenants of at most 64 bytes of visible text", name)
	}
	f.unless(len(name) <= maxPortalName, "Portals[%q] must have a name of at most %d bytes", name, maxPortalName)
	u, err := url.Parse(p.URL)
	problem := ""
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		problem = "must have an absolute https URL"
	case u.Scheme == "http" && !p.InsecureHTTP && !isLoopback(u.Hostname()):
		problem = "must have an https URL; http is for localhost, or where InsecureHTTP is set"
	case strings.Contains(p.URL, "#"):
		problem = "must have a URL without a fragment: that is where the token goes"
	case strings.ContainsFunc(p.URL, func(r rune) bool { return r <= ' ' || r > '~' }):
		problem = "must have a URL of visible ASCII characters"
	case u.User != nil:
		problem = "must have a URL without a user name or password"
	}
	f.unless(problem == "", "Portals[%q] %s", name, problem)
}

func isLoopback(host string) bool {
	a, _ := netip.ParseAddr(host) // the zero Addr if it is none
	return host == "localhost" || a.IsLoopback()
}
