package sqlstore

var sqlite = statements{
	// A transaction that reads first and writes later fails if another wrote between; one that begins
	// with a write, even of no row, waits for its turn.
	lockDatabase: `UPDATE recovery_limits SET tat = tat WHERE id = x''`,

	createReset: `INSERT INTO recovery_resets (digest, account_id, version, job_id, requested_at, expires_at)
		SELECT ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM recovery_resets
			WHERE account_id = ? AND mailed = 1 AND (requested_at > ? OR requested_at = ? AND job_id > ?))`,
	findReset: `SELECT digest, account_id, version, job_id, requested_at, expires_at, ended FROM recovery_resets
		WHERE digest >= ? ORDER BY digest LIMIT 1`,
	redeem:     `UPDATE recovery_resets SET ended = 'used' WHERE digest = ? AND ended = '' AND expires_at > ?`,
	voidOthers: `UPDATE recovery_resets SET ended = 'voided' WHERE account_id = ? AND ended = ''`,
	markMailed: `UPDATE recovery_resets SET mailed = 1 WHERE account_id = ? AND job_id = ?`,
	supersede: `UPDATE recovery_resets SET ended = 'superseded' WHERE account_id = ? AND ended = ''
		AND (requested_at < ? OR requested_at = ? AND job_id < ?)`,

	lockLimits: `SELECT id, tats FROM recovery_limits WHERE id IN ({?})`,
	setLimits: `INSERT INTO recovery_limits (id, tat, tats) VALUES {(?, ?, ?)}
		ON CONFLICT (id) DO UPDATE SET tat = excluded.tat, tats = excluded.tats`,
	insertRequests: `INSERT INTO recovery_jobs (id, kind, by_kind, identifier, account_id, portal, locale, client,
		requested_at, due_at, free_at, throttled) VALUES {(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}`,

	claim: `UPDATE recovery_jobs SET lease = ?, free_at = ?, attempts = attempts + 1
		WHERE id IN (SELECT id FROM recovery_jobs WHERE free_at <= ? ORDER BY free_at LIMIT ?)
		RETURNING id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease`,
	claimOne: `UPDATE recovery_jobs SET lease = ?, free_at = ?, attempts = attempts + 1 WHERE id = ? AND (lease = '' OR free_at <= ?)
		RETURNING id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease`,
	findLeased: `SELECT requested_at FROM recovery_jobs WHERE id = ? AND lease = ?`,
	finish:     `DELETE FROM recovery_jobs WHERE id = ? AND lease = ?`,
	retry:      `UPDATE recovery_jobs SET lease = '', due_at = ?, free_at = ? WHERE id = ? AND lease = ?`,

	purgeResets: `DELETE FROM recovery_resets WHERE digest IN (SELECT digest FROM recovery_resets WHERE expires_at <= ? LIMIT ?)`,
	purgeLimits: `DELETE FROM recovery_limits WHERE id IN (SELECT id FROM recovery_limits WHERE tat <= ? LIMIT ?)`,
}
