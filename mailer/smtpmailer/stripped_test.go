package smtpmailer

import (
	"crypto/tls"
	"testing"
	"time"
)

// stripped lists servers, or attackers in front of them, whose TLS is missing or wrong.
var stripped = []hostileCase{
	{name: "STARTTLS not offered", acts: map[string]act{"EHLO": say(ehlo + "AUTH PLAIN LOGIN")}, want: temporary, step: "STARTTLS: the server does not offer STARTTLS", never: "AUTH"},
	{name: "STARTTLS struck out, HELO instead", acts: map[string]act{"EHLO": say("502 5.5.1 what"), "HELO": say("250 ok")}, want: temporary, step: "STARTTLS", never: "MAIL"},
	{name: "injected behind STARTTLS", acts: map[string]act{"STARTTLS": func(p *peer) bool {
		return say("220 go\r\n250-evil\r\n250 AUTH PLAIN")(p) && p.handshake(p)
	}}, want: temporary, step: "STARTTLS: unencrypted data followed the reply", never: "tls AUTH"},
	{name: "clear text instead of a handshake", acts: map[string]act{"handshake": say("250 who needs TLS")}, want: temporary, step: "STARTTLS: the server does not speak TLS", never: "AUTH"},
	{name: "clear text on the TLS port", acts: map[string]act{"handshake": say("220 mail.example.com")}, want: temporary, step: "TLS: the server does not speak TLS", implicit: true, never: "EHLO"},
	{name: "certificate of another name", cert: wrongName, want: temporary, step: "STARTTLS: the certificate is for another name", never: "tls EHLO"},
	{name: "self-signed certificate", cert: selfSigned, want: temporary, step: "STARTTLS: the certificate is signed by an unknown authority", never: "tls EHLO"},
	{name: "expired certificate", cert: expired, want: temporary, step: "STARTTLS: the certificate has expired", never: "tls EHLO"},
	{name: "expired certificate on the TLS port", cert: expired, want: temporary, step: "TLS: the certificate has expired", implicit: true, never: "tls EHLO"},
	{name: "AUTH offered in the clear only", acts: map[string]act{
		"EHLO": say("250-mail.example.com\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN"), "tls EHLO": say(ehlo + "SIZE 1000000"),
	}, want: temporary, step: "AUTH: the server offers no AUTH mechanism", never: "tls AUTH"},
	{name: "only unknown mechanisms", acts: map[string]act{"tls EHLO": say(ehlo + "AUTH CRAM-MD5 NTLM")}, want: temporary, step: "AUTH: the server offers no AUTH mechanism", never: "tls AUTH"},

	{name: "STARTTLS overwritten", acts: map[string]act{"EHLO": say(ehlo + "XXXXXXXA")}, want: temporary, step: "STARTTLS: the server does not offer STARTTLS"},
	{name: "STARTTLS as a parameter", acts: map[string]act{"EHLO": say(ehlo + "AUTH STARTTLS PLAIN")}, want: temporary, step: "STARTTLS: the server does not offer STARTTLS"},
	{name: "STARTTLS in the name of the host", acts: map[string]act{"EHLO": say("250 STARTTLS")}, want: temporary, step: "STARTTLS"},
	{name: "STARTTLS in the greeting", acts: map[string]act{"banner": say("220 STARTTLS ESMTP"), "EHLO": say("250 mail.example.com")}, want: temporary, step: "STARTTLS: the server does not offer STARTTLS"},
	{name: "STARTTLS answered with 250", acts: map[string]act{"STARTTLS": say("250 ok")}, want: temporary, step: "STARTTLS: the server replied 250"},
	{name: "STARTTLS done already", acts: map[string]act{"STARTTLS": say("503 5.5.1 TLS is active")}, want: temporary, step: "STARTTLS: the server replied 503 5.5.1"},
	{name: "STARTTLS unknown after all", acts: map[string]act{"STARTTLS": say("502 5.5.1 unknown")}, want: temporary, step: "STARTTLS: the server replied 502 5.5.1"},
	{name: "replies for the whole session behind STARTTLS", acts: map[string]act{"STARTTLS": func(p *peer) bool {
		return say("220 go\r\n250 AUTH PLAIN\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 accepted")(p) && p.handshake(p)
	}}, want: temporary, step: "STARTTLS: unencrypted data followed the reply"},
	{name: "TLS 1.0", acts: map[string]act{"handshake": upTo(tls.VersionTLS10)}, want: temporary, step: "STARTTLS"},
	{name: "TLS 1.1", acts: map[string]act{"handshake": upTo(tls.VersionTLS11)}, want: temporary, step: "STARTTLS"},
	{name: "TLS 1.1 on the TLS port", acts: map[string]act{"handshake": upTo(tls.VersionTLS11)}, want: temporary, step: "TLS", implicit: true},
	{name: "certificate of a parent domain", cert: newCertificate(authority, "example.com", time.Hour), want: temporary, step: "STARTTLS: the certificate is for another name"},
	{name: "certificate for a wildcard beside", cert: newCertificate(authority, "*.mail.example.com", time.Hour), want: temporary, step: "STARTTLS: the certificate is for another name"},
	{name: "certificate for a wildcard above", cert: newCertificate(authority, "*.com", time.Hour), want: temporary, step: "STARTTLS: the certificate is for another name"},
	{name: "certificate signed by one that is no authority", cert: newCertificate(good, fakeHost, time.Hour), want: temporary, step: "STARTTLS: the certificate"},
	{name: "certificate of another authority", cert: newCertificate(newCertificate(nil, "", time.Hour), fakeHost, time.Hour), want: temporary, step: "STARTTLS: the certificate is signed by an unknown authority"},
	{name: "self-signed certificate on the TLS port", cert: selfSigned, want: temporary, step: "TLS: the certificate is signed by an unknown authority", implicit: true},
	{name: "certificate of another name on the TLS port", cert: wrongName, want: temporary, step: "TLS: the certificate is for another name", implicit: true},
}

// upTo is a handshake of a server that knows old versions only.
func upTo(version uint16) act {
	return func(p *peer) bool {
		old := p.tls.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, version
		_ = tls.Server(p.conn, old).Handshake()
		return false
	}
}

// Without the required TLS, the client sends no AUTH and no mail.
func TestAttack_S64_StrippedTLS(t *testing.T) {
	for _, c := range stripped {
		t.Run(c.name, func(t *testing.T) {
			testHostile(t, c, "AUTH", "tls AUTH", "MAIL", "tls MAIL", "RCPT", "tls RCPT", "DATA", "tls DATA")
		})
	}
}
