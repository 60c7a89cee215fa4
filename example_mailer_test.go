package recovery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

// A provider sends mails by the HTTP API of a mail service.
type provider struct {
	renderer *mailer.Renderer
	url, key string
}

func (p provider) Send(ctx context.Context, m recovery.Message) error {
	mail, err := p.renderer.Render(m)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{
		"to": mail.To, "subject": mail.Subject, "text": mail.Text, "html": mail.HTML,
	})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+p.key)
	r.Header.Set("Idempotency-Key", m.ID) // the same when the mail is tried again
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return errors.Join(recovery.ErrUncertain, err) // it may have got there
	}
	defer response.Body.Close()
	switch s := response.StatusCode; {
	case s < 300:
		return nil
	case s == http.StatusUnprocessableEntity: // what this service says of an address that it refuses
		return recovery.ErrPermanent
	default:
		return fmt.Errorf("mail service: status %d", s) // a wrong key, too: it can be put right
	}
}

// A Mailer of your own, for a mail service with an HTTP API.
func ExampleMailer() {
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var mail struct{ To, Subject string }
		body, _ := io.ReadAll(r.Body)
		fmt.Println(json.Unmarshal(body, &mail), mail)
	}))
	defer service.Close()

	renderer, err := mailer.New(&mailer.Options{Application: "Acme"})
	if err != nil {
		log.Fatal(err)
	}
	var mails recovery.Mailer = provider{renderer, service.URL, "key of the environment"}
	err = mails.Send(context.Background(), recovery.Message{
		ID: "1", Kind: recovery.MessageUsernames, To: "alice@example.com", Usernames: []string{"alice"},
	})
	fmt.Println(err)
	// Output:
	// <nil> {alice@example.com Your Acme username}
	// <nil>
}
