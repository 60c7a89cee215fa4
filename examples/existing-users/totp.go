package main

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/pquerna/otp/hotp"

	"example.com/recovery"
)

// secondFactor uses up a code of the user's authenticator app, if the user has one.
func (a *app) secondFactor(ctx context.Context, id, code string) error {
	var secret string
	err := a.db.QueryRowContext(ctx, `SELECT totp_secret FROM users WHERE id = ?`, id).Scan(&secret)
	if err != nil || secret == "" {
		return err
	}
	now := time.Now().Unix() / 30
	for step := now - 1; step <= now+1; step++ { // the clock of a phone may be a step off
		if !hotp.Validate(code, uint64(step), secret) {
			continue
		}
		// The condition accepts a code once, even if it comes twice at the same moment.
		err := a.db.QueryRowContext(ctx, `UPDATE users SET last_totp_step = ?1
			WHERE id = ?2 AND last_totp_step < ?1 RETURNING id`, step, id).Scan(&id)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	return &recovery.ChallengeError{Name: "totp", Text: "Enter the code of your authenticator app."}
}
