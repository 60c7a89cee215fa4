package mailertest_test

import (
	"context"
	"fmt"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
)

func Example() {
	var mails mailertest.Recorder // what recovery.New gets as its Mailer

	// The service under test sends a mail.
	token, _ := recovery.ParseToken("abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa")
	_ = mails.Send(context.Background(), recovery.Message{
		Kind: recovery.MessageResetToken, To: "billybob@example.com",
		Resets: []recovery.MessageReset{{Username: "billybob", Token: token}},
	})

	m, ok := mails.Last()
	fmt.Println(ok, m.Kind, m.To)
	fmt.Println(m.Resets[0].Token.Reveal()[:6] + "…")
	fmt.Println(m)
	// Output:
	// true reset_token billybob@example.com
	// abcdef…
	// [redacted]
}
