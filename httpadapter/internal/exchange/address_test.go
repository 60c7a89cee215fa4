package exchange

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/matryer/is"
)

func TestRemoteAddr(t *testing.T) {
	for remoteAddr, want := range map[string]string{
		"192.0.2.7:1234":          "192.0.2.7",
		"192.0.2.7":               "192.0.2.7",
		" 192.0.2.7 ":             "192.0.2.7",
		"[2001:db8::1]:1234":      "2001:db8::1",
		"[2001:db8::1]":           "2001:db8::1",
		"2001:db8::1":             "2001:db8::1",
		"[::ffff:192.0.2.7]:1234": "::ffff:192.0.2.7",
		"[fe80::1%eth0]:1234":     "fe80::1%eth0",
		"":                        "invalid IP",
		"@":                       "invalid IP",
		"unknown":                 "invalid IP",
		"192.0.2.7, 192.0.2.8":    "invalid IP",
		"192.0.2.7:port":          "invalid IP",
		"example.com:1234":        "invalid IP",
	} {
		t.Run(remoteAddr, func(t *testing.T) {
			is := is.New(t)
			got := RemoteAddr(&http.Request{RemoteAddr: remoteAddr})
			is.Equal(got.String(), want)
			is.Equal(got == netip.Addr{}, want == "invalid IP") // the zero Addr for what is none
		})
	}
}
