package smtpmailer

import "example.com/recovery/internal/redact"

type redacted = redact.Value
