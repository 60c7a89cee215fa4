package smtpmailer

import (
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]Options{
		"smtp://u:p@mail.example.com":          {Host: "mail.example.com", Username: "u", Password: "p"},
		"smtp://u:p@mail.example.com:2587/":    {Host: "mail.example.com", Port: 2587, Username: "u", Password: "p"},
		"smtps://u%40example.com:p%2F%3A%40@m": {Host: "m", ImplicitTLS: true, Username: "u@example.com", Password: "p/:@"},
		"smtps://mail.example.com:465":         {Host: "mail.example.com", Port: 465, ImplicitTLS: true},
		"smtp+insecure://127.0.0.1:2525":       {Host: "127.0.0.1", Port: 2525, InsecurePlaintext: true},
		"SMTP+insecure://[::1]":                {Host: "::1", InsecurePlaintext: true},
		"smtp://mail_relay":                    {Host: "mail_relay"},
	} {
		t.Run(raw, func(t *testing.T) {
			is := is.New(t)
			got, err := ParseURL(raw)
			is.NoErr(err)                                                                          // a sound URL
			is.Equal(got.Host, want.Host)                                                          // host
			is.Equal(got.Port, want.Port)                                                          // port, 0 if none is given
			is.Equal(got.ImplicitTLS, want.ImplicitTLS)                                            // smtps
			is.Equal(got.InsecurePlaintext, want.InsecurePlaintext)                                // smtp+insecure
			is.Equal([]string{got.Username, got.Password}, []string{want.Username, want.Password}) // decoded
		})
	}
}

func TestParseURLRefuses(t *testing.T) {
	for _, raw := range []string{
		"", "mail.example.com", "http://u:S3cret-pass@m", "smtp://", "smtp://u:S3cret-pass@", "smtp:u:S3cret-pass@m",
		"smtp://u:S3cret-pass@m:0", "smtp://u:S3cret-pass@m:70000", "smtp://u:S3cret-pass@m:x",
		"smtp://u:S3cret-pass@m/path", "smtp://u:S3cret-pass@m?x=1", "smtp://u:S3cret-pass@m?", "smtp://u:S3cret-pass@m#f",
		"smtp+insecure://u:S3cret-pass@127.0.0.1", "smtp://u:S3cret-pass%zz@m", "smtp://u:S3cret-pass /@m",
		"smtp://u:S3cret-pass\r\n@m", "smtp://u:S3cret-pass@m x", "smtp://u:S3cret-pass@ex%0d%0aample",
		"://u:S3cret-pass@m", "smtps://u:S3cret-pass#@m",
	} {
		t.Run(raw, func(t *testing.T) {
			is := is.New(t)
			o, err := ParseURL(raw)
			is.True(err != nil)                                           // refused
			is.True(strings.HasPrefix(err.Error(), "smtpmailer: "))       // by us
			is.True(o.Host == "" && o.Username == "" && o.Password == "") // nothing to go on with
			checkQuiet(t, err, "S3cret", "u:")
		})
	}
}
