package sqlstore

// MySQL counts changed rows, or, if the driver is set so, found rows. Every update here changes all
// rows that it finds, so that the counts are equal.
var mysql = statements{
	lockJob: `SELECT requested_at, charged FROM recovery_jobs WHERE id = ? AND lease_id = ? FOR UPDATE`,
	findNewer: `SELECT EXISTS (SELECT 1 FROM recovery_resets WHERE account_id = ? AND requester = ? AND mailed = 1
		AND requested_at <= ? AND (requested_at > ? OR requested_at = ? AND job_id > ?))`,
	setCharged: `UPDATE recovery_jobs SET charged = ? WHERE id = ?`,
	insertResets: `INSERT INTO recovery_resets (digest, account_id, version, job_id, requester, requested_at, expires_at)
		VALUES {(?, ?, ?, ?, ?, ?, ?)}`,
	findReset: `SELECT ` + resetColumns + ` FROM recovery_resets WHERE digest = coalesce(
		(SELECT digest FROM recovery_resets WHERE digest >= ? ORDER BY digest LIMIT 1),
		(SELECT digest FROM recovery_resets WHERE digest >= '' ORDER BY digest LIMIT 1))`,
	redeem:     `UPDATE recovery_resets SET ended = 'used' WHERE digest = ? AND ended = '' AND expires_at > ?`,
	voidOthers: `UPDATE recovery_resets SET ended = 'voided' WHERE account_id = ? AND ended = ''`,

	// Locking a missing row would lock the gap, and two transactions that do so would deadlock.
	ensureLimits: `INSERT INTO recovery_limits (id, tat, slot) VALUES {(?, 0, 0)} ON DUPLICATE KEY UPDATE tat = tat`,
	lockLimits:   `SELECT id, tat FROM recovery_limits WHERE id IN ({?}) FOR UPDATE`,
	setLimits:    `INSERT INTO recovery_limits (id, tat, slot) VALUES {(?, ?, ?)} ON DUPLICATE KEY UPDATE tat = VALUES(tat), slot = VALUES(slot)`,
	insertJobs: `INSERT INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client, requested_at, priority, order_at)
		VALUES {(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}`,

	claimAgain: `SELECT ` + jobColumns + ` FROM recovery_jobs WHERE lane = ? AND fresh = 0 AND order_at <= ?
		ORDER BY order_at LIMIT ? FOR UPDATE SKIP LOCKED`,
	claimFresh: `SELECT ` + jobColumns + ` FROM recovery_jobs WHERE lane = ? AND fresh = 1
		ORDER BY order_at DESC LIMIT ? FOR UPDATE SKIP LOCKED`,
	claimOne: `SELECT ` + jobColumns + ` FROM recovery_jobs WHERE id = ? AND (lease_id = '' OR order_at <= ?)
		FOR UPDATE SKIP LOCKED`,
	lease:      `UPDATE recovery_jobs SET lease_id = ?, fresh = 0, order_at = ?, attempts = attempts + 1 WHERE id IN ({?})`,
	finish:     `DELETE FROM recovery_jobs WHERE id = ? AND lease_id = ?`,
	retry:      `UPDATE recovery_jobs SET lease_id = '', order_at = ? WHERE id = ? AND lease_id = ?`,
	discard:    `DELETE FROM recovery_resets WHERE digest IN ({?})`,
	markMailed: `UPDATE recovery_resets SET mailed = 1 WHERE account_id = ? AND job_id = ?`,
	supersede: `UPDATE recovery_resets SET ended = 'superseded' WHERE account_id = ? AND requester = ? AND ended = ''
		AND (requested_at < ? OR requested_at = ? AND job_id < ?)`,

	purgeLimits: `DELETE FROM recovery_limits WHERE slot <= ? AND tat <= ? LIMIT ?`,
	purgeResets: `DELETE FROM recovery_resets WHERE expires_at <= ? LIMIT ?`,
	purgeAhead:  `DELETE FROM recovery_resets WHERE expires_at > ? LIMIT ?`,
	purgeJobs: `UPDATE recovery_jobs SET order_at = ?
		WHERE lane IN ('mail', 'notice', 'on_reset') AND fresh = 0 AND order_at > ? LIMIT ?`,

	stats: `SELECT lane, COUNT(*), MIN(requested_at) FROM recovery_jobs GROUP BY lane`,
	// In UTC: the time of the session's zone would repeat an hour every autumn.
	now: `SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))`,
}
