package mailer

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/recovery"
)

// maxListed is how many resets a mail may have, and how many sign-ins.
const maxListed = 10

// check validates m. Its error wraps recovery.ErrPermanent and never quotes the message.
func check(m recovery.Message) error {
	refuse := func(field, rule string) error {
		return fmt.Errorf("mailer: Message.%s %s: %w", field, rule, recovery.ErrPermanent)
	}
	if m.To == "" {
		return refuse("To", "must not be empty")
	}
	if hasHidden(m.To) && !isAddress(m.To) {
		return refuse("To", "must be one line of visible characters")
	}
	if hasHidden(m.ID) {
		return refuse("ID", "must be one line of visible characters")
	}
	switch m.Kind {
	case recovery.MessageResetToken, recovery.MessageResetLink:
		if n := len(m.Resets); n < 1 || n > maxListed {
			rule := fmt.Sprintf("must have 1 to %d elements in a %s message, has %d", maxListed, m.Kind, n)
			return refuse("Resets", rule)
		}
		for i, r := range m.Resets {
			field := fmt.Sprintf("Resets[%d]", i)
			switch {
			case r.Token.IsZero():
				return refuse(field+".Token", "must be set")
			case m.Kind == recovery.MessageResetLink && r.Link == "":
				return refuse(field+".Link", "must be set in a reset_link message")
			case m.Kind == recovery.MessageResetLink && !isLink(r.Link):
				return refuse(field+".Link", "must be an absolute http or https URL of visible characters")
			case (r.Code == "") != (m.Resets[0].Code == ""):
				return refuse(field+".Code", "must be set for all of Resets or for none")
			case strings.Trim(r.Code, codeText) != "" || len(r.Code) > maxCode:
				rule := fmt.Sprintf("must be at most %d letters, digits and hyphens", maxCode)
				return refuse(field+".Code", rule)
			}
		}
		if m.ExpiresAt.IsZero() {
			return refuse("ExpiresAt", fmt.Sprintf("must be set in a %s message", m.Kind))
		}
		if hasCodes(m) && m.CodesExpireAt.IsZero() {
			return refuse("CodesExpireAt", "must be set in a message with codes")
		}
	case recovery.MessageUsernames:
		if len(nonEmpty(m.Usernames)) == 0 {
			return refuse("Usernames", "must hold a name in a usernames message")
		}
	case recovery.MessageSignIn:
		if len(m.SignIns) == 0 {
			return refuse("SignIns", "must not be empty in a sign_in message")
		}
	case recovery.MessagePasswordChanged:
	default:
		return refuse("Kind", "must be reset_token, reset_link, password_changed, usernames or sign_in")
	}
	if n := len(m.SignIns); n > maxListed {
		return refuse("SignIns", fmt.Sprintf("must have at most %d elements, has %d", maxListed, n))
	}
	if !m.ExpiresAt.IsZero() && m.SentAt.IsZero() {
		return refuse("SentAt", "must be set in a message with ExpiresAt")
	}
	return nil
}

// The characters of a code, and its greatest length.
const (
	codeText = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
	maxCode  = 32
)

// isAddress reports whether the core accepts all of s as an address. Some addresses have joiners,
// which some scripts need.
func isAddress(s string) bool {
	_, err := recovery.CanonicalEmail(s)
	return err == nil && s == strings.TrimSpace(s)
}

// hasHidden reports whether s could end a line or hide a part of itself.
func hasHidden(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, isHidden)
}

// isLink reports whether s can stand in a mail: the text part shows it as it is, so it must end
// where a mail program thinks that it ends.
func isLink(s string) bool {
	bad := func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("<>\"`\\", r) }
	if hasHidden(s) || strings.ContainsFunc(s, bad) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}
