package recovery

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// sendResets sends one mail with a token for each account, or with where they log in.
func (j *job) sendResets(ctx context.Context, accounts []Account) error {
	portal, byLink := j.opts.Portals[j.job.Portal]
	if !byLink && j.job.Portal != "" || !portal.isFor(j.job.Tenant) {
		j.drop(DropPortal) // it was configured when the request was made
		return nil
	}
	allowed, rest, err := j.allowed(ctx, portal, accounts)
	if err != nil || len(allowed) == 0 {
		return err
	}
	m := j.message(MessageSignIn, allowed[0])
	resets, byAccount := j.newResets(&m, allowed)
	if len(resets) > 0 {
		m.Kind = MessageResetToken
	}
	superseded, admitted, err := j.admit(ctx, m.Kind, allowed[0], resets)
	if err != nil || !admitted {
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
	if err := j.send(ctx, m); err != nil {
		return err
	}
	j.outcome.MailedAccountIDs, j.outcome.Requester = mailed, j.requester()
	return nil
}

// newResets makes a token for each account that has a password, and a code if one was asked for. It
// returns what the Store gets, and what the mail m gets by account ID.
func (j *job) newResets(m *Message, accounts []Account) (resets []Reset, byAccount map[string]MessageReset) {
	byAccount = map[string]MessageReset{}
	withCode := j.job.Ticket != Digest{}
	add := func(a Account, digest Digest, ttl time.Duration) time.Time {
		r := Reset{
			Digest: digest, AccountID: a.ID, Version: a.Version, JobID: j.job.ID,
			Requester: j.requester(), RequestedAt: j.job.RequestedAt, ExpiresAt: j.at.Add(ttl),
		}
		resets = append(resets, r)
		// The resets of an attempt are deleted unless its mail may have left.
		j.outcome.Discard = append(j.outcome.Discard, digest)
		return r.ExpiresAt
	}
	for _, a := range accounts {
		if !a.HasPassword {
			continue
		}
		r := MessageReset{Username: a.Username, Token: newToken()}
		j.secrets = append(j.secrets, r.Token.Reveal())
		m.ExpiresAt = add(a, r.Token.Digest(), j.opts.TokenTTL)
		if withCode {
			code := newCode(j.codeLength)
			r.Code = groupCode(code)
			j.secrets = append(j.secrets, code, r.Code)
			m.CodesExpireAt = add(a, codeDigest(j.job.Ticket, code), min(j.opts.CodeTTL, j.opts.TokenTTL))
		}
		byAccount[a.ID] = r
	}
	return resets, byAccount
}

// requester is the digest of the client network that asked.
func (j *job) requester() Digest {
	return limitKey("requester", ScopeClient, requesterNetwork(j.job.Client))
}

// allowed returns the first accounts that may have a link to the portal, and those after them that
// were not looked at.
func (j *job) allowed(ctx context.Context, portal Portal, accounts []Account) (allowed, rest []Account, err error) {
	for i, a := range accounts {
		if len(allowed) == maxResets || i == maxAsked {
			rest = accounts[i:]
			break
		}
		j.event.Account = a
		if portal.Allow != nil {
			j.secrets = append(j.secrets, addresses(a.Email)...)
			ok, err := portal.Allow(ctx, a)
			if err != nil {
				return nil, nil, err
			}
			if !ok {
				j.drop(DropPortal)
				continue
			}
		}
		allowed = append(allowed, a)
	}
	if len(allowed) > 0 {
		j.event.Account = allowed[0]
	}
	return allowed, rest, nil
}

// admit stores the resets of a mail and counts it against the limits of its mailbox. A mailbox over
// them is not mailed, and only the hooks are told.
func (j *job) admit(ctx context.Context, kind MessageKind, to Account, resets []Reset) (superseded []string, ok bool, err error) {
	j.event.Account = to
	j.secrets = append(j.secrets, addresses(to.Email)...)
	batch := ResetBatch{JobID: j.job.ID, LeaseID: j.job.LeaseID, At: j.at, Resets: resets}
	if limits := &j.opts.Limits; !limits.InsecureOff {
		mailbox, err := CanonicalEmail(to.Email)
		if err != nil {
			return nil, false, err
		}
		if len(resets) > 0 {
			batch.Charges = limits.resetCharges(j.job.Tenant, mailbox, requesterNetwork(j.job.Client), resets)
		} else {
			batch.Charges = limits.otherCharges(j.job.Tenant, mailbox, kind)
		}
		j.outcome.Refund = batch.Charges
	}
	err = j.foreground(ctx, func(ctx context.Context) (err error) {
		superseded, err = j.store.CreateResets(ctx, batch)
		return err
	})
	if limited, ok := errors.AsType[*LimitError](err); ok {
		event := j.event
		event.Err = limited
		j.told = append(j.told, func() { emit(&j.events, routine, j.opts.Hooks.JobThrottled, event) })
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	alive := func(r Reset) bool { return !slices.Contains(superseded, r.AccountID) }
	if len(resets) > 0 && !slices.ContainsFunc(resets, alive) {
		j.drop(DropSuperseded)
		return nil, false, nil
	}
	return superseded, true, nil
}

func (j *job) sendUsernames(ctx context.Context, accounts []Account) error {
	reader := accounts[0]
	for _, a := range accounts {
		reader.Locale = cmp.Or(reader.Locale, a.Locale)
	}
	m := j.message(MessageUsernames, reader)
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
		j.drop(DropNoUsername)
		return nil
	}
	_, admitted, err := j.admit(ctx, m.Kind, reader, nil)
	if err != nil || !admitted {
		return err
	}
	return j.send(ctx, m)
}
