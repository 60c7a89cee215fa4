-- +goose Up
CREATE TABLE IF NOT EXISTS recovery_jobs (
	id           VARBINARY(64) NOT NULL PRIMARY KEY,
	lane         VARBINARY(32) NOT NULL,
	kind         VARBINARY(32) NOT NULL,
	by_kind      VARBINARY(32) NOT NULL,
	identifier   VARBINARY(254) NOT NULL,
	account_id   VARBINARY(255) NOT NULL,
	tenant       VARBINARY(64) NOT NULL DEFAULT '',
	ticket       VARBINARY(32) NULL,
	portal       VARBINARY(64) NOT NULL,
	locale       VARBINARY(64) NOT NULL,
	client       VARBINARY(64) NOT NULL,
	requested_at BIGINT NOT NULL,
	priority     BIGINT NOT NULL,
	fresh        TINYINT NOT NULL DEFAULT 1,
	order_at     BIGINT NOT NULL,
	charged      TINYINT NOT NULL DEFAULT 0,
	attempts     INT NOT NULL DEFAULT 0,
	lease_id     VARBINARY(64) NOT NULL DEFAULT '',
	INDEX recovery_jobs_order (lane, fresh, order_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS recovery_resets (
	digest       VARBINARY(32) NOT NULL PRIMARY KEY,
	account_id   VARBINARY(255) NOT NULL,
	version      VARBINARY(32) NOT NULL,
	job_id       VARBINARY(64) NOT NULL,
	requester    VARBINARY(32) NOT NULL,
	requested_at BIGINT NOT NULL,
	expires_at   BIGINT NOT NULL,
	ended        VARBINARY(32) NOT NULL DEFAULT '',
	mailed       TINYINT NOT NULL DEFAULT 0,
	INDEX recovery_resets_account_id (account_id),
	INDEX recovery_resets_expires_at (expires_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS recovery_limits (
	id   VARBINARY(32) NOT NULL PRIMARY KEY,
	tat  BIGINT NOT NULL,
	slot BIGINT NOT NULL,
	INDEX recovery_limits_slot (slot)
) ENGINE=InnoDB CHARACTER SET utf8mb4;
-- +goose Down
DROP TABLE recovery_limits;
DROP TABLE recovery_resets;
DROP TABLE recovery_jobs;
