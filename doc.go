// Package recovery lets people who forgot a password or a user name back into their accounts, and
// nobody else.
//
// It is account recovery for an application to embed, and has nothing to do with recovering from
// panics. It does not handle login, sessions or registration, and starts no server.
//
// # Which call to use
//
// A [Service] has four calls, and a worker that does what they ask for:
//
//   - [Service.RequestReset], with a user name or an address, has a token mailed to the address on
//     file. With a portal, the mail has a link to a page of yours instead. With ResetRequest.Code,
//     it also has a short code to type.
//   - [Service.CompleteReset], with the token and a new password, sets the password. A confirmation
//     mail follows. The code and the ticket of the request work in place of the token.
//   - [Service.CheckReset], with the token or code alone, says whether it still works, so that a
//     page can tell before somebody thinks up a password.
//   - [Service.RetrieveUsername], with an address, has its user names mailed to it.
//   - [Service.Run] does the mailing. Start it once in a goroutine of yours, in every process or in
//     one; or call [Service.Deliver] from a cron job, or [Service.DeliverJob] from a job engine.
//     Without one of them nothing is ever mailed.
//
// [New] makes a Service from a [Store], which keeps accounts, tokens and the queue, and a [Mailer].
// Package memstore is a Store for tests and examples, package mailer renders mails, and package
// httpadapter serves the calls over HTTP. Importing this package imports none of them.
//
// # What a caller can learn
//
// Nothing about an account. RequestReset and RetrieveUsername look nothing up: they check the form
// of the request, count against the limits of the caller, and insert one row, whatever the name.
// The worker looks the account up later, on a fixed tick that no request can hasten. The answer,
// the error, the limits and the calls of the Store are the same whether an account exists or not,
// is disabled, or was asked for a moment ago. CompleteReset has one error for every token that
// cannot be used. [Hooks] get what the caller is not told.
//
// Nor does a caller learn anything from later mails. The worker has a number of places. A request
// holds one for as long as a recent mail took, even if no mail leaves, and is tried again if that
// mail was. So the time and order of other mails say nothing. What remains: a mail to a
// server that is much slower than most takes a place for longer, and a process that has just begun
// knows no mails yet.
//
// What a caller does learn: that a request is malformed, that a portal is not configured, that a
// password breaks the policy, and that the limit of its own networks or of everybody is reached.
//
// # Nobody is kept out
//
// Limits on calls are about who asks, never about who is meant. Limits on the mails to one person
// count only mails that are about to leave: an unknown name, a portal that says no or a dropped
// request uses up nothing. So a person over these limits has been mailed live tokens; they are
// still there unless they were used, or outlived a short Options.TokenTTL. A network that caused no
// recent mail to the mailbox goes first: with the default [Limits] your request is mailed as long
// as fewer than 9 other networks ask for you.
//
// The queue has three lanes: mails that people wait for, notices, and calls of OnReset. Each has
// places of its own, so a mail server that hangs delays no call of OnReset, and the other way
// round. In the first lane, clients that asked for little go before those that asked for much;
// between equals, new requests go before old ones. Even if a flood uses up Limits.Global, a
// person's mail leaves within a minute, as long as Workers / (time of a mail, rounded up to Ticks)
// is at least the rate of Limits.Global. With slower mails it still goes before the requests of
// networks that have many waiting.
//
// # Tokens
//
// A token is 32 bytes from crypto/rand. It exists in the memory of the worker and in the mail; the
// Store keeps its SHA-256, and the queue keeps no messages. It is valid for 16 hours, once, for one
// account, and only until that account's password or address changes. A completed reset voids the
// account's other tokens. Once the mail system accepts a newer mail, the older tokens that the same
// client network asked for are void; what others ask for leaves yours alive. A token survives a
// rejected password, [ErrBusy], and [MaxTries] - 1 denials or wrong second factors.
//
// # Codes
//
// A code is eight letters ("WDJB-MJHT", without vowels), valid for 15 minutes. It works together
// with the [Ticket] of its own request, which RequestReset returns to whoever asked, for every name
// alike. So somebody who can read your mail but did not ask has no ticket. A stranger who asks
// for your account has a ticket, but only [MaxTries] tries among 20⁸ codes. Keep the ticket in a
// cookie or the memory of an app. The Store has the ticket's SHA-256 while the request waits, and
// one digest of both after that: SECURITY.md says what risk remains.
//
// # Tenants
//
// An application with several sets of accounts names one in ResetRequest.Tenant, a text of its
// choice. Only requests of its own tenant find an account. Hooks and messages name the tenant, and
// mailboxes have limits for each tenant. A client's limits are for all tenants together.
//
// # Nothing is lost
//
// Every method of the Store is one transaction. An accepted request is stored before the call
// returns; a worker leases it, and if the worker dies another takes over. The transaction that
// changes a password also queues its notice, and the call of Options.OnReset. A crash, or a mail
// system that answers too late, may repeat a mail. Requests that cannot be mailed for
// [Options.MaxRequestAge] are dropped, because nobody waits for them any more: a hook reports each
// one; the log and [Service.Stats] count them. Notices are tried for a week, and OnReset until it
// returns nil.
//
// # Clocks
//
// Processes that share a database follow its clock, so their own may be wrong. A difference of a
// second or more is logged. See [Options.Now].
//
// # Whose account
//
// Identifiers are compared by [CanonicalUsername] and [CanonicalEmail], byte for byte, whatever the
// database's collation says. [Options.CanonicalUsername] may fold user names differently. Mail goes
// to the stored address, never to the one that was typed, and only for an account that is active
// and has a verified address: all others get no mail, and a hook is told. An account that has no
// password here gets no token, but a mail that says where it logs in, unless Options.NoSignInMail
// is set. Several accounts of one address get one mail, with a token for each of at most ten. If
// the names or addresses of accounts differ only in case, the request means the one exactly as
// typed, or else the one in lower case. The others hear nothing. If neither exists, nobody is
// mailed.
//
// # Errors
//
// Match them with [errors.Is]: [ErrInvalidRequest], [ErrInvalidToken], [ErrInvalidPassword],
// [ErrLimited], [ErrDenied], [ErrChallenged], [ErrBusy]. An error of a Store, a Mailer or the
// application is wrapped, and [errors.As] finds it.
//
// # Secrets
//
// No error, no log line and no printed, logged or marshalled value of this package holds a token, a
// ticket, a code, a password, a second factor or an address: requests, receipts, messages and
// accounts print as "[redacted]". The secrets that a call knows are removed from the text of
// foreign errors. One thing is left to the application: fmt ignores Format methods on unexported
// fields, so a struct that keeps a [Message] or a [CompleteRequest] in one should not be printed. A
// [Token] and a [Ticket] are safe even there.
//
// # Further pages
//
// The folder docs has pages for operators (running.md), for implementers (accounts.md, store.md,
// formats.md, languages.md), and on how and why: architecture.md, threat-model.md, decisions.md,
// performance.md.
//
// # Compatibility
//
// Zero fields of [Options] mean documented defaults, which may become stricter in a minor version,
// with a line in the changelog. Types may get new fields: use names in composite literals.
package recovery
