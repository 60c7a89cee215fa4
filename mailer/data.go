package mailer

import (
	"net/netip"
	"strings"
	"time"

	"example.com/recovery"
)

// maxNames bounds the list of user names; the others are counted.
const maxNames = 50

// Data is what a template is executed with. All texts are safe to show: the package documentation
// says how. In a subject template Username, Usernames, Bracketed, Token, Link, Resets and
// MoreResets are empty. It prints as "[redacted]".
type Data struct {
	redacted

	Locale    string // BCP 47 tag: "en"
	Direction string // "ltr" or "rtl"
	Subject   string // of the same mail; "" in a subject template

	Application string // "" if it has no name
	SupportURL  string // https or mailto, or ""
	SupportText string // the address of a mailto SupportURL, else SupportURL

	Username  string   // of the only account, or the first of Usernames; "" if there is none
	Usernames []string // of a usernames or password_changed message, at most 50
	MoreNames int      // how many names were left out
	Bracketed bool     // in some name "." is shown as "[.]", or ":" as "[:]"

	// Of a reset_token or reset_link message for one account; "" if it is for several.
	Token string
	Link  string

	Resets     []DataReset // of a reset_token or reset_link message: one for each account, at most 10
	MoreResets int         // how many accounts were left out

	ExpiresAt    time.Time // in Options.Location; zero if nothing expires
	ValidHours   int       // how long the token is valid, counted from RequestedAt,
	ValidMinutes int       // to the minute below three hours; both are 0 if that is not known
	RequestedAt  time.Time // in Options.Location; may be zero
	Client       string    // address or network of who asked, or ""
}

// DataReset is what a mail has for one account.
type DataReset struct {
	redacted

	Username string // "" if the account has none
	Token    string
	Link     string // "" in a reset_token message
}

func (r *Renderer) data(l locale, m recovery.Message) Data {
	d := Data{
		Locale:      l.name,
		Direction:   l.direction(),
		Application: showApplication(m.Application),
		SupportURL:  r.support.url,
		SupportText: r.support.text,
		MoreNames:   max(0, m.MoreNames),
		MoreResets:  max(0, m.MoreResets),
		Client:      showClient(m.Client, r.opts.FullClientAddress),
	}
	if d.Application == "" {
		d.Application = showApplication(r.opts.Application)
	}
	if isReset(m.Kind) {
		d.addResets(m)
	} else {
		d.addNames(m)
	}
	if !m.RequestedAt.IsZero() {
		d.RequestedAt = m.RequestedAt.In(r.opts.Location)
	}
	if !m.ExpiresAt.IsZero() {
		d.ExpiresAt = m.ExpiresAt.In(r.opts.Location)
	}
	d.ValidHours, d.ValidMinutes = span(m.RequestedAt, m.ExpiresAt)
	return d
}

func (d *Data) addNames(m recovery.Message) {
	names := nonEmpty(m.Usernames)
	if len(names) > maxNames {
		d.MoreNames += len(names) - maxNames
		names = names[:maxNames]
	}
	for _, name := range names {
		d.Usernames = append(d.Usernames, d.show(name))
	}
	if len(d.Usernames) > 0 {
		d.Username = d.Usernames[0]
	}
}

func (d *Data) addResets(m recovery.Message) {
	for _, r := range m.Resets {
		shown := DataReset{Token: r.Token.Reveal()}
		if m.Kind == recovery.MessageResetLink {
			shown.Link = r.Link
		}
		if strings.TrimSpace(r.Username) != "" {
			shown.Username = d.show(r.Username)
		}
		d.Resets = append(d.Resets, shown)
	}
	if len(d.Resets) == 1 && d.MoreResets == 0 {
		d.Username, d.Token, d.Link = d.Resets[0].Username, d.Resets[0].Token, d.Resets[0].Link
	}
}

// show returns a user name as the mail can show it, and notes its brackets.
func (d *Data) show(name string) string {
	shown, bracketed := showName(name)
	d.Bracketed = d.Bracketed || bracketed
	return shown
}

func isReset(k recovery.MessageKind) bool {
	return k == recovery.MessageResetToken || k == recovery.MessageResetLink
}

// public returns what a subject may show: it is stored, listed and notified without protection.
func (d Data) public() Data {
	d.Username, d.Usernames, d.Bracketed, d.Token, d.Link = "", nil, false, "", ""
	d.Resets, d.MoreResets = nil, 0
	return d
}

func nonEmpty(names []string) (kept []string) {
	for _, name := range names {
		if strings.TrimSpace(name) != "" {
			kept = append(kept, name)
		}
	}
	return kept
}

// span tells how long a token is valid in the words of a reader: nobody needs the minutes of 16
// hours, and everybody those of one and a half. A token is minted a little later than it is asked
// for, hence the rounding to the minute first.
func span(from, until time.Time) (hours, minutes int) {
	if from.IsZero() || until.IsZero() || !until.After(from) {
		return 0, 0
	}
	d := until.Sub(from).Round(time.Minute)
	hours, minutes = int(d.Hours()), int(d.Minutes())%60
	if hours >= 3 {
		minutes = 0
	}
	return hours, minutes
}

func showClient(a netip.Addr, full bool) string {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return ""
	case full:
		return a.String()
	case a.Is4():
		s := a.String()
		return s[:strings.LastIndexByte(s, '.')] + ".x"
	}
	prefix, _ := a.Prefix(48) // 48 bits fit every IPv6 address
	return prefix.String()
}
