package main

import "strings"

const portalName = "cloud_control"

// guide says what to try, where accounts are kept, and where the mails go.
func guide(base, db, mails string) string {
	return strings.NewReplacer("BASE", base, "PORTAL", portalName, "DATABASE", db, "MAILS", mails).Replace(`Account recovery, to try out, on BASE

Accounts: alice and alicia on alice@example.com, billybob on billybob@example.com,
and mallory, who is disabled. Everybody's password is Old-passw0rd-1 until it is reset.
They are kept in DATABASE
The mails are MAILS

In a browser, begin with BASE/

Reset a password:

  curl -X POST -d '{"account-recovery":{"username":"billybob"}}' BASE/account-recovery
  curl BASE/mailbox.json
  curl -X PUT -d '{"account-recovery":{"username":"billybob","password":"New-passw0rd-2","token":"TOKEN"}}' BASE/account-recovery
  curl -i -d '{"username":"billybob","password":"New-passw0rd-2"}' BASE/login

Retrieve user names:

  curl -X POST -d '{"account-recovery":{"email":"alice@example.com"}}' BASE/account-recovery

The same in the format of Rackspace Identity, JSON or XML; with a portal the mail has a link:

  curl -i -H 'Content-Type: application/json' -d '{"RAX-AUTH:forgotPasswordCredentials":{"username":"alice"}}' BASE/v2.0/users/RAX-AUTH/forgot-pwd
  curl -i -H 'Content-Type: application/json' -d '{"RAX-AUTH:forgotPasswordCredentials":{"username":"alicia","portal":"PORTAL"}}' BASE/v2.0/users/RAX-AUTH/forgot-pwd
  curl -i -H 'Content-Type: application/xml' -H 'X-Auth-Token: TOKEN' -d '<passwordReset xmlns="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0" password="New-passw0rd-3"/>' BASE/v2.0/users/RAX-AUTH/pwd-reset

The same in JSON for a front end of one's own; a code works with the ticket of its request:

  curl -i -H 'Content-Type: application/json' -d '{"username":"billybob","code":true}' BASE/api/recovery/resets
  curl -i -H 'Content-Type: application/json' -d '{"ticket":"TICKET","code":"CODE","password":"New-passw0rd-4"}' BASE/api/recovery/completions
  curl -i -H 'Content-Type: application/json' -d '{"email":"billybob@example.com"}' BASE/api/recovery/usernames
  curl BASE/api/recovery/policy
  curl BASE/api/recovery/openapi.yaml

Ask for a name that nobody has, or for mallory: the answer is the same, and no mail comes.
The user names of an address are mailed at most once an hour.
If you ask again and again, an account gets at most one mail a minute, and an address six, and then one an hour.
`)
}
