-- +goose Up
CREATE TABLE IF NOT EXISTS recovery_jobs (
	id           VARBINARY(64) NOT NULL PRIMARY KEY,
	kind         VARBINARY(32) NOT NULL,
	by_kind      VARBINARY(32) NOT NULL,
	identifier   VARBINARY(254) NOT NULL,
	account_id   VARBINARY(255) NOT NULL,
	portal       VARBINARY(64) NOT NULL,
	locale       VARBINARY(64) NOT NULL,
	client       VARBINARY(64) NOT NULL,
	requested_at BIGINT NOT NULL,
	due_at       BIGINT NOT NULL,
	free_at      BIGINT NOT NULL,
	throttled    TINYINT NOT NULL,
	attempts     INT NOT NULL DEFAULT 0,
	lease        VARBINARY(64) NOT NULL DEFAULT '',
	INDEX recovery_jobs_free_at (free_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS recovery_resets (
	digest       VARBINARY(32) NOT NULL PRIMARY KEY,
	account_id   VARBINARY(255) NOT NULL,
	version      VARBINARY(32) NOT NULL,
	job_id   VARBINARY(64) NOT NULL,
	requested_at BIGINT NOT NULL,
	expires_at   BIGINT NOT NULL,
	ended        VARBINARY(32) NOT NULL DEFAULT '',
	mailed       TINYINT NOT NULL DEFAULT 0,
	INDEX recovery_resets_account_id (account_id),
	INDEX recovery_resets_expires_at (expires_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS recovery_limits (
	id  VARBINARY(32) NOT NULL PRIMARY KEY,
	tat BIGINT NOT NULL,
	INDEX recovery_limits_tat (tat)
) ENGINE=InnoDB CHARACTER SET utf8mb4;
