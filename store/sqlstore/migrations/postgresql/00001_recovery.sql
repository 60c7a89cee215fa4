-- +goose Up
CREATE TABLE IF NOT EXISTS recovery_jobs (
	id           TEXT COLLATE "C" PRIMARY KEY,
	lane         TEXT COLLATE "C" NOT NULL,
	kind         TEXT COLLATE "C" NOT NULL,
	by_kind      TEXT COLLATE "C" NOT NULL,
	identifier   TEXT COLLATE "C" NOT NULL,
	account_id   TEXT COLLATE "C" NOT NULL,
	tenant       TEXT COLLATE "C" NOT NULL DEFAULT '',
	ticket       BYTEA,
	portal       TEXT COLLATE "C" NOT NULL,
	locale       TEXT COLLATE "C" NOT NULL,
	client       TEXT COLLATE "C" NOT NULL,
	requested_at BIGINT NOT NULL,
	priority     BIGINT NOT NULL,
	fresh        SMALLINT NOT NULL DEFAULT 1,
	order_at     BIGINT NOT NULL,
	charged      SMALLINT NOT NULL DEFAULT 0,
	attempts     INTEGER NOT NULL DEFAULT 0,
	lease_id     TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS recovery_jobs_order ON recovery_jobs (lane, fresh, order_at);
CREATE TABLE IF NOT EXISTS recovery_resets (
	digest       BYTEA PRIMARY KEY,
	account_id   TEXT COLLATE "C" NOT NULL,
	version      BYTEA NOT NULL,
	job_id       TEXT COLLATE "C" NOT NULL,
	requester    BYTEA NOT NULL,
	requested_at BIGINT NOT NULL,
	expires_at   BIGINT NOT NULL,
	ended        TEXT COLLATE "C" NOT NULL DEFAULT '',
	mailed       SMALLINT NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS recovery_resets_account_id ON recovery_resets (account_id);
CREATE INDEX IF NOT EXISTS recovery_resets_expires_at ON recovery_resets (expires_at);
CREATE TABLE IF NOT EXISTS recovery_limits (
	id   BYTEA PRIMARY KEY,
	tat  BIGINT NOT NULL,
	slot BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS recovery_limits_slot ON recovery_limits (slot);
-- +goose Down
DROP TABLE recovery_limits;
DROP TABLE recovery_resets;
DROP TABLE recovery_jobs;
