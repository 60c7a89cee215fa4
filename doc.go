// Package recovery lets people who forgot a password or a user name back into their accounts, and
// nobody else.
//
// It is account recovery for an application to embed: it knows nothing of sessions, log-in or
// registration, and starts no server. To a Go reader "recovery" is about panics; this is not.
//
// # Which call to use
//
// A [Service] has three calls, and a worker that does what they ask for:
//
//   - [Service.RequestReset], with a user name or an address, has a token mailed to the address on
//     file. With a portal it is a link to a page of yours, and with ResetRequest.Code a short code to
//     type stands beside it.
//   - [Service.CompleteReset], with the token and a new password, sets the password. A confirmation
//     mail follows. In the place of the token, the code and the ticket of the request will do.
//   - [Service.RetrieveUsername], with an address, has its user names mailed to it.
//   - [Service.Run] does the mailing. Start it once in a goroutine of yours, in every process or in
//     one; or call [Service.Deliver] from a cron job, or [Service.DeliverJob] from a job engine.
//     Without one of them nothing is ever mailed.
//
// [New] makes a Service of a [Store], which keeps accounts, tokens and the queue, and a [Mailer].
// Package memstore is a Store for tests and examples, package mailer renders mails, and package
// httpadapter serves the calls over HTTP. Importing this package imports none of them.
//
// # What a caller can learn
//
// Nothing about an account. RequestReset and RetrieveUsername look nothing up: they check the form
// of the request, count the limits of whoever asks, and insert one row, for every name alike. The
// worker finds out later whether somebody is meant, on a fixed tick that no request can hasten. The
// answer, the error, the limits and the calls of the Store are the same for an account that exists,
// does not, is disabled, or was asked for a moment ago. CompleteReset has one error for every token
// that cannot be used. [Hooks] get what the caller is not told.
//
// Nor does a caller learn it from what happens later. The worker has a number of places, and a
// request takes its place for as long as a mail takes, whether or not one leaves; if mails have to
// be tried again, so does it. So the time and order of other mails say nothing. What remains:
// somebody whose own mail server is much slower than most takes a place for longer, and a process
// that has just begun knows no mails yet.
//
// What a caller does learn: that a request is malformed, that a portal is not configured, that a
// password breaks the policy, and that the limit of its own networks or of everybody is reached.
//
// # Nobody is kept out
//
// Limits at the door are about who asks, never about who is meant. Limits on the mails to one
// person are counted by mails alone, when they are about to leave: a name that nobody has, a portal
// that says no and a request that is dropped use nothing up. So whoever is over them has a mail
// with a live token in the mailbox already. A network for which the mailbox was not mailed lately
// goes first: with the default [Limits] your request is mailed as long as fewer than 9 other
// networks ask for you.
//
// The queue has three lanes: mails that people wait for, notices, and calls of OnReset. Each has
// places of its own, so a mail server that hangs delays no call of OnReset, and the other way
// round. In the first lane, whoever asked for little goes before whoever asked for much, and what
// is new before what has waited for long. Under a flood of all that the door lets through, a
// person's mail leaves within a minute while Workers / (time of a mail, rounded up to Ticks) is at
// least what Limits.Global lets through; with slower mails it still goes before the requests of
// networks that have many waiting.
//
// # Tokens
//
// A token is 32 bytes from crypto/rand. It exists in the memory of the worker and in the mail; the
// Store keeps its SHA-256, and the queue no message at all. It is valid for 16 hours, once, for one
// account, and only while that account's password and address are what they were. A completed reset
// voids the account's other tokens. A newer mail voids, once it is accepted by the mail system, the
// older tokens that the same client network asked for; what others ask for leaves yours alive. A
// rejected password or [ErrBusy] leave a token alive, and so do [MaxTries] - 1 denials or wrong
// second factors.
//
// # Codes
//
// A code is eight letters ("WDJB-MJHT", without vowels), valid for 15 minutes. It works together
// with the [Ticket] of its own request, which RequestReset returns to whoever asked, for every name
// alike. So somebody who only reads the mail over a shoulder has no ticket, and somebody who asked
// for you has a ticket and [MaxTries] wrong codes of 20⁸. Keep the ticket in a cookie or the memory
// of an app. The Store has the ticket's SHA-256 while the request waits, and one digest of both
// after that: what remains is in SECURITY.md.
//
// # Tenants
//
// An application with several sets of accounts names one by ResetRequest.Tenant, a text of its own.
// An account is found by requests of its own tenant only, and hooks, messages and the limits of
// mailboxes are apart. A client's limits are one for all tenants.
//
// # Nothing is lost
//
// Every method of the Store is one transaction. An accepted request is stored before the call
// returns; a worker leases it, and if the worker dies another takes over. A password is never
// changed without its notice, and the call of Options.OnReset, being queued in the same
// transaction. A crash, or a mail system that answers too late, may repeat a mail. Requests that
// cannot be mailed for [Options.MaxRequestAge] are dropped, because nobody waits for them any more:
// a hook tells each, the log and [Service.Stats] how many. Notices are tried for a week, and
// OnReset until it returns nil.
//
// # Clocks
//
// Processes that share a database follow its clock: what one of them has by itself may be wrong,
// and a difference of more than a second is logged. See [Options.Now].
//
// # Whose account
//
// Identifiers are compared by [CanonicalUsername] and [CanonicalEmail], byte for byte, whatever the
// database's collation says. [Options.CanonicalUsername] may fold user names otherwise. Mail goes
// to the stored address, never to the one that was typed, and only for an account that is active
// and has a verified address: anything else is silence, and a hook. An account that has no password
// here gets no token, but is told where it logs in, unless Options.NoSignInMail is set. Several
// accounts of one address get one mail, with a token for each of at most ten. Of accounts whose
// names or addresses differ in case only, the one that is exactly as typed is meant, or else the
// one in lower case; the others hear nothing. If neither exists, nobody is mailed.
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
// accounts print as "[redacted]". From the text of foreign errors everything is taken out that the
// call knows. One thing is the application's to avoid: fmt ignores Format methods on unexported
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
