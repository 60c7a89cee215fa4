package sqlstore

var postgresql = statements{
	lockJob: `SELECT requested_at, charged FROM recovery_jobs WHERE id = $1 AND lease_id = $2 FOR UPDATE`,
	findNewer: `SELECT EXISTS (SELECT 1 FROM recovery_resets WHERE account_id = $1 AND requester = $2 AND mailed = 1
		AND requested_at <= $3 AND (requested_at > $4 OR requested_at = $5 AND job_id > $6))`,
	setCharged: `UPDATE recovery_jobs SET charged = $1 WHERE id = $2`,
	insertResets: `INSERT INTO recovery_resets (digest, account_id, version, job_id, requester, requested_at, expires_at)
		SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[])`,
	findReset: `SELECT ` + resetColumns + ` FROM recovery_resets WHERE digest = coalesce(
		(SELECT digest FROM recovery_resets WHERE digest >= $1 ORDER BY digest LIMIT 1),
		(SELECT digest FROM recovery_resets WHERE digest >= '' ORDER BY digest LIMIT 1))`,
	redeem:     `UPDATE recovery_resets SET ended = 'used' WHERE digest = $1 AND ended = '' AND expires_at > $2`,
	voidOthers: `UPDATE recovery_resets SET ended = 'voided' WHERE account_id = $1 AND ended = ''`,

	lockLimits: `INSERT INTO recovery_limits AS l (id, tat, slot) SELECT id, 0, 0 FROM unnest($1::bytea[]) AS n (id)
		ON CONFLICT (id) DO UPDATE SET tat = l.tat RETURNING id, tat`,
	flush: `WITH counted AS (UPDATE recovery_limits AS l SET tat = n.tat, slot = n.slot
			FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS n (id, tat, slot) WHERE l.id = n.id)
		INSERT INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client, requested_at, priority, order_at)
		SELECT * FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[],
			$12::text[], $13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[])`,

	claimAgain: `WITH due AS (SELECT id AS due_id FROM recovery_jobs WHERE lane = $3 AND fresh = 0 AND order_at <= $4
			ORDER BY order_at LIMIT $5 FOR UPDATE SKIP LOCKED)
		UPDATE recovery_jobs SET lease_id = $1, fresh = 0, order_at = $2, attempts = attempts + 1 FROM due WHERE id = due_id
		RETURNING ` + jobColumns,
	claimFresh: `WITH due AS (SELECT id AS due_id FROM recovery_jobs WHERE lane = $3 AND fresh = 1
			ORDER BY order_at DESC LIMIT $4 FOR UPDATE SKIP LOCKED)
		UPDATE recovery_jobs SET lease_id = $1, fresh = 0, order_at = $2, attempts = attempts + 1 FROM due WHERE id = due_id
		RETURNING ` + jobColumns,
	claimOne: `UPDATE recovery_jobs SET lease_id = $1, fresh = 0, order_at = $2, attempts = attempts + 1
		WHERE id = $3 AND (lease_id = '' OR order_at <= $4)
		RETURNING ` + jobColumns,
	finish:     `DELETE FROM recovery_jobs WHERE id = $1 AND lease_id = $2`,
	retry:      `UPDATE recovery_jobs SET lease_id = '', order_at = $1 WHERE id = $2 AND lease_id = $3`,
	discard:    `DELETE FROM recovery_resets WHERE digest = ANY ($1::bytea[])`,
	markMailed: `UPDATE recovery_resets SET mailed = 1 WHERE account_id = $1 AND job_id = $2`,
	supersede: `UPDATE recovery_resets SET ended = 'superseded' WHERE account_id = $1 AND requester = $2 AND ended = ''
		AND (requested_at < $3 OR requested_at = $4 AND job_id < $5)`,

	purgeLimits: `DELETE FROM recovery_limits WHERE id IN
		(SELECT id FROM recovery_limits WHERE slot <= $1 AND tat <= $2 LIMIT $3 FOR UPDATE SKIP LOCKED)`,
	purgeResets: `DELETE FROM recovery_resets WHERE digest IN
		(SELECT digest FROM recovery_resets WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`,
	purgeAhead: `DELETE FROM recovery_resets WHERE digest IN
		(SELECT digest FROM recovery_resets WHERE expires_at > $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`,
	// Each lane is named, so that the index is used.
	purgeJobs: `UPDATE recovery_jobs SET order_at = $1 WHERE id IN (SELECT id FROM recovery_jobs
		WHERE lane IN ('mail', 'notice', 'on_reset') AND fresh = 0 AND order_at > $2 LIMIT $3 FOR UPDATE SKIP LOCKED)`,

	stats: `SELECT lane, COUNT(*), MIN(requested_at) FROM recovery_jobs GROUP BY lane`,
	now:   `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`,
}
