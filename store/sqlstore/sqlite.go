package sqlstore

var sqlite = statements{
	// A transaction that reads first and writes later fails if another wrote in between. One that
	// begins with a write, even of no row, waits for its turn.
	lockDatabase: `UPDATE recovery_limits SET tat = tat WHERE id = x''`,

	lockJob: `SELECT requested_at, charged FROM recovery_jobs WHERE id = ? AND lease_id = ?`,
	findNewer: `SELECT EXISTS (SELECT 1 FROM recovery_resets WHERE account_id = ? AND requester = ? AND mailed = 1
		AND requested_at <= ? AND (requested_at > ? OR requested_at = ? AND job_id > ?))`,
	setCharged: `UPDATE recovery_jobs SET charged = ? WHERE id = ?`,
	insertResets: `INSERT INTO recovery_resets (digest, account_id, version, job_id, requester, requested_at, expires_at)
		VALUES {(?, ?, ?, ?, ?, ?, ?)}`,
	findReset: `SELECT ` + resetColumns + ` FROM recovery_resets WHERE digest = coalesce(
		(SELECT digest FROM recovery_resets WHERE digest >= ? ORDER BY digest LIMIT 1),
		(SELECT digest FROM recovery_resets WHERE digest >= x'' ORDER BY digest LIMIT 1))`,
	redeem:     `UPDATE recovery_resets SET ended = 'used' WHERE digest = ? AND ended = '' AND expires_at > ?`,
	voidOthers: `UPDATE recovery_resets SET ended = 'voided' WHERE account_id = ? AND ended = ''`,

	lockLimits: `SELECT id, tat FROM recovery_limits WHERE id IN ({?})`,
	setLimits:  `INSERT INTO recovery_limits (id, tat, slot) VALUES {(?, ?, ?)} ON CONFLICT (id) DO UPDATE SET tat = excluded.tat, slot = excluded.slot`,
	insertJobs: `INSERT INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client, requested_at, priority, order_at)
		VALUES {(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}`,

	claimAgain: `UPDATE recovery_jobs SET lease_id = ?, fresh = 0, order_at = ?, attempts = attempts + 1
		WHERE id IN (SELECT id FROM recovery_jobs WHERE lane = ? AND fresh = 0 AND order_at <= ? ORDER BY order_at LIMIT ?)
		RETURNING ` + jobColumns,
	claimFresh: `UPDATE recovery_jobs SET lease_id = ?, fresh = 0, order_at = ?, attempts = attempts + 1
		WHERE id IN (SELECT id FROM recovery_jobs WHERE lane = ? AND fresh = 1 ORDER BY order_at DESC LIMIT ?)
		RETURNING ` + jobColumns,
	claimOne: `UPDATE recovery_jobs SET lease_id = ?, fresh = 0, order_at = ?, attempts = attempts + 1
		WHERE id = ? AND (lease_id = '' OR order_at <= ?)
		RETURNING ` + jobColumns,
	finish:     `DELETE FROM recovery_jobs WHERE id = ? AND lease_id = ?`,
	retry:      `UPDATE recovery_jobs SET lease_id = '', order_at = ? WHERE id = ? AND lease_id = ?`,
	discard:    `DELETE FROM recovery_resets WHERE digest IN ({?})`,
	markMailed: `UPDATE recovery_resets SET mailed = 1 WHERE account_id = ? AND job_id = ?`,
	supersede: `UPDATE recovery_resets SET ended = 'superseded' WHERE account_id = ? AND requester = ? AND ended = ''
		AND (requested_at < ? OR requested_at = ? AND job_id < ?)`,

	purgeLimits: `DELETE FROM recovery_limits WHERE id IN (SELECT id FROM recovery_limits WHERE slot <= ? AND tat <= ? LIMIT ?)`,
	purgeResets: `DELETE FROM recovery_resets WHERE digest IN (SELECT digest FROM recovery_resets WHERE expires_at <= ? LIMIT ?)`,
	purgeAhead:  `DELETE FROM recovery_resets WHERE digest IN (SELECT digest FROM recovery_resets WHERE expires_at > ? LIMIT ?)`,
	purgeJobs: `UPDATE recovery_jobs SET order_at = ? WHERE id IN (SELECT id FROM recovery_jobs
		WHERE lane IN ('mail', 'notice', 'on_reset') AND fresh = 0 AND order_at > ? LIMIT ?)`,

	stats: `SELECT lane, COUNT(*), MIN(requested_at) FROM recovery_jobs GROUP BY lane`,
}
