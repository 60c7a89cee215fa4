package smtpmailer

import (
	"errors"
	"net/url"
	"strconv"
)

// ParseURL returns the Options that a URL stands for; the caller adds From and any other options.
//
//	smtp://user:password@smtp.example.com      STARTTLS, port 587
//	smtps://user:password@smtp.example.com     implicit TLS, port 465
//	smtp+insecure://127.0.0.1:2525             in the clear, port 25 by default
//
// User name and password are percent-encoded. An error quotes nothing of the URL.
func ParseURL(raw string) (Options, error) {
	u, err := url.Parse(raw)
	if err != nil { // its text has the URL with the password
		return Options{}, errors.New("smtpmailer: the URL is malformed; " +
			"special characters of user name and password must be percent-encoded")
	}
	var o Options
	var faults []error
	fault := func(text string) { faults = append(faults, errors.New("smtpmailer: the URL "+text)) }
	switch u.Scheme {
	case "smtp":
	case "smtps":
		o.ImplicitTLS = true
	case "smtp+insecure":
		o.InsecurePlaintext = true
	default:
		fault("must begin with smtp://, smtps:// or smtp+insecure://")
	}
	if o.Host = u.Hostname(); !isHost(o.Host) {
		fault("must have a host name or an IP address")
	}
	if port := u.Port(); port != "" {
		if o.Port, err = strconv.Atoi(port); err != nil || o.Port < 1 || o.Port > 65535 {
			fault("must have a port from 1 to 65535")
		}
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		fault("must end with the host and port")
	}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
		if o.InsecurePlaintext {
			fault("must not have a user name or password with smtp+insecure")
		}
	}
	if len(faults) > 0 {
		return Options{}, errors.Join(faults...)
	}
	return o, nil
}
