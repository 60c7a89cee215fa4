package recovery

// A Ticket is the secret of whoever asked: 32 bytes from crypto/rand. A code completes a reset only
// together with the ticket of its own request. It prints, logs and marshals as "[redacted]";
// [Ticket.Reveal] is the only way to its text.
type Ticket struct {
	redacted
	secret Token // the same form, another purpose
}

// ticketOf returns the ticket with the given text, or a new one if the text is no ticket.
func ticketOf(text string) Ticket {
	secret, err := ParseToken(text)
	if err != nil {
		secret = newToken()
	}
	return Ticket{secret: secret}
}

// Reveal returns the text of the ticket for [CompleteRequest], or "" for the zero Ticket.
func (t Ticket) Reveal() string { return t.secret.Reveal() }

// IsZero reports whether t is the zero Ticket.
func (t Ticket) IsZero() bool { return t.secret.IsZero() }
