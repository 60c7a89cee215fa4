package sqlstore

var postgresql = statements{
	createReset: `INSERT INTO recovery_resets (digest, account_id, version, job_id, requested_at, expires_at)
		SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT 1 FROM recovery_resets
			WHERE account_id = $7 AND mailed = 1 AND (requested_at > $8 OR requested_at = $9 AND job_id > $10))`,
	findReset: `SELECT digest, account_id, version, job_id, requested_at, expires_at, ended FROM recovery_resets
		WHERE digest >= $1 ORDER BY digest LIMIT 1`,
	redeem:     `UPDATE recovery_resets SET ended = 'used' WHERE digest = $1 AND ended = '' AND expires_at > $2`,
	voidOthers: `UPDATE recovery_resets SET ended = 'voided' WHERE account_id = $1 AND ended = ''`,
	markMailed: `UPDATE recovery_resets SET mailed = 1 WHERE account_id = $1 AND job_id = $2`,
	supersede: `UPDATE recovery_resets SET ended = 'superseded' WHERE account_id = $1 AND ended = ''
		AND (requested_at < $2 OR requested_at = $3 AND job_id < $4)`,

	// Locked rows are read as they are now, and those alone may be changed: a limit that was missing and
	// is there by now is not counted, and then the whole statement fails.
	addAtOnce: `WITH n AS (SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
			AS n (id, floor, step, ceiling, absurd, owner)),
		locked AS MATERIALIZED (SELECT id, tat FROM recovery_limits WHERE id = ANY ($1::bytea[]) ORDER BY id FOR UPDATE),
		judged AS MATERIALIZED (SELECT n.*, tat AS stored, CASE WHEN tat <= absurd THEN tat END AS tat, coalesce(tat <= ceiling OR tat > absurd, true) AS ok
			FROM n LEFT JOIN locked USING (id)),
		owners AS MATERIALIZED (SELECT owner, bool_and(ok) AS ok FROM judged GROUP BY owner),
		level AS (SELECT current_setting('transaction_isolation') = 'read committed' AS usual),
		passed AS MATERIALIZED (SELECT usual, usual AND coalesce((SELECT ok FROM owners WHERE owner = 0), true) AS ok FROM level),
		counting AS MATERIALIZED (SELECT id, CASE WHEN owners.ok THEN greatest(floor, tat + step) ELSE stored END AS tat
			FROM judged JOIN owners USING (owner), passed WHERE passed.ok AND (owners.ok OR stored IS NOT NULL)),
		counted AS (INSERT INTO recovery_limits AS l (id, tat) SELECT id, tat FROM counting ORDER BY id
			ON CONFLICT (id) DO UPDATE SET tat = excluded.tat WHERE EXISTS (SELECT 1 FROM locked WHERE locked.id = l.id) RETURNING 1),
		added AS (INSERT INTO recovery_jobs (id, kind, by_kind, identifier, account_id, portal, locale, client,
				requested_at, due_at, free_at, throttled)
			SELECT r.id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, free_at,
				CASE WHEN owners.ok IS FALSE THEN 1 ELSE 0 END
			FROM unnest($7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
				$15::bigint[], $16::bigint[], $17::bigint[], $18::smallint[]) WITH ORDINALITY
				AS r (id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, free_at, throttled, place)
			LEFT JOIN owners ON owner = place, passed WHERE passed.ok)
		SELECT ok AND 1 / CASE WHEN (SELECT count(*) FROM counted) = (SELECT count(*) FROM counting) THEN 1 ELSE 0 END = 1, usual FROM passed`,
	ensureLimits: `INSERT INTO recovery_limits AS l (id, tat) SELECT id, 0 FROM unnest($1::bytea[]) AS n (id)
		ON CONFLICT (id) DO UPDATE SET tat = l.tat`,
	lockLimits: `SELECT id, tat FROM recovery_limits WHERE id = ANY ($1::bytea[]) ORDER BY id FOR UPDATE`,
	setLimits: `INSERT INTO recovery_limits (id, tat) SELECT * FROM unnest($1::bytea[], $2::bigint[])
		ON CONFLICT (id) DO UPDATE SET tat = excluded.tat`,
	insertRequests: `INSERT INTO recovery_jobs (id, kind, by_kind, identifier, account_id, portal, locale, client,
		requested_at, due_at, free_at, throttled)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
			$9::bigint[], $10::bigint[], $11::bigint[], $12::smallint[])`,
	claim: `WITH due AS (SELECT id FROM recovery_jobs WHERE free_at <= $3 ORDER BY free_at LIMIT $4 FOR UPDATE SKIP LOCKED)
		UPDATE recovery_jobs r SET lease = $1, free_at = $2, attempts = attempts + 1 FROM due WHERE r.id = due.id
		RETURNING r.id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease`,
	claimOne: `UPDATE recovery_jobs SET lease = $1, free_at = $2, attempts = attempts + 1 WHERE id = $3 AND (lease = '' OR free_at <= $4)
		RETURNING id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease`,
	findLeased: `SELECT requested_at FROM recovery_jobs WHERE id = $1 AND lease = $2`,
	finish:     `DELETE FROM recovery_jobs WHERE id = $1 AND lease = $2`,
	retry:      `UPDATE recovery_jobs SET lease = '', due_at = $1, free_at = $2 WHERE id = $3 AND lease = $4`,

	purgeResets: `DELETE FROM recovery_resets WHERE digest IN
		(SELECT digest FROM recovery_resets WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`,
	// What is indexed is the time in slots of 100 s: a row that is updated within one stays where it is and
	// its indexes as they are, however often all requests count against it.
	purgeLimits: `DELETE FROM recovery_limits WHERE id IN
		(SELECT id FROM recovery_limits WHERE slot <= $1::bigint / 100000000 AND tat <= $1::bigint LIMIT $2 FOR UPDATE SKIP LOCKED)`,
}
