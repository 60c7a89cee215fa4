package httpadapter

import (
	"strings"
	"testing"

	"example.com/recovery/httpadapter/internal/stage"
)

const curlType = "Content-Type: application/x-www-form-urlencoded" // what curl -d sends

// put is the documented file of step 4 as curl -d sends it: without newlines.
const put = `{    "account-recovery": {        "username": "billybob",        "password": "superSecurePassw0rd!",        "token": "TOKEN"    }}`

var xandrVectors = []vector{
	{name: "forgot password, as documented", method: "POST", path: "/account-recovery", header: []string{curlType},
		body: `{    "account-recovery": {        "username" : "billybob"    }}`, mails: "reset_token billybob@example.com"},
	{name: "forgot password, unknown user name", method: "POST", path: "/account-recovery", header: []string{curlType},
		body: `{    "account-recovery": {        "username" : "nobody"    }}`},
	{name: "forgot password, disabled account", method: "POST", path: "/account-recovery", header: []string{curlType},
		body: `{    "account-recovery": {        "username" : "mallory"    }}`},
	{name: "forgot user name, as documented", method: "POST", path: "/account-recovery", header: []string{curlType},
		body: "{    \"account-recovery\": {        \"email\" : \"alice@example.com\"    }    }", mails: "usernames alice@example.com"},
	{name: "forgot user name, unknown address", method: "POST", path: "/account-recovery", header: []string{"Content-Type: application/json"},
		body: "{\n\t\"account-recovery\": {\n\t\t\"email\" : \"nobody@example.com\"\n\t}\n}\n"},
	{name: "new password, as documented", method: "PUT", path: "/account-recovery", header: []string{curlType},
		body: put, mails: "password_changed billybob@example.com"},
	{name: "new password, without user name", method: "PUT", path: "/account-recovery",
		body: `{"account-recovery":{"password":"superSecurePassw0rd!","token":"TOKEN"}}`, mails: "password_changed billybob@example.com"},
	{name: "another user's name", method: "PUT", path: "/account-recovery", body: strings.Replace(put, "billybob", "alice", 1)},
	{name: "unknown token", method: "PUT", path: "/account-recovery",
		body: `{"account-recovery":{"password":"superSecurePassw0rd!","token":"` + stage.NoToken + `"}}`},
	{name: "empty token", method: "PUT", path: "/account-recovery", body: `{"account-recovery":{"password":"superSecurePassw0rd!","token":""}}`},
	{name: "null token", method: "PUT", path: "/account-recovery", body: `{"account-recovery":{"password":"superSecurePassw0rd!","token":null}}`},
	{name: "rejected password", method: "PUT", path: "/account-recovery", body: strings.Replace(put, "superSecurePassw0rd!", "secret", 1)},
	{name: "password with the user name", method: "PUT", path: "/account-recovery", body: strings.Replace(put, "superSecurePassw0rd!", "My-Billybob-26!", 1)},
	{name: "password too long", method: "PUT", path: "/account-recovery", body: strings.Replace(put, "superSecure", strings.Repeat("Aa1-", 260), 1)},
	{name: "denied by the application", core: stage.Denied, method: "PUT", path: "/account-recovery", body: put},
	{name: "challenged by the application", core: stage.Challenged, method: "PUT", path: "/account-recovery", body: put},
	{name: "rejected by the application", core: stage.Rejected, method: "PUT", path: "/account-recovery", body: put},
	{name: "the application cannot decide", core: stage.Unsure, method: "PUT", path: "/account-recovery", body: put},
	{name: "empty body", method: "POST", path: "/account-recovery"},
	{name: "not JSON", method: "POST", path: "/account-recovery", body: "username=billybob"},
	{name: "body that ends early", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"username":`},
	{name: "unknown key", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"user":"billybob"}}`},
	{name: "list of addresses", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"email":["alice@example.com","evil@example.com"]}}`},
	{name: "duplicate key", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"email":"alice@example.com","email":"evil@example.com"}}`},
	{name: "user name and address", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"username":"alice","email":"evil@example.com"}}`},
	{name: "neither user name nor address", method: "POST", path: "/account-recovery", body: `{"account-recovery":{}}`},
	{name: "empty user name", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"username":""}}`},
	{name: "invisible character", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"username":"billy\u200bbob"}}`},
	{name: "two addresses in one", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"email":"alice@example.com,evil@example.com"}}`},
	{name: "empty address", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"email":""}}`},
	{name: "token on POST", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"username":"alice","token":"x"}}`},
	{name: "password on POST", method: "POST", path: "/account-recovery", body: `{"account-recovery":{"email":"alice@example.com","password":"x"}}`},
	{name: "address on PUT", method: "PUT", path: "/account-recovery", body: `{"account-recovery":{"email":"a@b.example","password":"x","token":"y"}}`},
	{name: "no token on PUT", method: "PUT", path: "/account-recovery", body: `{"account-recovery":{"username":"billybob","password":"x"}}`},
	{name: "no password on PUT", method: "PUT", path: "/account-recovery", body: `{"account-recovery":{"token":"x"}}`},
	{name: "empty user name on PUT", method: "PUT", path: "/account-recovery", body: `{"account-recovery":{"username":"","password":"x","token":"y"}}`},
	{name: "body too large", method: "POST", path: "/account-recovery", body: strings.Repeat(" ", 16<<10+1)},
	{name: "GET", method: "GET", path: "/account-recovery"},
	{name: "HEAD", method: "HEAD", path: "/account-recovery"},
	{name: "OPTIONS", method: "OPTIONS", path: "/account-recovery"},
	{name: "method override", method: "GET", path: "/account-recovery?_method=PUT", header: []string{"X-HTTP-Method-Override: PUT"}, body: put},
	{name: "method unknown to HTTP", method: "BREW", path: "/account-recovery"},
	{name: "below a prefix, with a slash behind", method: "POST", path: "/api/v1/account-recovery/", body: `{"account-recovery":{"username":"nobody"}}`},
	{name: "from another site", method: "POST", path: "/account-recovery", header: []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, body: `{"account-recovery":{"username":"billybob"}}`},
	{name: "from a configured origin", opts: fromApp, method: "POST", path: "/account-recovery", header: []string{"Origin: https://app.example.com", "Sec-Fetch-Site: cross-site"},
		body: `{"account-recovery":{"username":"billybob"}}`, mails: "reset_token billybob@example.com"},
	{name: "another path", method: "POST", path: "/account-recovery/x", body: put},
	{name: "over the limit", core: stage.OneRequest, before: askOnce, method: "POST", path: "/account-recovery",
		body: `{"account-recovery":{"username":"billybob"}}`},
	{name: "over the limit, forwarded headers", core: stage.OneRequest, before: askOnce, method: "POST", path: "/account-recovery",
		header: []string{"X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Real-IP: 203.0.113.9"},
		body:   `{"account-recovery":{"username":"billybob"}}`},
	{name: "store down", before: storeDown, method: "POST", path: "/account-recovery", body: `{"account-recovery":{"username":"billybob"}}`},
	{name: "store down on PUT", before: storeDown, method: "PUT", path: "/account-recovery", body: put},
	{name: "store panics", before: storePanic, method: "POST", path: "/account-recovery", body: `{"account-recovery":{"username":"billybob"}}`},
	{name: "tenant at fault", opts: noTenant, method: "POST", path: "/account-recovery", body: `{"account-recovery":{"username":"billybob"}}`},
	{name: "always 200", opts: Options{XandrAlways200: true}, method: "PUT", path: "/account-recovery", body: strings.Replace(put, "billybob", "alice", 1)},
	{name: "always 200, over the limit", opts: Options{XandrAlways200: true}, core: stage.OneRequest, before: askOnce, method: "POST", path: "/account-recovery",
		body: `{"account-recovery":{"username":"billybob"}}`},
}

func TestXandrGolden(t *testing.T) { golden(t, NewXandr, "xandr.txt", xandrVectors) }
