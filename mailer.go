package recovery

import (
	"context"
	"net/netip"
	"time"
)

// A Mailer hands messages to a mail system. Package mailer renders them.
type Mailer interface {
	// Send must return nil once a mail system has accepted responsibility for the message, and only
	// then. An error must wrap ErrPermanent when trying again is pointless, and ErrUncertain or
	// ctx's error when the mail may have been accepted after all: then its tokens stay alive. After
	// any other error they are void, and the mail is tried again later with new ones. Send must
	// return soon after ctx ends, must be safe for concurrent use, and must send to Message.To and
	// nobody else. Messages that share an ID are the same mail tried again.
	Send(ctx context.Context, m Message) error
}

// A MessageKind says what a [Message] tells its reader.
type MessageKind string

// The kinds of messages.
const (
	MessageResetToken      MessageKind = "reset_token"      // here is your token
	MessageResetLink       MessageKind = "reset_link"       // here is your link
	MessagePasswordChanged MessageKind = "password_changed" // your password was changed
	MessageUsernames       MessageKind = "usernames"        // these are your user names
	MessageSignIn          MessageKind = "sign_in"          // you log in elsewhere
)

// A Message is what a mail has to say; how it is worded is the Mailer's business. It prints as
// "[redacted]".
type Message struct {
	redacted

	ID            string // stable across retries of the same mail, unique otherwise
	Kind          MessageKind
	To            string         // the stored address of the account
	Tenant        string         // of the accounts
	Locale        string         // BCP 47 tags, separated by commas: the account's, then the request's
	Application   string         // Options.Application
	Usernames     []string       // of MessageUsernames and MessagePasswordChanged
	MoreNames     int            // how many user names were left out of Usernames
	Resets        []MessageReset // of MessageResetToken and MessageResetLink: from 1 to 10
	MoreResets    int            // how many accounts were left out of Resets
	SignIns       []SignIn       // at most 10; never in MessagePasswordChanged; at least 1 in MessageSignIn
	MoreSignIns   int            // how many accounts were left out of SignIns
	ExpiresAt     time.Time      // when the tokens end
	CodesExpireAt time.Time      // when the codes end, the zero time if there are none
	SentAt        time.Time      // when this try to send the mail began
	RequestedAt   time.Time      // when the mail was asked for, or the password changed
	Client        netip.Addr     // who asked, the zero Addr if unknown
}

// A MessageReset is what a mail has for one account.
type MessageReset struct {
	redacted

	Username string // "" if the account has none
	Token    Token
	Link     string // set for MessageResetLink; contains the token
	Code     string // as people type it, "WDJB-MJHT"; "" unless it was asked for
}

// A SignIn is an account that has no password here.
type SignIn struct {
	redacted

	Username string // "" if the account has none
	Provider string // where it logs in, see Account.SignIn; may be ""
}
