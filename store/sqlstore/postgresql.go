package sqlstore

var postgresql = statements{
	lockJob: `SELECT requested_at, charged FROM recovery_jobs WHERE id = $1 AND lease_id = $2 FOR UPDATE`,
	findNewer: `SELECT EXISTS (SELECT 1 FROM recovery_resets WHERE account_id = $1 AND requester = $2 AND mailed = 1
		AND requested_at <= $3 AND (requested_at > $4 OR requested_at = $5 AND job_id > $6))`,
	setCharged: `UPDATE recovery_jobs SET charged = $1 WHERE id = $2`,
	insertResets: `INSERT INTO recovery_resets (digest, account_id, version, job_id, requester, requested_at, expires_at)
		SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[])`,
	findReset:  `SELECT ` + resetColumns + ` FROM recovery_resets WHERE digest >= $1 ORDER BY digest LIMIT 1`,
	redeem:     `UPDATE recovery_resets SET ended = 'used' WHERE digest = $1 AND ended = '' AND expires_at > $2`,
	voidOthers: `UPDATE recovery_resets SET ended = 'voided' WHERE account_id = $1 AND ended = ''`,

	// A locked row is read as it is now. A limit that was missing and is there by now was not
	// locked: it is not counted, and then the whole statement fails. greatest and least skip NULL,
	// which is what a missing limit has as tat, and a job without charges of its client as free.
	addAtOnce: `WITH n AS (SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS n (id, floor, step, ceiling, most)),
		locked AS MATERIALIZED (SELECT id, tat FROM recovery_limits WHERE id = ANY ($1::bytea[]) ORDER BY id FOR UPDATE),
		judged AS MATERIALIZED (SELECT id, CASE WHEN tat > ceiling THEN tat ELSE greatest(floor, tat + step) END AS tat,
			coalesce(tat <= most, true) AS ok FROM n LEFT JOIN locked USING (id)),
		level AS (SELECT current_setting('transaction_isolation') = 'read committed' AS usual),
		passed AS MATERIALIZED (SELECT usual, usual AND coalesce((SELECT bool_and(ok) FROM judged), true) AS ok FROM level),
		counted AS (INSERT INTO recovery_limits AS l (id, tat) SELECT id, tat FROM judged, passed WHERE passed.ok ORDER BY id
			ON CONFLICT (id) DO UPDATE SET tat = excluded.tat WHERE EXISTS (SELECT 1 FROM locked WHERE locked.id = l.id) RETURNING 1),
		clients AS (SELECT place, max(tat - every) AS free FROM unnest($6::bigint[], $7::bytea[], $8::bigint[]) AS c (place, id, every)
			JOIN judged USING (id) GROUP BY place),
		jobs AS (SELECT j.*, requested_at - greatest(0, free - requested_at) AS turn
			FROM unnest($9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bytea[],
				$17::text[], $18::text[], $19::text[], $20::bigint[]) WITH ORDINALITY
				AS j (id, lane, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client, requested_at, place)
			LEFT JOIN clients USING (place)),
		added AS (INSERT INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client, requested_at, turn, order_at)
			SELECT id, lane, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client, requested_at, turn, turn
			FROM jobs, passed WHERE passed.ok)
		SELECT ok AND 1 / CASE WHEN (SELECT count(*) FROM counted) = (SELECT count(*) FROM judged WHERE passed.ok) THEN 1 ELSE 0 END = 1, usual
		FROM passed`,
	ensureLimits: `INSERT INTO recovery_limits AS l (id, tat) SELECT id, 0 FROM unnest($1::bytea[]) AS n (id)
		ON CONFLICT (id) DO UPDATE SET tat = l.tat`,
	lockLimits: `SELECT id, tat FROM recovery_limits WHERE id = ANY ($1::bytea[]) ORDER BY id FOR UPDATE`,
	setLimits: `INSERT INTO recovery_limits (id, tat) SELECT * FROM unnest($1::bytea[], $2::bigint[])
		ON CONFLICT (id) DO UPDATE SET tat = excluded.tat`,
	insertJobs: `INSERT INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client, requested_at, turn, order_at)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[],
			$9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[])`,

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

	// The index has the time in slots of 100 s. An update that stays within a slot touches no
	// index, however often all requests count against one row.
	purgeLimits: `DELETE FROM recovery_limits WHERE id IN
		(SELECT id FROM recovery_limits WHERE slot <= $1::bigint / 100000000 AND tat <= $1::bigint LIMIT $2 FOR UPDATE SKIP LOCKED)`,
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
