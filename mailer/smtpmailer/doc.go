// Package smtpmailer sends the mails of account recovery over SMTP, with TLS.
//
// A [Mailer] is an argument of recovery.New. The server and the credentials fit into one URL in the
// environment; the sender's name belongs in the program:
//
//	options, err := smtpmailer.ParseURL(os.Getenv("SMTP_URL")) // smtp://user:password@mail.example
//	if err != nil {
//		return err
//	}
//	options.From = "Example <accounts@example.com>"
//	mails, err := smtpmailer.New(renderer, &options) // reports every fault at once
//	if err != nil {
//		return err
//	}
//	defer mails.Close()
//	service, err := recovery.New(store, mails, nil)
//
// # Reaching a server
//
// A mail provider gives you a host, a port and credentials. Port 587 uses STARTTLS. That is the
// default here, and required: if the server does not offer it, or an attacker removes the offer,
// nothing is sent. Port 465 needs [Options.ImplicitTLS]. TLS is 1.2 or newer, and the certificate
// must be valid for Host; a private authority goes into TLSConfig.RootCAs. The password is often
// not the account's own, but made for one program ("app password", "SMTP credentials"). If a
// provider requires OAuth, [Options.AccessToken] returns the token for XOAUTH2.
//
// [Options.InsecurePlaintext] is for a mail server on the same machine. AUTH is sent under TLS
// only, so New refuses credentials with it.
//
// # Which failures end a mail
//
// Send returns nil once the server has accepted the mail, whatever happens to the connection after
// that. An error wraps [recovery.ErrPermanent] when it is about this one mail:
//
//   - the [mailer.Renderer] refuses the message,
//   - the recipient is not a plain address, or is not ASCII and the server has no SMTPUTF8,
//   - the server replies 5xx to RCPT TO or at the end of DATA.
//
// The worker tries again after any other error: a late mail is better than a lost one, and an
// operator can correct the cause. These are connection, TLS and AUTH failures, 4xx, and 5xx to
// other commands such as MAIL FROM and DATA, which concern the sender and not the recipient. It
// also tries again after a 5xx to RCPT TO or at the end of DATA that is about the sender or the
// server: codes 500 to 504, 521 and 530 to 538, and the enhanced codes 5.1.7 and 5.1.8 (the
// sender), 5.3.x except 5.3.4 (the mail system), 5.5.x (the protocol) and 5.7.x (policy: relaying
// denied, not authenticated, blocked). If a server sends no enhanced code, the code alone decides.
// A notice that is refused in this way is tried every 7.5 to 15 minutes for a week; watch
// recovery.Hooks.JobRetried.
//
// A refusal is a [*ReplyError], with the step and the codes. No error contains a secret, an address
// of a mail, or the text of a reply, which usually quotes the address.
//
// # Time
//
// A Send ends with its context, at any step and however slowly the server answers. recovery's
// Options.SendTimeout sets that deadline; [Options.Timeout] is for callers without one. A server
// can send at most 256 KiB while a connection is made, and again for every mail.
//
// If the context or the connection ends after the last byte of a mail and before the server's
// reply, nobody knows whether the mail was accepted, and the error wraps [recovery.ErrUncertain].
// So does the error for a reply to the whole mail that is not 2xx, 4xx or 5xx. After any other
// error the mail was certainly not accepted, and its tokens are deleted. The worker tries an
// uncertain mail again with the same Message-ID, but rarely: after 20 minutes, or a day for a
// notice. RFC 5321 grants servers ten minutes for that reply, so with a short SendTimeout a mail
// may arrive twice.
//
// # Connections
//
// Each place of the worker needs a connection of its own: [Options.Connections] explains why. A
// connection is made when it is needed. At most Connections are in use or kept for later mails;
// those that are closing may stay open for two more seconds. Send replaces a dead connection,
// unless it has already sent the end of the mail. Detecting one takes at most a quarter of the time
// that is left. [Options.IdleTimeout] ends unused connections, [Mailer.Close] ends all of them.
//
// # Limits
//
// A server must write the keywords of its EHLO reply in capitals, as servers do. A DKIM key is an
// RSA or Ed25519 key in memory, not one in a hardware module.
//
// # What a mail is
//
// A mail has one recipient, a plain text part and an HTML part, in quoted-printable or base64. A
// line has at most 78 characters, unless an address is longer. The headers are From, To, Reply-To
// (if set), Subject, Date, Message-ID, MIME-Version, Content-Type and Content-Language, and two
// that keep automatic replies away: Auto-Submitted (RFC 3834) and X-Auto-Response-Suppress. The
// left side of Message-ID is Message.ID, so it is the same in every attempt. Nothing names this
// library, this machine, or anything that came with a request.
//
// The recipient is sent as it is stored, with its domain in A-labels. Some providers issued
// addresses that break the grammar, with dots in a row or a dot before the @: da..me.@docomo.ne.jp.
// The part before the @ of such an address is sent in quotes, in RCPT TO and in To:
// "da..me."@docomo.ne.jp.
//
// # What the domain must have
//
// Receivers refuse mails, or take them for spam, unless the DNS of From's domain vouches for them:
//
//   - SPF: a TXT record at the domain of EnvelopeFrom that lists the servers which send for it.
//     Your provider says what to include: "v=spf1 include:spf.provider.example -all".
//   - DKIM: a TXT record at <selector>._domainkey.<domain> with the public key of the signer.
//     Providers sign mails themselves; [Options.DKIM] is for servers that do not.
//   - DMARC: a TXT record at _dmarc.<domain>, "v=DMARC1; p=reject", once the other two work. SPF or
//     DKIM must hold for the domain of From itself.
//
// Undeliverable mails return to EnvelopeFrom; somebody should read them.
package smtpmailer
