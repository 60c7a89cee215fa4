package mailer

import (
	"net/netip"
	"strings"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/direction"
)

// maxNames bounds the list of user names; the others are counted.
const maxNames = 50

// Data is the dot of every template. All texts are safe to show, as the package documentation
// explains. It prints as "[redacted]".
//
// A user name is a string in a text part, and "" if the account has none. In an HTML part it is an
// html/template.HTML that isolates itself and cannot become a link.
//
// In a subject template all fields about single accounts are empty: user names, tokens, links,
// codes, sign-ins, and their numbers.
type Data struct {
	redacted

	Locale    string // BCP 47 tag: "en"
	Direction string // "ltr" or "rtl"
	Subject   string // of the same mail; "" in a subject template

	Tenant      string // of the accounts, see recovery.Account; not shown by the built-in templates
	Application string // "" if it has no name
	SupportURL  string // https or mailto, or ""
	SupportText string // the address of a mailto SupportURL, else SupportURL

	Username  any   // of the only account, or the first of Usernames
	Usernames []any // of a usernames or password_changed message, at most 50
	MoreNames int   // how many names were left out
	Bracketed bool  // in a text part: some name shows "." as "[.]" or ":" as "[:]"

	// Of a reset_token or reset_link message for one account; "" if it is for several.
	Token string
	Link  string
	Code  string // "" unless the reader asked for one

	Resets     []DataReset // of a reset_token or reset_link message: one for each account, at most 10
	MoreResets int         // how many accounts were left out

	// Accounts that have no password here, at most 10; of every kind but password_changed.
	SignIns     []DataSignIn
	MoreSignIns int // how many accounts were left out

	// When tokens and links expire, and when codes do, in Options.Location; zero if there are none.
	// Valid and CodesValid count from when the mail is sent, and are nil if no time is left.
	ExpiresAt     time.Time
	Valid         *Span
	CodesExpireAt time.Time
	CodesValid    *Span

	RequestedAt time.Time // in Options.Location; may be zero
	Client      string    // address or network of the client that asked, or ""
}

// DataReset is what a mail shows for one account.
type DataReset struct {
	redacted

	Username any
	Token    string
	Link     string // "" in a reset_token message
	Code     string // all accounts of a mail have one, or none has
}

// DataSignIn is an account that has no password here.
type DataSignIn struct {
	redacted

	Username any
	Provider string // where it logs in, such as "Google"; "" if that is not known
}

// A Span is a duration rounded for a reader: to minutes below three hours, to whole hours from
// there on. Hours or Minutes is not zero.
type Span struct {
	Hours   int
	Minutes int // 0 from three hours on
}

// data returns the dot for the part.
func (r *Renderer) data(l locale, m recovery.Message, p part) Data {
	d := Data{
		Locale:      l.name,
		Direction:   direction.Of(l.tag),
		Tenant:      bound(m.Tenant, maxShown),
		Username:    "",
		Application: showOwn(m.Application),
		SupportURL:  r.support.url,
		SupportText: r.support.text,
		Client:      showClient(m.Client, r.opts.FullClientAddress),
	}
	if d.Application == "" {
		d.Application = showOwn(r.opts.Application)
	}
	if !m.RequestedAt.IsZero() {
		d.RequestedAt = m.RequestedAt.In(r.opts.Location)
	}
	if !m.ExpiresAt.IsZero() {
		d.ExpiresAt = m.ExpiresAt.In(r.opts.Location)
		d.Valid = span(m.SentAt, m.ExpiresAt)
	}
	if hasCodes(m) {
		d.CodesExpireAt = m.CodesExpireAt.In(r.opts.Location)
		d.CodesValid = span(m.SentAt, m.CodesExpireAt)
	}
	if p == subjectPart { // mail systems store, list and announce it without protection
		return d
	}
	if isReset(m.Kind) {
		d.addResets(m, p)
	} else {
		d.addNames(m, p)
	}
	if m.Kind != recovery.MessagePasswordChanged {
		d.addSignIns(m, p)
	}
	return d
}

func (d *Data) addNames(m recovery.Message, p part) {
	d.MoreNames = max(0, m.MoreNames)
	names := nonEmpty(m.Usernames)
	if len(names) > maxNames {
		d.MoreNames += len(names) - maxNames
		names = names[:maxNames]
	}
	for _, name := range names {
		d.Usernames = append(d.Usernames, d.show(name, p))
	}
	if len(d.Usernames) > 0 {
		d.Username = d.Usernames[0]
	}
}

func (d *Data) addResets(m recovery.Message, p part) {
	d.MoreResets = max(0, m.MoreResets)
	for _, r := range m.Resets {
		shown := DataReset{Username: d.show(r.Username, p), Token: r.Token.Reveal(), Code: r.Code}
		if m.Kind == recovery.MessageResetLink {
			shown.Link = r.Link
		}
		d.Resets = append(d.Resets, shown)
	}
	if len(d.Resets) == 1 && d.MoreResets == 0 {
		only := d.Resets[0]
		d.Username, d.Token, d.Link, d.Code = only.Username, only.Token, only.Link, only.Code
	}
}

func (d *Data) addSignIns(m recovery.Message, p part) {
	d.MoreSignIns = max(0, m.MoreSignIns)
	for _, s := range m.SignIns {
		shown := DataSignIn{Username: d.show(s.Username, p), Provider: showOwn(s.Provider)}
		d.SignIns = append(d.SignIns, shown)
	}
	if m.Kind == recovery.MessageSignIn && len(d.SignIns) == 1 && d.MoreSignIns == 0 {
		d.Username = d.SignIns[0].Username
	}
}

// show returns a user name as the part can show it, and notes its brackets.
func (d *Data) show(name string, p part) any {
	switch {
	case strings.TrimSpace(name) == "":
		return ""
	case p == htmlPart:
		return nameHTML(name)
	}
	shown, bracketed := nameText(name)
	d.Bracketed = d.Bracketed || bracketed
	return shown
}

func isReset(k recovery.MessageKind) bool {
	return k == recovery.MessageResetToken || k == recovery.MessageResetLink
}

// hasCodes reports whether the resets of m have codes; check refuses messages where only some have.
func hasCodes(m recovery.Message) bool {
	return isReset(m.Kind) && len(m.Resets) > 0 && m.Resets[0].Code != ""
}

func nonEmpty(names []string) (kept []string) {
	for _, name := range names {
		if strings.TrimSpace(name) != "" {
			kept = append(kept, name)
		}
	}
	return kept
}

// span rounds to the minute first, because a mail is sent a moment after its token was made.
func span(from, until time.Time) *Span {
	d := until.Sub(from).Round(time.Minute)
	if d < time.Minute {
		return nil
	}
	s := &Span{Hours: int(d.Hours()), Minutes: int(d.Minutes()) % 60}
	if s.Hours >= 3 {
		s.Minutes = 0
	}
	return s
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
