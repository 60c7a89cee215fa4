// Package redact makes types that cannot be printed.
package redact

import (
	"fmt"
	"io"
	"log/slog"
)

// Text stands in place of a secret.
const Text = "[redacted]"

// A Value is embedded by types that carry a token, a password, an address or a name. Its methods
// are promoted, so that such a value cannot be printed, logged or marshalled as a whole. Its fields
// can.
//
// Every type with such a value in a field needs one too: fmt ignores the methods of unexported
// fields and, for a verb that does not fit, those of a pointer's target.
type Value struct{}

// Format prints Text for every verb.
func (Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Text) }

// LogValue logs Text.
func (Value) LogValue() slog.Value { return slog.StringValue(Text) }

// GobEncode encodes Text for encoding/gob, which ignores the other methods.
func (Value) GobEncode() ([]byte, error) { return []byte(Text), nil }

// MarshalText marshals Text into JSON, XML and the like.
func (Value) MarshalText() ([]byte, error) { return []byte(Text), nil }
