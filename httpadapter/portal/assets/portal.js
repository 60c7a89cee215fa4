// The pages work without this script. It moves the token of the mail's link from the address bar
// into the form, and ticks off the password rules that are met. It never submits anything.
(() => {
	"use strict";

	// An element that a replaced page does not have becomes one that nobody sees.
	const nothing = () => document.createElement("p");
	const $ = (id) => document.getElementById(id) ?? nothing();
	const form = document.querySelector("form"), { page, forget } = document.body.dataset;
	if (forget !== undefined) memory(null);
	if (page && page !== "reset") {
		// After a POST another page may stand at the address "reset". A mail's link that is opened
		// there changes only the fragment and loads nothing. The "?" forces the browser to load the
		// page, and the token stays in the address until there is a field for it.
		const onwards = () => { if (inAddress()) location.replace("reset?" + location.hash) };
		onwards();
		addEventListener("hashchange", onwards);
	} else if (form && ["token", "password", "repeat"].every((id) => form.querySelector("#" + id))) {
		takeToken();
		checkPassword();
	}
	if (form) submitOnce(); // after the checks, which may keep a form back

	// memory keeps the token in this tab until it is of no further use: no answer of the server
	// repeats it, and a rejected password or a reload brings a new page.
	function memory(token) {
		const key = "recovery-token";
		try {
			if (token === null) sessionStorage.removeItem(key);
			else if (token !== undefined) sessionStorage.setItem(key, token);
			return sessionStorage.getItem(key);
		} catch {
			return null; // storage is switched off
		}
	}

	function inAddress() {
		return /^#token(?:=|%3[Dd])(.+)$/.exec(location.hash)?.[1];
	}

	function takeToken() {
		const input = $("token"), field = $("token-field"), taken = $("token-taken");
		// The server reads a pasted text in the same way.
		const bare = (text) => {
			const one = text.replace(/[\s\u200b\ufeff]+/g, "").replace(/^<(.*)>$/, "$1");
			const links = [...one.matchAll(/(?:#|%23|%2523|-23|\*)token(?:=|%3[Dd]|%253[Dd]|-3D)([a-z2-7]+)/g)];
			return links.pop()?.[1] ?? one;
		};
		const fill = (text) => {
			const token = input.value = bare(text);
			const whole = /^[a-z2-7]{52}$/.test(token) && !$("token-error").textContent;
			field.hidden = whole;
			taken.hidden = !whole;
			$("token-again").hidden = token !== "";
		};
		// take moves the token from the address bar into the field.
		const take = () => {
			const token = inAddress();
			if (!token) return;
			fail(input, $("token-error"), "");
			fill(token);
			memory(token);
			history.replaceState(null, "", location.href.split("#")[0].replace(/\?$/, ""));
		};
		const kept = memory();
		if (kept) fill(kept);
		take();
		addEventListener("hashchange", take);
		input.addEventListener("input", () => fail(input, $("token-error"), ""));
		form.addEventListener("submit", () => memory(input.value.trim() || null));
		addEventListener("pageshow", (event) => {
			if (event.persisted) fill(memory() ?? ""); // a used one is forgotten
		});
		$("token-change").addEventListener("click", () => {
			fill("");
			memory(null);
			input.focus();
		});
	}

	function checkPassword() {
		const token = $("token"), password = $("password"), repeat = $("repeat"), status = $("rules-status");
		const checks = {
			too_short: (p, limit) => [...p].length >= limit,
			too_long: (p, limit) => [...p].length <= limit,
			too_many_bytes: (p, limit) => new TextEncoder().encode(p).length <= limit,
			no_upper: (p) => /[A-Z]/.test(p),
			no_lower: (p) => /[a-z]/.test(p),
			no_digit: (p) => /[0-9]/.test(p),
			no_special: (p) => /[\p{P}\p{S}]/u.test(p),
		};
		const allRules = [...document.querySelectorAll("[data-rule]")];
		const rules = allRules.filter((r) => checks[r.dataset.rule]); // the other ones need the server
		const unmet = () => rules.filter((r) => !checks[r.dataset.rule](password.value, Number(r.dataset.limit)));
		const say = (rule, state) => {
			(rule.querySelector(".sr") ?? nothing()).textContent = state && ` (${rule.parentElement.dataset[state]})`;
		};

		let timer;
		const show = () => {
			const missing = unmet();
			for (const rule of rules) {
				const met = password.value !== "" && !missing.includes(rule);
				rule.classList.toggle("met", met);
				if (met) rule.classList.remove("unmet");
				say(rule, met ? "met" : password.value !== "" || rule.classList.contains("unmet") ? "unmet" : "");
			}
			clearTimeout(timer); // so that a screen reader does not speak at every key
			timer = setTimeout(() => {
				const { all = "", some = "" } = status.dataset;
				status.textContent = password.value === "" || rules.length === 0 ? ""
					: missing.length ? some.replace("{n}", missing.length) : all;
			}, 800);
		};
		const differs = () => password.value !== repeat.value;
		const showDiffers = () => fail(repeat, $("repeat-error"), differs() ? $("repeat-error").dataset.text : "");

		password.addEventListener("input", () => {
			for (const rule of allRules) {
				if (rules.includes(rule)) continue;
				rule.classList.remove("unmet"); // the server rejected a different password
				say(rule, "");
			}
			show();
			fail(password, $("password-error"), "");
			if (repeat.getAttribute("aria-invalid") && !differs()) showDiffers();
		});
		// Check while typing and not on blur: an error that appears between press and release would
		// move the button away from the pointer.
		repeat.addEventListener("input", () => {
			if (!differs() || repeat.value.length >= password.value.length) showDiffers();
		});
		form.addEventListener("submit", (event) => {
			const missing = unmet(), noToken = token.value.trim() === "";
			if (!missing.length && !differs() && !noToken) {
				password.type = repeat.type = "password";
				return;
			}
			event.preventDefault();
			fail(token, $("token-error"), noToken ? $("token-error").dataset.text : "");
			showDiffers();
			if (missing.length) fail(password, $("password-error"), $("password-error").dataset.text);
			for (const rule of missing) {
				rule.classList.add("unmet");
				say(rule, "unmet");
			}
			(noToken ? token : missing.length ? password : repeat).focus();
		});

		addEventListener("pageshow", (event) => {
			if (!event.persisted) return;
			password.value = repeat.value = ""; // the next person at this computer must not find them
			show();
		});

		$("show-field").hidden = false;
		$("show").addEventListener("change", (event) => {
			password.type = repeat.type = event.target.checked ? "text" : "password";
		});
		show();
	}

	function fail(input, error, text) {
		if (text) input.setAttribute("aria-invalid", "true");
		else input.removeAttribute("aria-invalid");
		if (error.textContent !== text) error.textContent = text;
	}

	// submitOnce shows that the form is being sent, and keeps a second press from sending it again.
	function submitOnce() {
		const button = form.querySelector("[type=submit]") ?? nothing(), status = form.querySelector("[role=status]") ?? nothing();
		const text = button.textContent;
		let timer;
		const ready = () => {
			clearTimeout(timer);
			button.removeAttribute("aria-disabled");
			button.textContent = text;
			status.textContent = "";
		};
		form.addEventListener("submit", (event) => {
			if (event.defaultPrevented) return;
			if (button.hasAttribute("aria-disabled")) {
				event.preventDefault();
				return;
			}
			button.setAttribute("aria-disabled", "true");
			button.textContent = status.textContent = form.dataset.busy;
			timer = setTimeout(ready, 30000); // the answer was lost, or loading was stopped
		});
		addEventListener("pageshow", ready); // the reader came back
	}
})();
