package recovery

import (
	"slices"

	"example.com/recovery/internal/invisible"
)

const (
	maxTenant = 64 // bytes
	maxLocale = 64 // bytes
)

func checkTenant(s string) error {
	if len(s) > maxTenant || invisible.In(s) {
		return &FieldError{"tenant", "must be at most 64 bytes of visible text"}
	}
	return nil
}

func checkLocale(s string) error {
	if len(s) > maxLocale || slices.ContainsFunc([]byte(s), func(c byte) bool { return !isLetterDigit(c) && c != '-' && c != ',' }) {
		return &FieldError{"locale", "must be language tags of letters, digits and hyphens, with a comma between two, and at most 64 bytes"}
	}
	return nil
}
