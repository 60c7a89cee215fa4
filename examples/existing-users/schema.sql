CREATE TABLE users (
	id              INTEGER PRIMARY KEY AUTOINCREMENT, -- unique across tenants, never reused
	tenant          TEXT NOT NULL,
	login           TEXT NOT NULL,
	email           TEXT NOT NULL,
	email_confirmed INTEGER NOT NULL DEFAULT 0,
	bcrypt          TEXT NOT NULL DEFAULT '', -- '' for users who log in elsewhere
	sign_in         TEXT,                     -- where they log in
	totp_secret     TEXT NOT NULL DEFAULT '', -- '' without an authenticator app; better kept encrypted
	last_totp_step  INTEGER NOT NULL DEFAULT 0,
	deleted_at      TEXT,
	UNIQUE (tenant, login),
	UNIQUE (tenant, email)
);
CREATE TABLE password_history (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	user_id INTEGER NOT NULL REFERENCES users (id),
	bcrypt  TEXT NOT NULL
);
CREATE INDEX password_history_user_id ON password_history (user_id);
CREATE TABLE sessions (
	digest  BLOB PRIMARY KEY, -- SHA-256 of the cookie
	user_id INTEGER NOT NULL REFERENCES users (id)
);
CREATE INDEX sessions_user_id ON sessions (user_id);

-- Both passwords are Old-passw0rd-1.
INSERT INTO users (tenant, login, email, email_confirmed, bcrypt, totp_secret) VALUES
	('acme', 'carol', 'carol@example.com', 1,
	 '$2a$10$zOli.N.9uSVXPcgCM6Z77.VQQEM7EfHF9iteS7vn6vaR2KpY6WkBi', 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP'),
	('globex', 'carol', 'carol@example.com', 1,
	 '$2a$10$zOli.N.9uSVXPcgCM6Z77.VQQEM7EfHF9iteS7vn6vaR2KpY6WkBi', '');
INSERT INTO users (tenant, login, email, email_confirmed, sign_in) VALUES
	('acme', 'dave', 'dave@example.com', 1, 'Google');
