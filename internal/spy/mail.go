package spy

import "example.com/recovery"

// Err is for calls of which a test wants the error alone.
func Err[T any](_ T, err error) error { return err }

// Token returns the token for the first account of a mail, "" if it has none.
func Token(m recovery.Message) string {
	if len(m.Resets) == 0 {
		return ""
	}
	return m.Resets[0].Token.Reveal()
}
