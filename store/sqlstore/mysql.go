package sqlstore

// MySQL counts changed rows, or found ones if the driver is told so; every update here changes the
// rows that it finds, so that both are the same.
var mysql = statements{
	createReset: `INSERT INTO recovery_resets (digest, account_id, version, job_id, requested_at, expires_at)
		SELECT ?, ?, ?, ?, ?, ? FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM recovery_resets
			WHERE account_id = ? AND mailed = 1 AND (requested_at > ? OR requested_at = ? AND job_id > ?))`,
	findReset: `SELECT digest, account_id, version, job_id, requested_at, expires_at, ended FROM recovery_resets
		WHERE digest >= ? ORDER BY digest LIMIT 1`,
	redeem:     `UPDATE recovery_resets SET ended = 'used' WHERE digest = ? AND ended = '' AND expires_at > ?`,
	voidOthers: `UPDATE recovery_resets SET ended = 'voided' WHERE account_id = ? AND ended = ''`,
	markMailed: `UPDATE recovery_resets SET mailed = 1 WHERE account_id = ? AND job_id = ?`,
	supersede: `UPDATE recovery_resets SET ended = 'superseded' WHERE account_id = ? AND ended = ''
		AND (requested_at < ? OR requested_at = ? AND job_id < ?)`,

	// To lock a row that is not there would lock the gap, and two that do would deadlock.
	ensureLimits: `INSERT INTO recovery_limits (id, tat) VALUES {(?, 0)} ON DUPLICATE KEY UPDATE tat = tat`,
	lockLimits:   `SELECT id, tat FROM recovery_limits WHERE id IN ({?}) FOR UPDATE`,
	setLimits:    `INSERT INTO recovery_limits (id, tat) VALUES {(?, ?)} ON DUPLICATE KEY UPDATE tat = VALUES(tat)`,
	insertRequests: `INSERT INTO recovery_jobs (id, kind, by_kind, identifier, account_id, portal, locale, client,
		requested_at, due_at, free_at, throttled) VALUES {(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}`,

	lockDue: `SELECT id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease
		FROM recovery_jobs WHERE free_at <= ? ORDER BY free_at LIMIT ? FOR UPDATE SKIP LOCKED`,
	lockOne: `SELECT id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease
		FROM recovery_jobs WHERE id = ? AND (lease = '' OR free_at <= ?) FOR UPDATE SKIP LOCKED`,
	lease:      `UPDATE recovery_jobs SET lease = ?, free_at = ?, attempts = attempts + 1 WHERE id IN ({?})`,
	findLeased: `SELECT requested_at FROM recovery_jobs WHERE id = ? AND lease = ?`,
	finish:     `DELETE FROM recovery_jobs WHERE id = ? AND lease = ?`,
	retry:      `UPDATE recovery_jobs SET lease = '', due_at = ?, free_at = ? WHERE id = ? AND lease = ?`,

	purgeResets: `DELETE FROM recovery_resets WHERE expires_at <= ? LIMIT ?`,
	purgeLimits: `DELETE FROM recovery_limits WHERE tat <= ? LIMIT ?`,
}
