package mailertest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
)

func message(id string) recovery.Message {
	return recovery.Message{
		ID: id, Kind: recovery.MessageUsernames, To: "billybob@example.com", Usernames: []string{"billybob"},
		Resets:  []recovery.MessageReset{{Username: "billybob"}},
		SignIns: []recovery.SignIn{{Username: "billybob"}},
	}
}

func TestRecorderKeepsMessagesInOrder(t *testing.T) {
	is := is.New(t)
	var r mailertest.Recorder
	_, ok := r.Last()
	is.True(!ok)                   // nothing is recorded at first
	is.Equal(len(r.Messages()), 0) // nothing is recorded at first

	is.NoErr(r.Send(t.Context(), message("1")))
	is.NoErr(r.Send(t.Context(), message("2")))
	last, ok := r.Last()
	is.True(ok)                             // something is recorded
	is.Equal(last.ID, "2")                  // the last message
	is.Equal(len(r.Messages()), 2)          // both messages
	is.Equal(r.Messages()[0].ID, "1")       // the oldest first
	is.True(r.Messages()[1].To != "")       // with their fields
	is.Equal(last.Usernames[0], "billybob") // with their fields

	r.Reset()
	is.Equal(len(r.Messages()), 0) // forgotten
}

func TestRecorderSharesNoMemory(t *testing.T) {
	is := is.New(t)
	var r mailertest.Recorder
	m := message("1")
	is.NoErr(r.Send(t.Context(), m))
	change := func(m recovery.Message) {
		m.Usernames[0], m.Resets[0].Username, m.SignIns[0].Username = "changed", "changed", "changed"
	}
	change(m) // by the sender
	change(r.Messages()[0])
	last, _ := r.Last()
	change(last)
	last, _ = r.Last()
	is.Equal(last.Usernames[0], "billybob")       // the record is its own
	is.Equal(last.Resets[0].Username, "billybob") // in all parts
	is.Equal(last.SignIns[0].Username, "billybob")
}

func TestRecorderFails(t *testing.T) {
	is := is.New(t)
	var r mailertest.Recorder
	full := errors.New("mailbox full")
	r.Fail(func(m recovery.Message) error {
		if len(r.Messages()) > 0 { // must not deadlock
			return full
		}
		return nil
	})
	is.NoErr(r.Send(t.Context(), message("1")))                 // f returned nil
	is.True(errors.Is(r.Send(t.Context(), message("2")), full)) // f's error
	is.Equal(len(r.Messages()), 1)                              // a failure is not recorded
	r.Reset()
	is.NoErr(r.Send(t.Context(), message("3"))) // Reset keeps f, whose condition is over
	r.Fail(nil)
	is.NoErr(r.Send(t.Context(), message("4"))) // no failure any more
}

func TestRecorderObeysItsContext(t *testing.T) {
	is := is.New(t)
	var r mailertest.Recorder
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is.True(errors.Is(r.Send(ctx, message("1")), context.Canceled)) // the error of ctx
	is.Equal(len(r.Messages()), 0)                                  // not sent
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	is := is.New(t)
	var r mailertest.Recorder
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			r.Fail(func(recovery.Message) error { return nil })
			_ = r.Send(t.Context(), message(fmt.Sprint(i)))
			r.Messages()
			r.Last()
		})
	}
	wg.Wait()
	is.Equal(len(r.Messages()), 32) // none is lost
}
