package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// answer is how a handler of your own answers an error of the Service.
func answer(w http.ResponseWriter, err error) {
	if e, ok := errors.AsType[*recovery.LimitError](err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
		http.Error(w, "Too many tries. Come back later.", http.StatusTooManyRequests)
	} else if e, ok := errors.AsType[*recovery.FieldError](err); ok {
		http.Error(w, "The "+e.Field+" "+e.Rule+".", http.StatusUnprocessableEntity)
	} else if e, ok := errors.AsType[*recovery.PasswordError](err); ok {
		http.Error(w, "The password "+e.Reasons[0].Text+".", http.StatusUnprocessableEntity)
	} else if e, ok := errors.AsType[*recovery.ChallengeError](err); ok {
		http.Error(w, e.Text, http.StatusForbidden) // show a field for CompleteRequest.Factor
	} else if errors.Is(err, recovery.ErrInvalidToken) { // one answer, whatever the reason
		http.Error(w, "This link cannot be used. Ask for a new one.", http.StatusUnprocessableEntity)
	} else if errors.Is(err, recovery.ErrDenied) {
		http.Error(w, "Please call the help desk.", http.StatusForbidden)
	} else if err != nil { // ErrBusy, the Store, or a function of yours
		log.Println(err) // it holds no token, password or address
		http.Error(w, "Something went wrong. Try again in a moment.", http.StatusServiceUnavailable)
	}
}

// All errors, and what to answer to each.
func ExampleService_CompleteReset_errors() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Limits: recovery.Limits{CompletePerClient: recovery.Limit{Burst: 1, Every: time.Hour}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range []recovery.CompleteRequest{
		{Token: "guessed", Password: "Correct-h0rse-7", Locale: "not a language"},
		{Token: "guessed", Password: "Sh0rt-pw"},
		{Token: "guessed", Password: "Correct-h0rse-7"},
		{Token: "guessed", Password: "Correct-h0rse-7"},
	} {
		_, err := svc.CompleteReset(context.Background(), r)
		w := httptest.NewRecorder()
		answer(w, err)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 422 The locale must be language tags of letters, digits and hyphens, with a comma between two, and at most 64 bytes.
	// 422 The password must have at least 10 characters.
	// 422 This link cannot be used. Ask for a new one.
	// 429 Too many tries. Come back later.
}
