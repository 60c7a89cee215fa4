// Package catalogue has a test named TestAttack_S01_… for every row of the catalogue of attacks. It
// runs on every store and through every entry that the row concerns.
//
// The stores are memstore, SQLite, PostgreSQL and MariaDB, found as package databases of
// internal/systemtest/dbtest says. The entries are the Service itself, the Xandr format,
// Rackspace's JSON and XML, the JSON of NewJSON, and the pages of the portal. The mails of the
// Service itself have codes, and what must hold for a token is tested with its code, too. A request
// is driven to its end by hand (Service.Deliver), by a clock that the test sets, so nothing sleeps
// and nothing depends on the speed of a machine.
//
// # Rows
//
// testdata/rows.txt lists the rows. A test fails when one of them has no test in any package of the
// repository, or when a test names a row that is not in the list. notYet in ledger_test.go lists
// which parts of the catalogue are missing, and why. What the tests of this package did is counted
// while they run (ledger_test.go). A subtest that attacked nothing fails; and when all tests ran,
// so does a row's test without an attack, and a vector that nothing was attacked with.
//
// # Vectors
//
// testdata/*.jsonl holds what is sent, one JSON object per line, for use by others too:
//
//	row     the row of the list that the vector belongs to
//	what    what it is, in words
//	kind    "username" or "email", where value is an identifier for every entry
//	value   that identifier
//	entry   where body is for that entry alone: "Xandr", "Rackspace JSON", "Rackspace XML", "JSON"
//	        or "portal"
//	call    "reset", "names" or "complete": what the body asks for
//	types   the Content-Type headers of the body; the format's own if they are left out
//	header  further header lines
//	body    the body
//	hex     true if value and body are hexadecimal, because they are not UTF-8
//	repeat  how often value, or the first fill in body, is repeated
//	want    "malformed", "media type" and others: it is refused so, before any call of the Store;
//	        "too long": refused as malformed or as too large, likewise;
//	        "same": it is answered as a random unknown name is, and nobody gets mail;
//	        "either": malformed or same;
//	        "meant": the account victim gets its mail, at its own address, and nobody else does
//
// Accounts named in vectors are those of newSite in kit_test.go.
//
// # Tokens, races and passwords
//
// In tokens.jsonl and races.jsonl, value, body and header are templates. What stands for a token,
// or in row S20 for a value that is stored, is written "{}"; "{hex|upper}" is the same after the
// steps named:
//
//	upper lower capital reverse   letters, the first letter, the order
//	hex base32 base32hex base64 base64url percent wide sha256   another form of the bytes
//	unhex unbase32 unbase64       the bytes that are meant
//	head:5 tail:5                 the first five bytes, and what follows them
//	next:5                        the character at 5 replaced by the next one of the alphabet
//	fit fitright nodash nopad     cut or filled to 32 bytes, without "-", without "=" at the end
//
// There, the meaning of a field depends on the row: in S23 value is how the clock goes on, step by
// step; in S26 a user name; in S30 a path; in S31 a password, and want are the reasons; in S45 the
// text of an error; in S46 what happens to the account; in S47 and S48 how long. In passwords.jsonl
// value is a password (S80, S81 with the hash in body), a stored hash (S83), or a text that gets
// into a log (S84). Wants beside the outcomes: "refused" is any of malformed, weak password, bad
// token, media type and too large.
package catalogue
