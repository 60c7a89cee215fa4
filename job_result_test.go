package recovery

import (
	"testing"

	"github.com/matryer/is"
)

// The table of result.next.
func TestWhatFollowsFromAResult(t *testing.T) {
	type next struct{ undo, retry, unsure bool }
	fails, succeeds := sample{failed: true, unsure: true}, sample{}
	for name, c := range map[string]struct {
		result result
		like   sample
		want   next
	}{
		"accepted":                       {result{mailed: true}, fails, next{}},
		"perhaps accepted":               {result{failed: true, mailed: true, unsure: true}, succeeds, next{retry: true, unsure: true}},
		"refused for good":               {result{failed: true, mailed: true, refused: true}, fails, next{undo: true}},
		"refused for good, or accepted":  {result{failed: true, mailed: true, refused: true, unsure: true}, succeeds, next{unsure: true}},
		"not accepted":                   {result{failed: true, mailed: true}, succeeds, next{undo: true, retry: true}},
		"an error before the mail":       {result{failed: true}, succeeds, next{undo: true, retry: true}},
		"an error while mails fail":      {result{failed: true}, fails, next{undo: true, retry: true}},
		"nothing to mail":                {result{}, succeeds, next{undo: true}},
		"nothing to mail, mails fail":    {result{}, sample{failed: true}, next{undo: true, retry: true}},
		"nothing to mail, mails unclear": {result{}, fails, next{undo: true, retry: true, unsure: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var got next
			got.undo, got.retry, got.unsure = c.result.next(c.like)
			is.New(t).Equal(got, c.want)
		})
	}
}
