package recovery_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestErrorsDoNotOverlap(t *testing.T) {
	is := is.New(t)
	all := []error{
		recovery.ErrInvalidToken, recovery.ErrInvalidRequest, recovery.ErrInvalidPassword, recovery.ErrLimited,
		recovery.ErrDenied, recovery.ErrBusy, recovery.ErrPermanent, recovery.ErrUncertain, recovery.ErrPasswordMismatch,
		recovery.ErrUnsupportedHash, recovery.ErrLeaseLost, context.Canceled,
	}
	for typed, matches := range map[error]error{
		&recovery.FieldError{}:    recovery.ErrInvalidRequest,
		&recovery.PasswordError{}: recovery.ErrInvalidPassword,
		&recovery.LimitError{}:    recovery.ErrLimited,
		&recovery.TokenError{}:    recovery.ErrInvalidToken,
	} {
		for _, target := range all {
			is.Equal(errors.Is(typed, target), target == matches)
		}
		is.True(strings.HasPrefix(typed.Error(), "recovery: "))
	}
}
