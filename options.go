package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"time"

	"example.com/recovery/internal/invisible"
)

// Options configure a [Service]. The zero value of every field is its documented, safe default, and
// nil Options are the zero Options.
type Options struct {
	// Application is the name of the product, for the mails. New passwords must not contain it.
	Application string

	// TokenTTL is how long a token is valid: default 16 hours, from 1 minute to 24 hours.
	TokenTTL time.Duration
	// CodeTTL is how long a code is valid, but never longer than TokenTTL: from 1 to 15 minutes,
	// default 15.
	CodeTTL time.Duration

	// CanonicalUsername, if set, is used in place of the function [CanonicalUsername]: an
	// application that folds more must find its accounts by the result, too. It gets a name in NFC
	// without surrounding white space, must return its own results unchanged, and must always
	// return the same for one name. A name for which it returns "" is refused.
	CanonicalUsername func(username string) string

	// Policy is the rule for new passwords; nil is the default rule.
	Policy *Policy

	// Hasher turns a new password into what the Store keeps; default [HashPassword], which is
	// argon2id. The application's log-in must understand it. With package sqlstore set its
	// Options.HashLength to the length of these hashes: 60 for [Bcrypt].
	Hasher Hasher
	// HashConcurrency is how many passwords are hashed at once: default GOMAXPROCS, at most 1,024.
	// Each default hash takes 19 MiB. One more such block may be waiting for collection; with a
	// live heap above 256 MiB there may be more.
	HashConcurrency int
	// HashWait is how long a completion waits for another one with its token, and then for its turn
	// to hash, before it gets ErrBusy: default 5 seconds.
	HashWait time.Duration

	Limits Limits

	// Portals are the pages that a request may name. An entry for the empty name makes links the
	// default; without one a request that names no portal gets the bare token by mail. Where there
	// are several, each must have Tenants or Allow.
	Portals map[string]Portal

	// Approve, if set, decides on a completion: a second factor, an administrator. It is called for
	// a live token and a password that meets the policy (Policy.Check comes later), before the
	// token is used. An error that wraps ErrDenied denies the completion. A [*ChallengeError] asks
	// for a second factor, or for a better one than request.Factor, which the application checks
	// itself. A [*PasswordError] rejects the password. Any other error is a failure, and the caller
	// gets it. A token dies after MaxTries denials and wrong Factors, over all clients and
	// instances; a missing Factor costs nothing.
	//
	// Of the handlers of this module only httpadapter.NewJSON has a field for a factor. With
	// package portal, replace its page "reset" by one of your own that has the field; it has an
	// Example.
	//
	// Later steps may fail too: Policy.Check, a hash that waits for too long, the Store. Approve is
	// then called again with the same token. So remember for a few minutes, under a digest of
	// request.Token or request.Ticket, that a one-time factor was given, or the person needs
	// another one. Token is the bare token here, however it was pasted; it is "" with a code, which
	// comes with its Ticket.
	Approve func(ctx context.Context, account Account, request CompleteRequest) error

	// OnReset, if set, is called after a password was reset, to end sessions and revoke API tokens.
	// The worker calls it from the durable queue until it returns nil, so it may be called more
	// than once and on another machine. If the account is gone by then, only its ID and Tenant are
	// set.
	OnReset func(ctx context.Context, account Account) error

	// NoSignInMail sends nothing to accounts without a password. By default an active one with a
	// verified address gets a mail that says where it logs in, see Account.SignIn.
	NoSignInMail bool

	Hooks Hooks

	// Logger gets what operators must see; default slog.Default(). No token, password or address is
	// ever logged.
	Logger *slog.Logger

	// Now is the clock; default time.Now. If the Store has a clock, the Service follows that one
	// instead. A Now that differs by more than an hour is taken for a test clock and kept.
	Now func() time.Time

	// StoreTimeout bounds one call of the Store: default 5 seconds, from 100 ms to 10 seconds. A
	// caller who has to wait longer gets an error, whoever was named.
	StoreTimeout time.Duration

	// Tick is how often the worker looks for work: default 250 ms, from 10 ms to 1 minute. The
	// worker is never woken by a request, because the wake-up would show in the time of an answer.
	Tick time.Duration
	// Workers is how many mails that people wait for are handled at once: default 36, at most 256;
	// Run has two places at least. A quarter as many places, at least one, are for notices, and as
	// many for calls of OnReset. The Mailer should be able to send Workers × 5/4 mails at once: if
	// mails queue inside it, the delay of one reveals the other.
	//
	// A request takes a place for as long as a mail takes, in whole Ticks, even if no mail leaves.
	// So Workers / (time of a mail, rounded up to Ticks) should not be less than the rate of
	// Limits.Global. A mail of one second takes 5 Ticks with the calls of the Store, so with the
	// defaults 36 places handle 28 requests a second, and Global lets 20 through.
	Workers int
	// SendTimeout bounds the context of one call of Mailer.Send or OnReset: default 30 seconds,
	// from 1 second to 10 minutes. Another worker takes over the jobs of a crashed one after 4
	// times as long.
	SendTimeout time.Duration
	// MaxRequestAge is how long a request that could not be mailed is tried: default 1 hour, from 1
	// minute to 24 hours. Nobody waits longer, and a late mail confuses its reader. A notice is
	// tried for a week, and OnReset until it returns nil.
	MaxRequestAge time.Duration
}

// Limits bound how often the calls may be made, and how often one person is mailed. See [Limit] for
// what one means. A zero Limit is the default.
//
// The first three are about who asks, whoever is meant, and are told to the caller. A client is an
// IPv4 address or an IPv6 /64; an IPv6 /56 has four times its limit and a /48 sixteen times. An
// IPv4 address inside NAT64, 6to4 or Teredo counts as itself. All calls without a Client count as
// one client.
//
// The others are about who is mailed, and only a hook is told. Only a mail that is about to leave
// counts: a person over these limits has had such mails, whose tokens are alive until they are used
// or TokenTTL is over. A client network is an IPv4 address or an IPv6 /48.
type Limits struct {
	// PerClient limits RequestReset and RetrieveUsername together, per client: default 20 at once,
	// then one per 30 seconds.
	PerClient Limit

	// Global limits RequestReset and RetrieveUsername together, over all clients and all instances
	// that share the Store: default 500 at once, then one per 50 ms. See Options.Workers.
	Global Limit

	// CompletePerClient limits CompleteReset and CheckReset together, per client: default 20 at
	// once, then one per 30 seconds.
	CompletePerClient Limit

	// PerAccount limits the tokens for one account and client network: default one a minute.
	PerAccount Limit

	// PerRequester limits the mails with tokens to one mailbox for one client network: default 6 at
	// once, then one an hour.
	PerRequester Limit

	// PerMailbox limits the mails with tokens to one mailbox, whoever asks: default 10 at once,
	// then one per 6 minutes. A network for which the mailbox was mailed within the hour causes
	// another mail only while at most one of the 10 is used up.
	PerMailbox Limit

	// UsernamesPerMailbox limits the mails with user names to one mailbox, whoever asks: default
	// one an hour. Mails that only say where one logs in have the same limit, counted separately.
	// Neither uses up the limits of mails with tokens.
	UsernamesPerMailbox Limit

	// InsecureOff switches all limits off, for load tests.
	InsecureOff bool
}

const (
	maxStoreTimeout = 10 * time.Second
	maxLimit        = 365 * 24 * time.Hour // Burst × Every
)

// settings returns the options with every default filled in, or every fault in one error.
func (o *Options) settings() (Options, error) {
	var s Options
	if o != nil {
		s = *o
	}
	policy := s.Policy.withDefaults()
	policy.Words = slices.Clone(policy.Words)
	if most := s.Hasher.MaxBytes; most > 0 {
		policy.MaxBytes = min(policy.MaxBytes, most)
	}
	s.Policy = &policy
	s.Portals = maps.Clone(s.Portals)
	setDefault(&s.TokenTTL, 16*time.Hour)
	setDefault(&s.CodeTTL, maxCodeTTL)
	setDefault(&s.HashConcurrency, runtime.GOMAXPROCS(0))
	setDefault(&s.HashWait, 5*time.Second)
	setDefault(&s.Tick, 250*time.Millisecond)
	setDefault(&s.StoreTimeout, 5*time.Second)
	setDefault(&s.Workers, 36)
	setDefault(&s.SendTimeout, 30*time.Second)
	setDefault(&s.MaxRequestAge, time.Hour)
	setDefault(&s.Limits.PerClient, Limit{20, 30 * time.Second})
	setDefault(&s.Limits.Global, Limit{500, 50 * time.Millisecond})
	setDefault(&s.Limits.CompletePerClient, Limit{20, 30 * time.Second})
	setDefault(&s.Limits.PerAccount, Limit{1, time.Minute})
	setDefault(&s.Limits.PerRequester, Limit{6, time.Hour})
	setDefault(&s.Limits.PerMailbox, Limit{10, 6 * time.Minute})
	setDefault(&s.Limits.UsernamesPerMailbox, Limit{1, time.Hour})
	if s.Logger == nil {
		s.Logger = slog.Default()
	}

	var f faults
	between := func(name string, v, least, most time.Duration) {
		f.unless(v >= least && v <= most, "%s must be from %v to %v, is %v", name, least, most, v)
	}
	between("TokenTTL", s.TokenTTL, time.Minute, 24*time.Hour)
	between("CodeTTL", s.CodeTTL, time.Minute, maxCodeTTL)
	between("HashWait", s.HashWait, time.Millisecond, 10*time.Minute)
	between("Tick", s.Tick, 10*time.Millisecond, time.Minute)
	between("StoreTimeout", s.StoreTimeout, 100*time.Millisecond, maxStoreTimeout)
	between("SendTimeout", s.SendTimeout, time.Second, 10*time.Minute)
	between("MaxRequestAge", s.MaxRequestAge, time.Minute, 24*time.Hour)
	f.unless(s.HashConcurrency >= 1 && s.HashConcurrency <= 1024, "HashConcurrency must be from 1 to 1024, is %d", s.HashConcurrency)
	f.unless(s.Hasher.fault == "", "Hasher %s", s.Hasher.fault)
	f.unless(s.Hasher.MaxBytes >= 0, "Hasher.MaxBytes must not be negative, is %d", s.Hasher.MaxBytes)
	f.unless(s.Workers >= 1 && s.Workers <= 256, "Workers must be from 1 to 256, is %d", s.Workers)
	f.unless(!invisible.In(s.Application), "Application must be one line of visible text")
	policy.addFaults(&f)
	s.Limits.addFaults(&f)
	for _, name := range slices.Sorted(maps.Keys(s.Portals)) {
		p := s.Portals[name]
		p.addFaults(&f, name)
		f.unless(len(s.Portals) == 1 || p.Allow != nil || len(p.Tenants) > 0, "Portals[%q] must have Tenants or Allow, as there are several: "+
			"a caller may name any of them for any account, and these say which accounts it is for; Tenants of []string{\"\"} are all accounts without a tenant", name)
	}
	return s, errors.Join(f...)
}

// faults are what is wrong with the options.
type faults []error

func (f *faults) unless(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf("recovery: Options."+format, args...))
	}
}

// Options returns the options in force, with every default filled in, for pages that show people
// the rules. Changing them changes nothing.
func (s *Service) Options() Options {
	o := s.opts
	policy := *o.Policy
	policy.Words = slices.Clone(policy.Words)
	o.Policy = &policy
	o.Portals = maps.Clone(o.Portals)
	for name, p := range o.Portals {
		p.Tenants = slices.Clone(p.Tenants)
		o.Portals[name] = p
	}
	return o
}

func setDefault[T comparable](field *T, value T) { *field = cmp.Or(*field, value) }

func (l Limits) addFaults(f *faults) {
	check := func(name string, l Limit) {
		inRange := l.Burst >= 1 && l.Burst <= 1_000_000 && l.Every >= time.Microsecond && l.Every <= 24*time.Hour && l.Every%time.Microsecond == 0
		f.unless(inRange, "Limits.%s must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is %d and %v", name, l.Burst, l.Every)
		f.unless(!inRange || l.Every <= maxLimit/time.Duration(l.Burst), "Limits.%s must have a Burst × Every of at most 365 days, is %d and %v", name, l.Burst, l.Every)
	}
	check("PerClient", l.PerClient)
	check("Global", l.Global)
	check("CompletePerClient", l.CompletePerClient)
	check("PerAccount", l.PerAccount)
	check("PerRequester", l.PerRequester)
	check("PerMailbox", l.PerMailbox)
	check("UsernamesPerMailbox", l.UsernamesPerMailbox)
}
