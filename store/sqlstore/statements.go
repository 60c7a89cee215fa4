package sqlstore

// statements are the SQL of a dialect. Each dialect has its own file, with the statements in this
// order and the default prefix of the tables. All dialects take the arguments in the same order.
type statements struct {
	lockDatabase string // takes the write lock of the whole database, if there is one

	lockJob      string // if it is leased
	findNewer    string // whether a mail of a newer request of the same client network was accepted
	setCharged   string
	insertResets string
	findReset    string // with the digest, or the next one; after the last comes the first
	redeem       string
	voidOthers   string

	ensureLimits string // makes rows to lock, if lockLimits does not
	lockLimits   string
	setLimits    string
	insertJobs   string
	flush        string // setLimits and insertJobs in one

	claimAgain string // jobs that were claimed before
	claimFresh string // jobs that were never claimed
	claimOne   string
	lease      string // only MySQL: the three above lock jobs, this leases them
	finish     string
	retry      string
	discard    string
	markMailed string
	supersede  string

	purgeLimits string
	purgeResets string
	purgeAhead  string // resets that a clock far ahead stored
	purgeJobs   string // makes jobs due that a clock far ahead put off

	stats string
	now   string // if the database has a clock of its own
}

// The columns that are read.
const (
	resetColumns = "digest, account_id, version, job_id, requester, requested_at, expires_at, ended"
	jobColumns   = "id, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client, requested_at, priority, charged, attempts, lease_id"
)

func statementsOf(d Dialect) statements {
	return map[Dialect]statements{PostgreSQL: postgresql, MySQL: mysql, SQLite: sqlite}[d]
}

// named returns the statements with the names of a store's tables.
func (s statements) named(n names) statements {
	for _, text := range []*string{
		&s.lockDatabase,
		&s.lockJob, &s.findNewer, &s.setCharged, &s.insertResets, &s.findReset, &s.redeem, &s.voidOthers,
		&s.ensureLimits, &s.lockLimits, &s.setLimits, &s.insertJobs, &s.flush,
		&s.claimAgain, &s.claimFresh, &s.claimOne, &s.lease, &s.finish, &s.retry, &s.discard, &s.markMailed, &s.supersede,
		&s.purgeLimits, &s.purgeResets, &s.purgeAhead, &s.purgeJobs,
		&s.stats, &s.now,
	} {
		*text = n.in(*text)
	}
	return s
}
