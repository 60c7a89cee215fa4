-- +goose Up
CREATE TABLE IF NOT EXISTS recovery_jobs (
	id           TEXT NOT NULL PRIMARY KEY,
	lane         TEXT NOT NULL,
	kind         TEXT NOT NULL,
	by_kind      TEXT NOT NULL,
	identifier   TEXT NOT NULL,
	account_id   TEXT NOT NULL,
	tenant       TEXT NOT NULL DEFAULT '',
	ticket       BLOB,
	portal       TEXT NOT NULL,
	locale       TEXT NOT NULL,
	client       TEXT NOT NULL,
	requested_at INTEGER NOT NULL,
	priority     INTEGER NOT NULL,
	fresh        INTEGER NOT NULL DEFAULT 1,
	order_at     INTEGER NOT NULL,
	charged      INTEGER NOT NULL DEFAULT 0,
	attempts     INTEGER NOT NULL DEFAULT 0,
	lease_id     TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS recovery_jobs_order ON recovery_jobs (lane, fresh, order_at);
CREATE TABLE IF NOT EXISTS recovery_resets (
	digest       BLOB NOT NULL PRIMARY KEY,
	account_id   TEXT NOT NULL,
	version      BLOB NOT NULL,
	job_id       TEXT NOT NULL,
	requester    BLOB NOT NULL,
	requested_at INTEGER NOT NULL,
	expires_at   INTEGER NOT NULL,
	ended        TEXT NOT NULL DEFAULT '',
	mailed       INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS recovery_resets_account_id ON recovery_resets (account_id);
CREATE INDEX IF NOT EXISTS recovery_resets_expires_at ON recovery_resets (expires_at);
CREATE TABLE IF NOT EXISTS recovery_limits (
	id   BLOB NOT NULL PRIMARY KEY,
	tat  INTEGER NOT NULL,
	slot INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS recovery_limits_slot ON recovery_limits (slot);
-- +goose Down
DROP TABLE recovery_limits;
DROP TABLE recovery_resets;
DROP TABLE recovery_jobs;
