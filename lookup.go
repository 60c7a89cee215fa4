package recovery

import (
	"context"
	"strings"

	"example.com/recovery/internal/normal"
)

const maxAccounts = 1000 // of one address

// meant returns the accounts that the request means and that may be mailed, all of one mailbox:
// those that may be recovered, and those that log in elsewhere.
func (d *delivery) meant(ctx context.Context) (accounts []Account, err error) {
	j := &d.job
	canonical, err := d.canonical(j.By, j.Identifier)
	if err != nil {
		d.drop(DropMalformed)
		return nil, nil
	}
	d.secrets = append(d.secrets, j.Identifier, canonical)
	found, err := boundedCall(ctx, d.Service, d.store.FindAccounts,
		AccountQuery{Tenant: j.Tenant, By: j.By, Typed: j.Identifier, Canonical: canonical, Max: maxAccounts + 1})
	if err != nil {
		return nil, err
	}
	for _, a := range d.matching(found[:min(len(found), maxAccounts)], canonical) {
		_, err := CanonicalEmail(a.Email)
		reason := DropReason("")
		switch {
		case !a.Active:
			reason = DropInactive
		case !a.HasPassword && d.opts.NoSignInMail:
			reason = DropNoPassword
		case !a.EmailVerified:
			reason = DropUnverified
		case err != nil:
			reason = DropBadAddress
		default:
			accounts = append(accounts, a)
			continue
		}
		d.event.Account = a
		d.drop(reason)
	}
	d.event.Account = Account{}
	if len(found) > maxAccounts && found[maxAccounts].Eligible() { // there may be more
		d.drop(DropTooManyFound)
	}
	return d.ofOneMailbox(accounts), nil
}

// ofOneMailbox returns the accounts if they share a mailbox. Accounts with different mailboxes are
// ambiguous, so nobody is mailed. An account without a password is left out if accounts with one
// have another mailbox.
func (d *delivery) ofOneMailbox(accounts []Account) (kept []Account) {
	for _, a := range accounts { // those with a password are first
		switch first := accounts[0]; {
		case spelling(ByEmail, a.Email) == spelling(ByEmail, first.Email):
			kept = append(kept, a)
		case a.HasPassword == first.HasPassword:
			d.drop(DropNamesake)
			return nil
		}
	}
	return kept
}

// matching returns those of the found accounts that the request means. The Store's comparison may
// be looser than ours, so each account is compared again. If several differ only in case, the
// request means the one exactly as typed, or else the one in lower case: the owners of the others
// must not learn of the request. Doubtful accounts count only if no others match: an unverified
// address proves nothing, and nobody types a name with white space around it.
func (d *delivery) matching(found []Account, canonical string) []Account {
	by := d.job.By
	certain, doubtful := map[string][]Account{}, map[string][]Account{}
	for _, a := range found {
		stored := a.Username
		isCertain := stored == normal.Trim(stored)
		if by == ByEmail {
			stored, isCertain = a.Email, a.EmailVerified
		}
		if a.Tenant != d.job.Tenant {
			continue
		}
		if c, err := d.canonical(by, stored); err != nil || c != canonical {
			continue
		}
		spelled := doubtful
		if isCertain {
			spelled = certain
		}
		spelled[spelling(by, stored)] = append(spelled[spelling(by, stored)], a)
	}
	spelled := certain
	if len(certain) == 0 {
		spelled = doubtful
	}
	for _, exact := range []string{spelling(by, d.job.Identifier), spelling(by, canonical)} {
		if accounts := spelled[exact]; len(accounts) > 0 {
			return accounts
		}
	}
	switch len(spelled) {
	case 0:
		d.drop(DropNoAccount)
	case 1:
		for _, accounts := range spelled {
			return accounts
		}
	default:
		d.drop(DropNamesake)
	}
	return nil
}

// spelling distinguishes identifiers that share a canonical form. In an address only the case
// before the @ may matter. A user name is not trimmed: an account named "alice " must not keep
// alice from being mailed.
func spelling(by IdentifierKind, s string) string {
	if by != ByEmail {
		return normal.NFC(s)
	}
	local, domain, _ := strings.Cut(normal.Trim(s), "@")
	domain, _ = canonicalDomain(domain)
	return normal.NFC(unquote(local)) + "@" + domain
}

// account returns the job's account as it is now, or only its ID if it is gone.
func (d *delivery) account(ctx context.Context) (Account, error) {
	a := Account{ID: d.job.AccountID, Tenant: d.job.Tenant}
	// It asks for more than one, because the Store's comparison may be loose for IDs too.
	found, err := boundedCall(ctx, d.Service, d.store.FindAccounts,
		AccountQuery{Tenant: a.Tenant, By: ByID, Typed: a.ID, Canonical: a.ID, Max: maxAccounts})
	if err != nil {
		return a, err
	}
	for _, f := range found {
		if f.ID == a.ID && f.Tenant == a.Tenant {
			a = f
		}
	}
	d.event.Account = a
	d.secrets = append(d.secrets, addresses(a.Email)...)
	return a, nil
}
