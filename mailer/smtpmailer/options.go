package smtpmailer

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/recovery"
)

// Options say which server sends the mails, and in whose name. Host and From must be given; the
// zero value of every other field is its documented, safe default. Options print as "[redacted]".
type Options struct {
	redacted

	// Host is the name of the server, as its certificate has it, or its IP address.
	Host string
	// Port is 587 by default, 465 with ImplicitTLS and 25 with InsecurePlaintext.
	Port int

	// ImplicitTLS starts TLS with the first byte. By default STARTTLS is required instead.
	ImplicitTLS bool
	// InsecurePlaintext sends mails, with their tokens, in the clear. It is for a server on the
	// same machine. It cannot be combined with credentials.
	InsecurePlaintext bool
	// TLSConfig is used for TLS; default the zero Config with Host as its ServerName. The version
	// is at least TLS 1.2 in any case. InsecureSkipVerify is refused unless VerifyConnection is
	// set; a private authority goes into RootCAs.
	TLSConfig *tls.Config

	// Username and Password are the credentials. Without a Username there is no AUTH.
	Username string
	Password string
	// AccessToken, if set, returns an access token for XOAUTH2, which takes the place of Password.
	// It is called for every new connection, and must return when ctx ends. Its error is passed on.
	AccessToken func(ctx context.Context) (string, error)
	// Auth names the only mechanism to use: SCRAM-SHA-256-PLUS, SCRAM-SHA-256, SCRAM-SHA-1-PLUS,
	// SCRAM-SHA-1, PLAIN, LOGIN or XOAUTH2. The default is XOAUTH2 with an AccessToken, else the
	// first of the others, in this order, that the server offers.
	Auth string

	// From is the author, "Example <accounts@example.com>" or the address alone.
	From string
	// ReplyTo is where answers go, written as From is; default the author.
	ReplyTo string
	// EnvelopeFrom is the address to which undeliverable mails return; default the address of From.
	EnvelopeFrom string
	// MessageIDDomain is the right side of every Message-ID; default the domain of From.
	MessageIDDomain string
	// Hello is the name, or the address literal ("[192.0.2.1]"), by which the server is greeted;
	// default MessageIDDomain.
	Hello string

	// DKIM, if set, signs every mail. Most relays sign by themselves.
	DKIM *DKIM

	// Connections is how many connections there may be at once, in use and kept: default 45, from 1
	// to 512. A Send that finds none free waits. IdleTimeout ends those that are not needed.
	//
	// It should be at least recovery.Options.Workers × 5/4, which is 45 by default: with fewer,
	// mails wait here for each other. Then an attacker who requests mails to himself can tell by
	// their delay whether a mail to somebody else is sent. A relay may admit fewer connections:
	// Postfix takes 50 from one address by default (smtpd_client_connection_count_limit), and all
	// instances behind that address share them. If that is too few, lower Workers and Connections
	// together.
	Connections int
	// IdleTimeout is how long an unused connection is kept: default 30 seconds, from 1 second to 10
	// minutes. It should be shorter than what the server and the firewalls in between allow.
	IdleTimeout time.Duration
	// Timeout bounds a Send whose context has no deadline: default 30 seconds, from 1 second to 10
	// minutes.
	Timeout time.Duration

	// Now is the clock of the header Date and of signatures; default time.Now.
	Now func() time.Time
}

const maxDisplayName = 128 // bytes

var mechanisms = []string{ // the strongest first
	"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN", "LOGIN", "XOAUTH2",
}

// settings are Options with every default filled in.
type settings struct {
	Options
	address string // Host and Port
	from    mail.Address
	replyTo mail.Address // the zero Address without ReplyTo
}

// settings returns the options with every default filled in, or every fault in one error. No fault
// quotes a password.
func (o *Options) settings() (settings, error) {
	var s settings
	if o != nil {
		s.Options = *o
	}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("smtpmailer: Options."+format, args...))
	}
	s.address = s.transport(fault)
	s.credentials(fault)
	s.names(fault)
	if s.DKIM != nil {
		s.DKIM = s.DKIM.checked(fault)
	}
	s.Connections = cmp.Or(s.Connections, 45)
	if s.Connections < 1 || s.Connections > 512 {
		fault("Connections must be from 1 to 512, is %d", s.Connections)
	}
	s.IdleTimeout = cmp.Or(s.IdleTimeout, 30*time.Second)
	s.Timeout = cmp.Or(s.Timeout, 30*time.Second)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"IdleTimeout", s.IdleTimeout}, {"Timeout", s.Timeout}} {
		if d.value < time.Second || d.value > 10*time.Minute {
			fault("%s must be from 1s to 10m0s, is %v", d.name, d.value)
		}
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	return s, errors.Join(faults...)
}

// transport checks how the server is reached, and returns its address.
func (s *settings) transport(fault func(string, ...any)) (address string) {
	if !isHost(s.Host) {
		fault("Host must be a host name or an IP address")
	}
	if s.Port == 0 {
		switch {
		case s.ImplicitTLS:
			s.Port = 465
		case s.InsecurePlaintext:
			s.Port = 25
		default:
			s.Port = 587
		}
	}
	if s.Port < 1 || s.Port > 65535 {
		fault("Port must be from 1 to 65535, is %d", s.Port)
	}
	if s.ImplicitTLS && s.InsecurePlaintext {
		fault("ImplicitTLS and InsecurePlaintext exclude each other")
	}
	if s.TLSConfig == nil {
		s.TLSConfig = &tls.Config{}
	}
	c := s.TLSConfig.Clone()
	if c.InsecureSkipVerify && c.VerifyConnection == nil {
		fault("TLSConfig must not have InsecureSkipVerify without VerifyConnection; a private authority goes into RootCAs")
	}
	if c.MaxVersion != 0 && c.MaxVersion < tls.VersionTLS12 {
		fault("TLSConfig must admit TLS 1.2")
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.ServerName = cmp.Or(c.ServerName, s.Host)
	s.TLSConfig = c
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

func (s *settings) credentials(fault func(string, ...any)) {
	given := s.Username != "" || s.Password != "" || s.AccessToken != nil || s.Auth != ""
	if !given {
		return
	}
	if s.InsecurePlaintext {
		fault("InsecurePlaintext excludes Username, Password, AccessToken and Auth: credentials are sent under TLS only")
	}
	if s.Username == "" {
		fault("Username must be given with Password, AccessToken or Auth")
	}
	if s.Auth != "" && !slices.Contains(mechanisms, s.Auth) {
		fault("Auth must be one of %s, is %q", strings.Join(mechanisms, ", "), s.Auth)
	}
	switch byToken := s.AccessToken != nil; {
	case byToken && s.Password != "":
		fault("Password and AccessToken exclude each other")
	case byToken && s.Auth != "" && s.Auth != "XOAUTH2":
		fault("AccessToken is for XOAUTH2, and Auth is %q", s.Auth)
	case byToken:
		s.Auth = "XOAUTH2"
	case s.Auth == "XOAUTH2":
		fault("AccessToken must be given for XOAUTH2")
	case s.Password == "":
		fault("Password or AccessToken must be given with Username")
	}
	for name, value := range map[string]string{"Username": s.Username, "Password": s.Password} {
		if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			fault("%s must be UTF-8 without control characters", name)
		}
	}
}

func (s *settings) names(fault func(string, ...any)) {
	var err error
	if s.from, err = parseAddress(s.From); err != nil {
		fault("From %w", err)
	}
	if s.ReplyTo != "" {
		if s.replyTo, err = parseAddress(s.ReplyTo); err != nil {
			fault("ReplyTo %w", err)
		}
	}
	if s.EnvelopeFrom == "" {
		s.EnvelopeFrom = s.from.Address
	} else if a, err := parseAddress(s.EnvelopeFrom); err != nil || a.Name != "" {
		fault("EnvelopeFrom must be an address in ASCII")
	} else {
		s.EnvelopeFrom = a.Address
	}
	_, domain, _ := strings.Cut(s.from.Address, "@")
	if s.MessageIDDomain == "" {
		s.MessageIDDomain = domain
	} else if !isDomain(s.MessageIDDomain) {
		fault("MessageIDDomain must be a domain name in ASCII")
	}
	if s.Hello == "" {
		s.Hello = s.MessageIDDomain
	} else if !isDomain(s.Hello) && !isLiteral(s.Hello) {
		fault("Hello must be a domain name in ASCII or an address literal")
	}
}

// parseAddress reads "Name <address>" or an address alone. The address that it returns is ASCII.
func parseAddress(s string) (mail.Address, error) {
	a, err := mail.ParseAddress(s)
	if err != nil {
		return mail.Address{}, errors.New(`must be "Name <address>" or an address`)
	}
	if len(a.Name) > maxDisplayName || strings.ContainsFunc(a.Name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return mail.Address{}, fmt.Errorf("must have a name of at most %d bytes without control characters", maxDisplayName)
	}
	ascii, ok := envelopeAddress(a.Address)
	if !ok || !isASCII(ascii) || strings.HasPrefix(ascii, `"`) {
		return mail.Address{}, errors.New("must have an address with letters, digits and " +
			"!#$%&'*+-/=?^_`{|}~. before the @ and a domain name after it")
	}
	a.Address = ascii
	return *a, nil
}

// envelopeAddress returns an address as SMTP and a header carry it. The local part stays unchanged,
// because only its own server may interpret it; the domain is in A-labels. A local part with a
// leading, trailing or repeated dot is no dot-atom and must be in quotes (RFC 5321 section 4.1.2,
// RFC 5322 section 3.4.1). Nothing that CanonicalEmail accepts needs an escape in them.
func envelopeAddress(s string) (string, bool) {
	canonical, err := recovery.CanonicalEmail(s)
	if err != nil {
		return "", false
	}
	local, _, _ := strings.Cut(strings.TrimSpace(s), "@")
	_, domain, _ := strings.Cut(canonical, "@")
	quoted := strings.HasPrefix(local, `"`)
	if !quoted && slices.Contains(strings.Split(local, "."), "") {
		local = `"` + local + `"`
	}
	return local + "@" + domain, true
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

func isDomain(s string) bool {
	canonical, err := recovery.CanonicalEmail("x@" + s)
	return err == nil && strings.EqualFold(canonical, "x@"+s)
}

// isHost accepts more than isDomain: IP addresses, and the underscores of names inside a cluster.
func isHost(s string) bool {
	if net.ParseIP(s) != nil {
		return true
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
		}) {
			return false
		}
	}
	return len(s) <= 253
}

func isLiteral(s string) bool {
	inner, ok := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	return ok && closed && net.ParseIP(strings.TrimPrefix(inner, "IPv6:")) != nil
}
