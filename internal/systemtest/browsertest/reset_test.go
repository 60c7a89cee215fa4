package browsertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/portal"
)

// submit is what the reset page's button does, with a password that is right.
func (b *tab) submit(password string) int64 {
	b.t.Helper()
	b.fill("#password", password)
	b.fill("#repeat", password)
	return b.click("button[type=submit]")
}

// If only the server can reject a password, the person need not open the mail again.
func TestRejectedPasswordKeepsTheToken(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	link, token := s.link("billybob")
	b.visit(link)
	is.Equal(b.submit("My-Billybob-26!"), int64(422))
	is.True(strings.Contains(b.text("#password-error"), "no username, email address or product name in it"))
	is.Equal(eval[string](b, "document.activeElement.id"), "password")
	is.True(strings.HasPrefix(eval[string](b, "document.title"), "Error: "))
	is.True(!strings.Contains(eval[string](b, "document.documentElement.outerHTML"), token[:16])) // the page does not have it, the field does
	is.Equal(b.value("#token"), token)
	is.Equal(b.value("#password"), "")
	is.Equal(eval[bool](b, `document.querySelector("#token-again").hidden`), true) // nothing is to be pasted again
	rule := func() string {
		return eval[string](b, `(() => { const r = document.querySelector("[data-rule=own_word]"); return r.className + r.querySelector(".sr").textContent + getComputedStyle(r, "::before").content })()`)
	}
	is.Equal(rule(), `unmet (not met yet)"✗"`)
	b.fill("#password", "x")
	is.Equal(rule(), `"•"`) // the script cannot check this one
	is.Equal(b.submit(newPassword), int64(200))
	is.Equal(s.password("3"), newPassword)
	is.Equal(eval[string](b, "JSON.stringify(sessionStorage)"), "{}") // nothing is left of it
	b.quiet()
}

// Reloading the page, or leaving it and coming back, loses nothing.
func TestReloadKeepsTheToken(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	link, token := s.link("billybob")
	b.visit(link)
	b.do(chromedp.Reload())
	is.Equal(b.value("#token"), token)
	b.click(`a[href="password"]`)
	b.back("Choose a new password")
	is.Equal(b.value("#token"), token)
	is.Equal(b.url(), s.base+"reset")
	is.Equal(b.submit(newPassword), int64(200))
}

func TestBackAfterTheEnd(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	link, token := s.link("billybob")
	b.visit(link)
	is.Equal(b.submit(newPassword), int64(200))
	b.back("Choose a new password")
	is.Equal(b.value("#token")+b.value("#password")+b.value("#repeat"), "") // nothing for the next person at this computer
	b.fill("#token", token)
	is.Equal(b.submit("Other-passw0rd-3"), int64(422))
	is.Equal(b.text("h1"), "This link or token cannot be used")
	is.Equal(s.password("3"), newPassword)
	is.Equal(b.click(`a[href="password"]`), int64(200)) // the way on
}

// Back from "check your mail" leads to the form, and asking again works.
func TestBackToAskAgain(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	b.visit(s.base + "password")
	b.fill("#email", "nobody@example.com")
	b.click("button[type=submit]")
	b.back("Reset your password")
	b.fill("#email", "billybob@example.com")
	is.Equal(b.click("button[type=submit]"), int64(200))
	s.deliver()
	is.Equal(len(s.mail.Messages()), 1)
}

// A second press while the first is under way makes no second request.
func TestDoubleSubmit(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	pressTwice := func(says string) {
		t.Helper()
		s.slow.Store(int64(time.Second))
		is.Equal(eval[string](b, `(() => { const b = document.querySelector("button[type=submit]"); b.click();
			setTimeout(() => b.click(), 300); // when the first is on its way
			return b.textContent + document.querySelector("[role=status]").textContent })()`), says+says) // for screen readers too
	}
	b.visit(s.base + "password")
	b.fill("#email", "billybob@example.com")
	pressTwice("Sending…")
	b.reaches("/password-sent")
	is.Equal(len(s.posts()), 1)

	s.slow.Store(0)
	link, _ := s.link("billybob")
	b.visit(link)
	b.fill("#password", newPassword)
	b.fill("#repeat", newPassword)
	pressTwice("Saving…")
	b.reaches("/done")
	is.Equal(b.text("h1"), "Your password was changed")
	is.Equal(len(s.posts()), 2)
}

// An answer that never comes leaves no button that cannot be pressed.
func TestButtonIsReadyAgain(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	b.beforePages(`window.setTimeout = (f, after) => { window.later = [f, after] }`)
	b.visit(s.base + "username")
	b.fill("#email", "alice@example.com")
	state := func() string {
		return eval[string](b, `(() => { const b = document.querySelector("button"); return b.textContent + b.getAttribute("aria-disabled") + document.querySelector("[role=status]").textContent })()`)
	}
	is.Equal(state(), "Send the emailnull")
	eval[bool](b, `addEventListener("submit", (e) => e.preventDefault()), true`) // loading was stopped
	b.do(clickOn("button"))
	is.Equal(state(), "Sending…trueSending…")
	is.Equal(eval[int](b, "later[0](), later[1]"), 30000)
	is.Equal(state(), "Send the emailnull")
	is.Equal(len(s.posts()), 0)
}

// The link is opened twice: the first to submit wins, the other is told that the link was used.
func TestTwoTabs(t *testing.T) {
	is := is.New(t)
	s := serve(t, recovery.Options{}, portal.Options{})
	link, token := s.link("billybob")
	first := open(t, profile{})
	second := open(t, profile{beside: first})
	first.visit(link)
	second.visit(link)
	is.Equal(first.value("#token"), token)
	is.Equal(second.value("#token"), token)
	is.Equal(second.submit(newPassword), int64(200))
	is.Equal(first.submit("Other-passw0rd-3"), int64(422))
	is.Equal(first.text("h1"), "This link or token cannot be used")
	is.Equal(s.password("3"), newPassword)

	// A newer link, opened in the tab of the old one.
	link, token = s.link("billybob")
	first.visit(s.base + "reset")
	is.Equal(first.value("#token"), "") // the old one is forgotten
	eval[bool](first, fmt.Sprintf("location.href = %q, true", link))
	first.comes(`document.querySelector("#token").value`, token)
	is.Equal(first.url(), s.base+"reset")
	is.Equal(first.submit("Other-passw0rd-3"), int64(200))
	is.Equal(s.password("3"), "Other-passw0rd-3")
}

// A program that checks links in mails, and runs scripts, changes nothing: S30.
func TestAttack_S30_ScannerRunsTheScript(t *testing.T) {
	is := is.New(t)
	s := serve(t, recovery.Options{}, portal.Options{})
	link, token := s.link("billybob")
	for range 3 {
		scanner := open(t, profile{})
		scanner.visit(link)
		is.Equal(scanner.value("#token"), token)
		// It also presses the buttons that it finds; it waits longer than any timer of the script.
		eval[bool](scanner, `document.querySelectorAll("button").forEach((b) => b.click()), true`)
		time.Sleep(time.Second)
		is.Equal(scanner.text("h1"), "Choose a new password")
	}
	is.Equal(len(s.posts()), 0)
	b := open(t, profile{})
	b.visit(link)
	is.Equal(b.submit(newPassword), int64(200))
}

// While a person types, the script says what the server would say afterwards.
func TestScriptMirrorsThePolicy(t *testing.T) {
	for name, core := range map[string]recovery.Options{
		"default": {}, "NIST": {Policy: recovery.NIST80063B()}, "bcrypt": {Hasher: recovery.Bcrypt(10)},
		"digits only": {Policy: &recovery.Policy{MinLength: 8, MaxLength: 8, Require: recovery.Digit}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := serve(t, core, portal.Options{})
			policy := s.Options().Policy
			b := open(t, profile{})
			b.visit(s.base + "reset")
			live := eval[int](b, `document.querySelectorAll("[data-rule]").length`)
			is.Equal(live, len(policy.Rules()))
			for _, password := range []string{
				"x", "Abcdefg-12", "abcdefg-12", "ABCDEFG-12", "Abcdefghi-", "Abcdefg 12", "AbcdefgÄ12", "ÄÖÜßäöü-12", "Abcdefg€12", "Abcdefg。12", "Abcdefg^12",
				"Abcdefg`12", "Abcdefg|12", "Abcdefg😀12", "Abcdef😀1", "Abcdefg😀1", "Xy1-" + strings.Repeat("😀", 60), "Xy1-" + strings.Repeat("😀", 61), "12345678", "123456789",
				strings.Repeat("correct ", 32), strings.Repeat("correct ", 33), "Aa1-ab" + strings.Repeat("ぱ", 22), "Aa1-abc" + strings.Repeat("ぱ", 22), "Ａｂｃ１２３４５６－", "A1-e\u0301\u0301\u0301\u0301\u0301\u0301",
			} {
				broken := map[string]bool{}
				if e, ok := policy.Validate(password).(*recovery.PasswordError); ok {
					for _, r := range e.Reasons {
						broken[r.Name] = true
					}
				}
				b.fill("#password", password)
				shown := eval[map[string]bool](b, `Object.fromEntries([...document.querySelectorAll("[data-rule]")]
					.filter((r) => !["common", "own_word"].includes(r.dataset.rule)).map((r) => [r.dataset.rule, !r.classList.contains("met")]))`)
				for rule, unmet := range shown {
					if broken["too_many_bytes"] && rule != "too_many_bytes" {
						continue // the policy does not report it then
					}
					if unmet != broken[rule] {
						t.Errorf("%s of %q: the script says %v, the policy %v", rule, password, unmet, broken[rule])
					}
				}
				is.True(len(shown) >= 2)
			}
			b.quiet()
		})
	}
}

// The script keeps a form back that the server would reject, and says why beside the field.
func TestFaultsAreShownBeforeSending(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	link, _ := s.link("billybob")
	b.visit(link)
	b.do(clickOn("button[type=submit]"))
	is.Equal(b.text("#password-error"), "This password does not meet the requirements marked below.")
	marked := func() string {
		return eval[string](b, `[...document.querySelectorAll(".unmet")].map((r) => r.dataset.rule + r.lastElementChild.textContent).join()`)
	}
	is.Equal(marked(), "too_short (not met yet),no_upper (not met yet),no_lower (not met yet),no_digit (not met yet),no_special (not met yet)")
	is.Equal(eval[string](b, "document.activeElement.id + document.activeElement.getAttribute('aria-invalid')"), "passwordtrue")
	b.fill("#password", "x")
	b.fill("#password", "")
	is.Equal(marked(), "too_short (not met yet),no_upper (not met yet),no_digit (not met yet),no_special (not met yet)") // unchanged
	b.fill("#password", newPassword)
	is.Equal(b.text("#password-error"), "")
	is.Equal(marked(), "")
	b.fill("#repeat", newPassword[1:])
	is.Equal(b.text("#repeat-error"), "") // the person may still be typing
	b.do(clickOn("button[type=submit]"))
	is.Equal(b.text("#repeat-error"), "The two passwords are not the same.")
	is.Equal(eval[string](b, "document.activeElement.id"), "repeat")
	is.Equal(eval[string](b, `document.querySelector("#repeat-error").getAttribute("aria-live")`), "polite")
	b.comes(`document.querySelector("#rules-status").textContent`, "The password meets the requirements that can be checked here.")
	is.Equal(len(s.posts()), 0)

	b.do(clickOn("#show"))
	is.Equal(eval[string](b, `document.querySelector("#password").type + document.querySelector("#repeat").type`), "texttext")
	b.fill("#repeat", newPassword)
	is.Equal(b.text("#repeat-error"), "")
	is.Equal(b.click("button[type=submit]"), int64(200))
	b.quiet()
}

func TestEveryFaultBeforeSendingAtOnce(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	b.visit(s.base + "reset")
	b.fill("#password", "short")
	b.do(clickOn("button[type=submit]"))
	is.Equal(b.text("#token-error"), "Paste the link or the token from the email.")
	is.Equal(b.text("#password-error"), "This password does not meet the requirements marked below.")
	is.Equal(b.text("#repeat-error"), "The two passwords are not the same.")
	is.Equal(eval[string](b, "document.activeElement.id"), "token")
	b.fill("#token", noToken)
	is.Equal(b.text("#token-error"), "")
	is.Equal(len(s.posts()), 0)
}

// After a moment's failure, the page to go back to still has the token.
func TestStoreDownForAMoment(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	link, token := s.link("billybob")
	b.visit(link)
	s.fault.Store(&storeDown)
	is.Equal(b.submit(newPassword), int64(503))
	is.Equal(b.text("h1"), "We cannot do this right now")
	s.fault.Store(nil)
	is.Equal(b.click("a.button"), int64(200))
	is.Equal(b.value("#token"), token)
	is.Equal(b.submit(newPassword), int64(200))
}

func TestKeyboardOnly(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	b.visit(s.base)
	focus := func() string {
		return eval[string](b, `(() => { const e = document.activeElement; return e.id || e.value || e.getAttribute("href") || e.type || e.tagName })()`)
	}
	tab := func(want string) {
		t.Helper()
		b.press("\t")
		is.Equal(focus(), want)
		outline := eval[string](b, `(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth + s.outlineOffset })()`)
		is.Equal(outline, "solid3px2px") // the focus can be seen, as we want it
	}
	tab("password")
	is.Equal(b.load(chromedp.KeyEvent("\r")), int64(200))
	tab("email") // the chosen way
	b.press("\u0303")
	is.Equal(eval[string](b, "document.activeElement.type"), "radio")
	is.Equal(eval[string](b, "document.querySelector(':checked').value"), "username") // by the arrow
	b.press("\t")
	is.Equal(eval[string](b, "document.activeElement.id"), "username") // its field, and not the other
	is.Equal(eval[bool](b, `document.querySelector("#email").checkVisibility()`), false)
	b.press("billybob")
	is.Equal(b.load(chromedp.KeyEvent("\r")), int64(200))
	is.Equal(b.text("h1"), "Check your email")
	s.deliver()
	m, _ := s.mail.Last()
	b.visit(m.Resets[0].Link)
	tab("token-change")
	tab("password")
	b.press(newPassword)
	tab("repeat")
	b.press(newPassword)
	tab("show")
	b.press(" ")
	is.Equal(eval[string](b, `document.querySelector("#password").type`), "text")
	tab("submit")
	is.Equal(b.load(chromedp.KeyEvent("\r")), int64(200))
	tab("/login")
	is.Equal(s.password("3"), newPassword)
}
