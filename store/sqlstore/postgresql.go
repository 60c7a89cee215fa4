package sqlstore

var postgresql = statements{
	createReset: `INSERT INTO recovery_resets (digest, account_id, version, request_id, requested_at, expires_at)
		SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT 1 FROM recovery_resets
			WHERE account_id = $7 AND mailed = 1 AND (requested_at > $8 OR requested_at = $9 AND request_id > $10))`,
	findReset:  `SELECT account_id, version, request_id, requested_at, expires_at, ended FROM recovery_resets WHERE digest = $1`,
	redeem:     `UPDATE recovery_resets SET ended = 'used' WHERE digest = $1 AND ended = '' AND expires_at > $2`,
	voidOthers: `UPDATE recovery_resets SET ended = 'voided' WHERE account_id = $1 AND ended = ''`,
	markMailed: `UPDATE recovery_resets SET mailed = 1 WHERE account_id = $1 AND request_id = $2`,
	supersede: `UPDATE recovery_resets SET ended = 'superseded' WHERE account_id = $1 AND ended = ''
		AND (requested_at < $2 OR requested_at = $3 AND request_id < $4)`,

	upsertLimit: `INSERT INTO recovery_limits AS l (id, tat) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE
		SET tat = CASE WHEN l.tat > $3 THEN $4 ELSE greatest(l.tat, $5) END + $6 WHERE l.tat <= $7 OR l.tat > $8`,
	findLimit: `SELECT tat FROM recovery_limits WHERE id = $1`,

	insertRequest: `INSERT INTO recovery_requests (id, kind, by_kind, identifier, account_id, portal, locale, client,
		requested_at, due_at, free_at, throttled) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
	claim: `WITH due AS (SELECT id FROM recovery_requests WHERE free_at <= $3 ORDER BY free_at LIMIT $4 FOR UPDATE SKIP LOCKED)
		UPDATE recovery_requests r SET lease = $1, free_at = $2, attempts = attempts + 1 FROM due WHERE r.id = due.id
		RETURNING r.id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease`,
	claimOne: `UPDATE recovery_requests SET lease = $1, free_at = $2, attempts = attempts + 1 WHERE id = $3 AND (lease = '' OR free_at <= $4)
		RETURNING id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease`,
	findLeased: `SELECT requested_at FROM recovery_requests WHERE id = $1 AND lease = $2`,
	finish:     `DELETE FROM recovery_requests WHERE id = $1 AND lease = $2`,
	retry:      `UPDATE recovery_requests SET lease = '', due_at = $1, free_at = $2 WHERE id = $3 AND lease = $4`,

	purgeResets: `DELETE FROM recovery_resets WHERE digest IN
		(SELECT digest FROM recovery_resets WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`,
	purgeLimits: `DELETE FROM recovery_limits WHERE id IN
		(SELECT id FROM recovery_limits WHERE tat <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`,
}
