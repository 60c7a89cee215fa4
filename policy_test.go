package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func reasons(err error) string {
	var e *recovery.PasswordError
	if !errors.As(err, &e) {
		return ""
	}
	var names []string
	for _, r := range e.Reasons {
		names = append(names, r.Name)
	}
	return strings.Join(names, " ")
}

func TestDefaultPolicy(t *testing.T) {
	for password, want := range map[string]string{
		goodPassword:                       "",
		"superSecurePassw0rd!":             "", // the documents' own example
		"Abcdefg-12":                       "", // 10 characters
		"Abcdefg-1":                        "too_short",
		"Xy1-" + strings.Repeat("äö", 30):  "", // 64 characters, more bytes
		"Xy1-" + strings.Repeat("x", 61):   "too_long",
		"":                                 "too_short no_upper no_lower no_digit no_special",
		"aaaaaaaaaaaa":                     "no_upper no_digit no_special",
		"AAAAAAAAAA-1":                     "no_lower",
		"Abcdefghij-":                      "no_digit",
		"Tr0ubador12":                      "no_special",
		"Tr0ubador 12":                     "no_special", // a space is none
		"Tr0ubadorÄ12":                     "no_special", // nor is a letter beyond ASCII
		"Tr0ubador€12":                     "",
		"Tr0ubador。12":                     "",
		"ÄÖÜßäöü-123":                      "no_upper no_lower",
		"Password-123":                     "common",
		"P@ssw0rd-2026!":                   "common",
		"123!Sunshine!!":                   "common",
		"$unShine-2026!":                   "common",
		"5unShin3-2026!Ab":                 "", // other letters follow
		"1l0veyou-A":                       "",
		"Correct\x00h0rse-":                "not_text",
		"Correct\nh0rse-":                  "not_text",
		"Correct\x7fh0rse-":                "not_text",
		"Correct\xffh0rse-":                "not_text",
		"Xy1-" + strings.Repeat("😀", 60):   "",
		"Xy1-" + strings.Repeat("x", 1020): "too_long",       // 1,024 bytes
		"xxx" + strings.Repeat("x", 1022):  "too_many_bytes", // 1,025 bytes: nothing else is looked at
		strings.Repeat("\xff", 1<<20):      "too_many_bytes",
	} {
		is := is.New(t)
		var nilPolicy *recovery.Policy
		for _, p := range []*recovery.Policy{nilPolicy, {}} {
			err := p.Validate(password)
			is.Equal(reasons(err), want)
			is.Equal(errors.Is(err, recovery.ErrInvalidPassword), want != "")
			if err != nil && password != "" {
				is.True(!strings.Contains(err.Error(), password)) // the error must not hold the password
			}
		}
	}
}

func TestPolicyErrorText(t *testing.T) {
	is := is.New(t)
	err := (&recovery.Policy{}).Validate("aa")
	is.Equal(err.Error(), "recovery: the password must have at least 10 characters, must contain a capital letter (A–Z), "+
		"must contain a digit (0–9), must contain a special character (such as # $ ? % &)")
}

func TestOwnWords(t *testing.T) {
	is := is.New(t)
	p := &recovery.Policy{Words: []string{"Contoso"}}
	for password, want := range map[string]string{
		"My-ALICE-name-1":     "own_word",
		"Ilike-Contoso-9":     "own_word",
		"Wonder.land-9-xY":    "own_word", // before the @ of the address
		"Bob-is-no-w0rd":      "",         // three letters do not count
		goodPassword:          "",
		"A1-ex@mple.com-Zz":   "",
		"alice-short":         "no_upper no_digit own_word",
		"X1-al@example.com-Z": "own_word", // the address whole, though two letters before its @ do not count
		"Always-al-0k-xY":     "",
		"STRASSE-ünï-cødé-1a": "own_word",
	} {
		is.Equal(reasons(p.Validate(password, "alice", "wonder.land@example.com", "al@example.com", "bob", "", "ÜNÏ-CØDÉ")), want) // see the password in the table
	}
	p.AllowOwnWords = true
	is.NoErr(p.Validate("My-ALICE-name-1", "alice")) // allowed
}

func TestPolicyParts(t *testing.T) {
	is := is.New(t)
	is.NoErr((&recovery.Policy{AllowCommon: true}).Validate("Password-123"))
	is.Equal(reasons((&recovery.Policy{MinLength: 12}).Validate("Abcdefx-12")), "too_short")
	is.Equal(reasons((&recovery.Policy{MaxLength: 12}).Validate("Abcdefx-12345")), "too_long")
	is.Equal(reasons((&recovery.Policy{Require: recovery.Digit}).Validate("horsebatteryxx")), "no_digit")
	is.NoErr((&recovery.Policy{Require: recovery.NoClasses}).Validate("horsebatteryxx"))

	nist := recovery.NIST80063B()
	is.NoErr(nist.Validate("horse battery xx"))
	is.Equal(reasons(nist.Validate("horse battery ")), "too_short")
	is.Equal(reasons(nist.Validate(strings.Repeat("a ", 129))), "too_long")
	is.NoErr(nist.Validate(strings.Repeat("correct ", 32)))
}

// The bounds of a policy, and one beyond.
func TestPolicyBounds(t *testing.T) {
	for _, c := range []struct {
		policy recovery.Policy
		ok     bool
	}{
		{recovery.Policy{MinLength: 8}, true},
		{recovery.Policy{MinLength: 7}, false},
		{recovery.Policy{MinLength: 20, MaxLength: 20}, true},
		{recovery.Policy{MinLength: 20, MaxLength: 19}, false},
		{recovery.Policy{MaxLength: 1024}, true},
		{recovery.Policy{MaxLength: 1025}, false},
		{recovery.Policy{MinLength: 12, MaxBytes: 12}, true},
		{recovery.Policy{MaxBytes: 1025}, false},
		{recovery.Policy{Require: recovery.NoClasses}, true},
		{recovery.Policy{Require: recovery.Digit}, true},
		{recovery.Policy{Require: recovery.NoClasses | recovery.Digit}, false},
		{recovery.Policy{Require: 1 << 5}, false},
		{recovery.Policy{BreachTimeout: 1}, true},
		{recovery.Policy{BreachTimeout: -1}, false},
	} {
		t.Run(fmt.Sprintf("%+v", c.policy), func(t *testing.T) {
			is := is.New(t)
			_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Policy: &c.policy})
			is.Equal(err == nil, c.ok)
		})
	}
}

// Where rules begin to hold.
func TestPasswordBounds(t *testing.T) {
	byLength := &recovery.Policy{MinLength: 8, MaxLength: 1024, Require: recovery.NoClasses}
	for _, c := range []struct {
		policy   *recovery.Policy
		password string
		words    []string
		want     string
	}{
		{byLength, strings.Repeat("xy", 512), []string{"xyxy"}, "own_word"},
		{byLength, strings.Repeat("xy", 512) + "x", nil, "too_many_bytes"},
		{byLength, "12345678", nil, "common"},     // as it is: read as letters it is none
		{byLength, "99zaq12wsx99", nil, "common"}, // less what surrounds its letters
		{byLength, "99princ3ss99", nil, "common"}, // and read as letters
		{byLength, "$unshine", nil, "common"},     // all of it read as letters
		{byLength, "99$unshine99", nil, "common"}, // with what stands for its first letter
		{byLength, "99sunshin399", nil, "common"}, // or its last
		{byLength, "99$unshin399", nil, "common"}, // or both
		{nil, "Zebra-k4rst", nil, ""},
		{nil, "ABBA-4-ZZZz", nil, ""},
		{nil, "karst-4-zebra", nil, "no_upper"},
		{nil, "Karst-4-zebra", []string{"zebra"}, "own_word"},
		{nil, "Karst-4-anna", []string{"anna"}, "own_word"}, // four characters count
		{nil, "Karst-4-ann", []string{"ann"}, ""},
		{nil, "Karst-4-anna", []string{"anna@example.com"}, "own_word"},
	} {
		t.Run(c.password, func(t *testing.T) {
			is := is.New(t)
			is.Equal(reasons(c.policy.Validate(c.password, c.words...)), c.want)
		})
	}
}

// What a page shows before a password is chosen is what a rejection says afterwards.
func TestRules(t *testing.T) {
	list := func(p *recovery.Policy) string {
		var names []string
		for _, r := range p.Rules() {
			if r.Limit != 0 {
				r.Name = fmt.Sprintf("%s=%d", r.Name, r.Limit)
			}
			names = append(names, r.Name)
		}
		return strings.Join(names, " ")
	}
	is := is.New(t)
	is.Equal(list(nil), "too_short=10 too_long=64 no_upper no_lower no_digit no_special common own_word")
	is.Equal(list(recovery.NIST80063B()), "too_short=15 too_long=256 common own_word")
	is.Equal(list(&recovery.Policy{Require: recovery.Digit, AllowCommon: true, AllowOwnWords: true,
		Breached: func(context.Context, string) (bool, error) { return false, nil }}), "too_short=10 too_long=64 no_digit breached")

	texts := map[recovery.PasswordReason]bool{}
	var nilPolicy *recovery.Policy
	for _, r := range nilPolicy.Rules() {
		texts[r.PasswordReason] = true
	}
	for _, password := range []string{"", strings.Repeat("x", 65), "Password-123", "My-ALICE-name-1"} {
		var e *recovery.PasswordError
		is.True(errors.As(nilPolicy.Validate(password, "alice"), &e)) // rejected
		for _, r := range e.Reasons {
			is.True(texts[r]) // every reason is one of the rules, word for word
		}
	}
}

// The rule about bytes is shown where a password within MaxLength can break it.
func TestRuleAboutBytes(t *testing.T) {
	is := is.New(t)
	shown := func(p recovery.Policy) string {
		for _, r := range p.Rules() {
			if r.Name == "too_many_bytes" {
				return fmt.Sprint(r.Limit, " ", r.Text)
			}
		}
		return ""
	}
	is.Equal(shown(recovery.Policy{}), "")
	is.Equal(shown(recovery.Policy{MaxBytes: 72}), "72 must be at most 72 bytes long")
	is.Equal(shown(recovery.Policy{MaxBytes: 256}), "") // 64 characters of four bytes
	is.Equal(shown(recovery.Policy{MaxBytes: 255}), "255 must be at most 255 bytes long")
	_, err := recovery.New(newWorld(t, nil).store, nil, &recovery.Options{Policy: &recovery.Policy{MinLength: 12, MaxBytes: 11}})
	is.True(strings.Contains(err.Error(), "recovery: Options.Policy.MaxBytes must be from MinLength to 1024, is 11"))
}
