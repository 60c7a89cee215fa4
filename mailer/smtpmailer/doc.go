// Package smtpmailer sends the mails of account recovery over SMTP, with TLS.
//
// A [Mailer] is what recovery.New wants. The server and the credentials fit into one URL of the
// environment; the name under which mails are sent belongs to the program:
//
//	options, err := smtpmailer.ParseURL(os.Getenv("SMTP_URL")) // smtp://user:password@smtp.example.com
//	if err != nil {
//		return err
//	}
//	options.From = "Example <accounts@example.com>"
//	mails, err := smtpmailer.New(renderer, &options) // says all that is wrong at once
//	if err != nil {
//		return err
//	}
//	defer mails.Close()
//	service, err := recovery.New(store, mails, nil)
//
// # Reaching a server
//
// A mail provider names a host, a port and credentials. Port 587 is STARTTLS, which is the default
// here and is then required: a server that does not offer it, or an attacker who strikes the offer
// out, gets nothing. Port 465 is [Options.ImplicitTLS]. TLS is 1.2 or newer, and the certificate
// must be valid for Host; a private authority goes into TLSConfig.RootCAs. Passwords are often made
// for one program ("app password", "SMTP credentials"), not the account's own. Where a provider
// wants OAuth, [Options.AccessToken] returns the token for XOAUTH2.
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
//   - the recipient is not a plain address, or is one outside ASCII and the server has no SMTPUTF8,
//   - the server replies 5xx to RCPT TO or at the end of DATA.
//
// Everything else is tried again by the worker, because a mail that is late is better than a mail
// that is lost, and an operator can correct it: connection, TLS and AUTH failures, 4xx, and 5xx to
// any other command, MAIL FROM and DATA among them, since they concern the sender and not the
// recipient. Of the 5xx to RCPT TO and at the end of DATA too, those are tried again that speak of
// us or of the server: codes 500 to 504, 521 and 530 to 538, and the enhanced codes 5.1.7 and 5.1.8
// (the sender), 5.3.x except 5.3.4 (the mail system), 5.5.x (the protocol) and 5.7.x (policy:
// relaying denied, not authenticated, blocked). Where a server sends no enhanced code, there is
// only the code to go by. A notice that is refused so is tried every quarter of an hour, for a
// week; watch recovery.Hooks.JobRetried.
//
// A refusal is a [*ReplyError], with the step and the codes. No error contains an address of a
// mail, the text of a reply, which usually quotes the address, or a secret.
//
// # Time
//
// A Send ends with its context, at any step and however slowly the server answers; recovery's
// Options.SendTimeout is what sets it. [Options.Timeout] is for callers without a deadline. What a
// server can send is bounded too, at 256 KiB for a connection and again for every mail.
//
// If the context or the connection ends after the last byte of a mail and before the server's
// reply, nobody knows whether the mail was accepted, and the error wraps [recovery.ErrUncertain].
// So does one for a reply to the whole mail that is neither 2xx nor 4xx nor 5xx. After any other
// error the mail was certainly not accepted, and its tokens are deleted. The worker tries an
// uncertain mail again with the same Message-ID, but rarely: after 20 minutes, a notice after a
// day. Servers may take long over that reply, RFC 5321 grants them ten minutes, so a short
// SendTimeout invites repeated mails.
//
// # Connections
//
// Each place of the worker needs a connection of its own: [Options.Connections] says why. They are
// made when they are needed. At most Connections are in use or kept for further mails; one that
// says goodbye may be open beside them for two seconds. One that turns out to be dead is replaced
// within the same Send, unless the end of the mail was already sent. To find that out takes at most
// a quarter of the time that is left. [Options.IdleTimeout] ends unused connections, [Mailer.Close]
// ends all of them.
//
// # Limits
//
// A server must write the keywords of its EHLO reply in capitals, as servers do. A DKIM key is an
// RSA or Ed25519 key in memory, not one in a hardware module.
//
// # What a mail is
//
// A mail has one recipient, a plain text and an HTML part, quoted-printable or base64, in lines of
// at most 78 characters where no address is longer, and the headers From, To, Reply-To (if set),
// Subject, Date, Message-ID, MIME-Version, Content-Type and Content-Language, and two that keep
// automatic replies away: Auto-Submitted (RFC 3834) and X-Auto-Response-Suppress. The left side of
// Message-ID is Message.ID, so it is the same at every try. Nothing names this library, this
// machine, or anything that came with a request.
//
// The recipient is sent as it is stored, with its domain in A-labels. Some providers issued
// addresses against the grammar, with dots in a row or a dot before the @: da..me.@docomo.ne.jp.
// Their part before the @ is sent in quotes, in RCPT TO and in To: "da..me."@docomo.ne.jp.
//
// # What the domain must have
//
// Mails are taken for spam, or refused, unless the DNS of the domain of From says that they are
// real:
//
//   - SPF: a TXT record at the domain of EnvelopeFrom that lists the servers which send for it. A
//     provider says what to include: "v=spf1 include:spf.provider.example -all".
//   - DKIM: the public key of what signs, at <selector>._domainkey.<domain>. Providers sign by
//     themselves; [Options.DKIM] is for servers that do not.
//   - DMARC: a TXT record at _dmarc.<domain>, "v=DMARC1; p=reject", after the other two work. SPF or
//     DKIM must hold for the domain of From itself.
//
// Mails that cannot be delivered after all come back to EnvelopeFrom; somebody should read them.
package smtpmailer
