// The pages work without this script. With it, the token of the mail's link goes from the address bar
// into the form, and the rules for the password tick off while one types. It never submits anything.
(() => {
	"use strict";

	const $ = (id) => document.getElementById(id);
	const form = document.querySelector("form");
	if ("forget" in document.body.dataset) memory(null);
	if (form && document.body.dataset.page === "reset") {
		takeToken();
		checkPassword();
	} else {
		// A link opened where another page of /reset stands changes nothing but the address.
		const onwards = () => { if (fromAddress()) location.replace("reset") };
		onwards();
		addEventListener("hashchange", onwards);
	}
	if (form) submitOnce(); // after the checks, which may keep a form back

	// memory keeps the token in this tab until it is of no more use: no answer of the server repeats it,
	// and a rejected password or a reload brings a new page.
	function memory(token) {
		const key = "recovery-token";
		try {
			if (token === null) sessionStorage.removeItem(key);
			else if (token !== undefined) sessionStorage.setItem(key, token);
			return sessionStorage.getItem(key);
		} catch {
			return token; // storage is switched off
		}
	}

	// fromAddress takes the token out of the address bar.
	function fromAddress() {
		const match = /^#token=(.+)$/.exec(location.hash);
		if (!match) return null;
		history.replaceState(null, "", location.href.split("#")[0]);
		return memory(match[1]);
	}

	function takeToken() {
		const input = $("token"), field = $("token-field"), taken = $("token-taken");
		const fill = (text) => {
			const token = input.value = text.trim().replace(/^.*#token=/s, "");
			const whole = /^[a-z2-7]{52}$/.test(token) && !$("token-error").textContent;
			field.hidden = whole;
			taken.hidden = !whole;
			if ($("token-again")) $("token-again").hidden = token !== "";
		};
		const token = fromAddress() ?? memory();
		if (token) fill(token);
		addEventListener("hashchange", () => {
			const next = fromAddress();
			if (next) {
				fail(input, $("token-error"), "");
				fill(next);
			}
		});
		input.addEventListener("input", () => fail(input, $("token-error"), ""));
		form.addEventListener("submit", () => memory(input.value.trim() || null));
		addEventListener("pageshow", (event) => {
			if (event.persisted) fill(memory() ?? ""); // which is forgotten if it was used
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
			no_upper: (p) => /[A-Z]/.test(p),
			no_lower: (p) => /[a-z]/.test(p),
			no_digit: (p) => /[0-9]/.test(p),
			no_special: (p) => /[\p{P}\p{S}]/u.test(p),
		};
		// The other rules need the server.
		const rules = [...document.querySelectorAll("[data-rule]")].filter((r) => checks[r.dataset.rule]);
		const unmet = () => rules.filter((r) => !checks[r.dataset.rule](password.value, Number(r.dataset.limit)));

		let timer;
		const show = () => {
			const words = rules.length ? rules[0].parentElement.dataset : {};
			const missing = unmet();
			for (const rule of rules) {
				const met = password.value !== "" && !missing.includes(rule);
				rule.classList.toggle("met", met);
				if (met) rule.classList.remove("unmet");
				rule.lastElementChild.textContent = password.value === "" ? "" : ` (${met ? words.met : words.unmet})`;
			}
			clearTimeout(timer); // rather than speak at every key
			timer = setTimeout(() => {
				const { all, some } = status.dataset;
				status.textContent = password.value === "" || rules.length === 0 ? ""
					: missing.length ? some.replace("{n}", missing.length) : all;
			}, 800);
		};
		const differs = () => password.value !== repeat.value;
		const showDiffers = () => fail(repeat, $("repeat-error"), differs() ? $("repeat-error").dataset.text : "");

		password.addEventListener("input", () => {
			show();
			fail(password, $("password-error"), "");
			if (repeat.getAttribute("aria-invalid") && !differs()) showDiffers();
		});
		// While typing and not on blur: a line that appears between press and release moves the button
		// away from the pointer.
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
				rule.lastElementChild.textContent = ` (${rule.parentElement.dataset.unmet})`;
			}
			(noToken ? token : missing.length ? password : repeat).focus();
		});

		addEventListener("pageshow", (event) => {
			if (!event.persisted) return;
			password.value = repeat.value = ""; // for the next one at this computer
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

	// submitOnce says that it is working, and keeps a second press from being a second request.
	function submitOnce() {
		const button = form.querySelector("[type=submit]"), status = form.querySelector("[role=status]");
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
		addEventListener("pageshow", ready); // the way back
	}
})();
