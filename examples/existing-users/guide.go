package main

const guide = `Everybody's password is Old-passw0rd-1. The carol of globex has no second factor:

  curl -i -c jar -d '{"login":"carol","password":"Old-passw0rd-1"}' http://localhost:8081/globex/login
  curl -i -b jar -d '{}' http://localhost:8081/globex/me
  curl -i -c ticket -d '{"login":"carol"}' http://localhost:8081/globex/ask
  curl -i -b ticket -d '{"code":"CODE","password":"New-passw0rd-2"}' http://localhost:8081/globex/complete
  curl -i -b jar -d '{}' http://localhost:8081/globex/me    # the session has ended

For the carol of acme, put the key JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP into an authenticator app, or
run: oathtool -b --totp KEY. Without the factor, the second call asks for it:

  curl -i -d '{"login":"carol"}' http://localhost:8081/acme/ask
  curl -i -d '{"token":"TOKEN","password":"New-passw0rd-2","factor":"123456"}' http://localhost:8081/acme/complete

Dave logs in with Google, and his mail says so:

  curl -i -d '{"login":"dave"}' http://localhost:8081/acme/ask

The mails:

`
