// Package redact makes types that cannot be printed.
package redact

import (
	"fmt"
	"io"
	"log/slog"
)

// Text is what stands in the place of a secret.
const Text = "[redacted]"

// A Value is embedded by types that carry a token, a password, an address or a name. Its methods are
// promoted, so that such a value can be neither printed, logged nor marshalled as a whole; the fields
// are for those who ask for one.
//
// Every type that holds such a value in a field needs one too: fmt does not call the methods of what
// is in unexported fields, nor, for a verb that does not fit, those of what a pointer leads to.
type Value struct{}

// Format prints Text for every verb.
func (Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Text) }

// LogValue logs Text.
func (Value) LogValue() slog.Value { return slog.StringValue(Text) }

// GobEncode encodes Text for encoding/gob, which knows no other method of these.
func (Value) GobEncode() ([]byte, error) { return []byte(Text), nil }

// MarshalText marshals Text into JSON, XML and the like.
func (Value) MarshalText() ([]byte, error) { return []byte(Text), nil }
