package recovery

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

const (
	maxNames  = 50 // in one mail
	maxResets = 10 // in one mail
	maxAsked  = 50 // accounts of one address that Portal.Allow is asked about
)

// sendResets sends one mail with a token for each account, or with where they log in.
func (d *delivery) sendResets(ctx context.Context, accounts []Account) error {
	portal, byLink := d.opts.Portals[d.job.Portal]
	if !byLink && d.job.Portal != "" || !portal.isFor(d.job.Tenant) {
		d.drop(DropPortal) // it was configured when the request was made
		return nil
	}
	allowed, rest, err := d.allowed(ctx, portal, accounts)
	if err != nil || len(allowed) == 0 {
		return err
	}
	m := d.message(MessageSignIn, allowed[0])
	resets, byAccount := d.newResets(&m, allowed)
	if len(resets) > 0 {
		m.Kind = MessageResetToken
	}
	superseded, ok, err := d.createResets(ctx, m.Kind, allowed[0], resets)
	if err != nil || !ok {
		return err
	}
	var mailed []string
	for _, a := range allowed {
		reset := byAccount[a.ID]
		switch {
		case !a.HasPassword:
			m.SignIns = append(m.SignIns, SignIn{Username: a.Username, Provider: a.SignIn})
			continue
		case slices.Contains(superseded, a.ID):
			continue
		case byLink:
			m.Kind = MessageResetLink
			reset.Link = portal.URL + "#token=" + reset.Token.Reveal()
		}
		m.Resets = append(m.Resets, reset)
		mailed = append(mailed, a.ID)
	}
	for _, a := range rest {
		if a.HasPassword {
			m.MoreResets++
		} else {
			m.MoreSignIns++
		}
	}
	if err := d.send(ctx, m); err != nil {
		return err
	}
	d.outcome.MailedAccountIDs, d.outcome.Requester = mailed, d.requester()
	return nil
}

// newResets makes a token for each account that has a password, and a code if one was asked for. It
// returns what the Store gets, and what the mail m gets by account ID.
func (d *delivery) newResets(m *Message, accounts []Account) (resets []Reset, byAccount map[string]MessageReset) {
	byAccount = map[string]MessageReset{}
	withCode := d.job.Ticket != Digest{}
	add := func(a Account, digest Digest, ttl time.Duration) time.Time {
		r := Reset{
			Digest: digest, AccountID: a.ID, Version: a.Version, JobID: d.job.ID,
			Requester: d.requester(), RequestedAt: d.job.RequestedAt, ExpiresAt: d.at.Add(ttl),
		}
		resets = append(resets, r)
		d.created = append(d.created, digest)
		return r.ExpiresAt
	}
	for _, a := range accounts {
		if !a.HasPassword {
			continue
		}
		r := MessageReset{Username: a.Username, Token: newToken()}
		d.secrets = append(d.secrets, r.Token.Reveal())
		m.ExpiresAt = add(a, r.Token.Digest(), d.opts.TokenTTL)
		if withCode {
			code := newCode(d.codeLength)
			r.Code = groupCode(code)
			d.secrets = append(d.secrets, code, r.Code)
			m.CodesExpireAt = add(a, codeDigest(d.job.Ticket, code), min(d.opts.CodeTTL, d.opts.TokenTTL))
		}
		byAccount[a.ID] = r
	}
	return resets, byAccount
}

// requester is the digest of the client network that asked.
func (d *delivery) requester() Digest {
	return limitKey("requester", ScopeClient, requesterNetwork(d.job.Client))
}

// allowed returns the first accounts that may have a link to the portal, and the rest, which it did
// not look at.
func (d *delivery) allowed(ctx context.Context, portal Portal, accounts []Account) (allowed, rest []Account, err error) {
	for i, a := range accounts {
		if len(allowed) == maxResets || i == maxAsked {
			rest = accounts[i:]
			break
		}
		d.event.Account = a
		if portal.Allow != nil {
			d.secrets = append(d.secrets, addresses(a.Email)...)
			ok, err := portal.Allow(ctx, a)
			if err != nil {
				return nil, nil, err
			}
			if !ok {
				d.drop(DropPortal)
				continue
			}
		}
		allowed = append(allowed, a)
	}
	if len(allowed) > 0 {
		d.event.Account = allowed[0]
	}
	return allowed, rest, nil
}

// createResets stores the resets of a mail and counts it against the limits of its mailbox. A
// mailbox over them is not mailed, and only the hooks are told.
func (d *delivery) createResets(ctx context.Context, kind MessageKind, to Account, resets []Reset) (superseded []string, ok bool, err error) {
	d.event.Account = to
	d.secrets = append(d.secrets, addresses(to.Email)...)
	batch := ResetBatch{JobID: d.job.ID, LeaseID: d.job.LeaseID, At: d.at, Resets: resets}
	if limits := &d.opts.Limits; !limits.InsecureOff {
		mailbox, err := CanonicalEmail(to.Email)
		if err != nil {
			return nil, false, err
		}
		if len(resets) > 0 {
			batch.Charges = limits.resetMailCharges(d.job.Tenant, mailbox, requesterNetwork(d.job.Client), resets)
		} else {
			batch.Charges = limits.otherMailCharges(d.job.Tenant, mailbox, kind)
		}
		d.charged = batch.Charges
	}
	superseded, err = boundedCall(ctx, d.Service, d.store.CreateResets, batch)
	if limited, ok := errors.AsType[*LimitError](err); ok {
		event := d.event
		event.Err = limited
		d.atEnd = append(d.atEnd, func() { emit(&d.events, routine, d.opts.Hooks.JobThrottled, event) })
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	alive := func(r Reset) bool { return !slices.Contains(superseded, r.AccountID) }
	if len(resets) > 0 && !slices.ContainsFunc(resets, alive) {
		d.drop(DropSuperseded)
		return nil, false, nil
	}
	return superseded, true, nil
}

func (d *delivery) sendUsernames(ctx context.Context, accounts []Account) error {
	reader := accounts[0]
	for _, a := range accounts {
		reader.Locale = cmp.Or(reader.Locale, a.Locale)
	}
	m := d.message(MessageUsernames, reader)
	for _, a := range accounts {
		switch {
		case !a.HasPassword && len(m.SignIns) < maxResets:
			m.SignIns = append(m.SignIns, SignIn{Username: a.Username, Provider: a.SignIn})
		case !a.HasPassword:
			m.MoreSignIns++
		case a.Username == "":
		case len(m.Usernames) < maxNames:
			m.Usernames = append(m.Usernames, a.Username)
		default:
			m.MoreNames++
		}
	}
	switch {
	case len(m.Usernames) > 0:
	case len(m.SignIns) > 0:
		m.Kind = MessageSignIn
	default:
		d.drop(DropNoUsername)
		return nil
	}
	_, ok, err := d.createResets(ctx, m.Kind, reader, nil)
	if err != nil || !ok {
		return err
	}
	return d.send(ctx, m)
}
