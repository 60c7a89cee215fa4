package outage

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

// A world is a fault and its log.
type world struct {
	Log
	text bytes.Buffer
	log  *slog.Logger
}

func (w *world) fail() { w.Failed(w.log.Error, "it failed", "error", "no") }
func (w *world) work() { w.Works(w.log.Info, "it works again") }

// lines returns what was logged since the last call, without the times.
func (w *world) lines() string {
	defer w.text.Reset()
	return strings.TrimSpace(w.text.String())
}

func inBubble(t *testing.T, f func(is *is.I, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.log = slog.New(slog.NewTextHandler(&w.text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		f(is.New(t), w)
	})
}

func TestFaultThatLastsIsOneLineAMinute(t *testing.T) {
	inBubble(t, func(is *is.I, w *world) {
		w.fail()
		is.Equal(w.lines(), `level=ERROR msg="it failed" error=no`)
		for range 59 {
			time.Sleep(time.Second)
			w.fail()
		}
		is.Equal(w.lines(), "")
		time.Sleep(time.Second)
		w.fail()
		is.Equal(w.lines(), `level=ERROR msg="it failed" error=no "since the last line"=59`)
		time.Sleep(time.Hour)
		w.fail()
		is.Equal(w.lines(), `level=ERROR msg="it failed" error=no`) // there was none without a line
	})
}

func TestEndOfAFaultIsOneLine(t *testing.T) {
	inBubble(t, func(is *is.I, w *world) {
		w.work()
		is.Equal(w.lines(), "") // there was no fault
		w.fail()
		w.lines()
		w.work()
		is.Equal(w.lines(), `level=INFO msg="it works again"`)
		w.work()
		is.Equal(w.lines(), "")
	})
}

// A fault that comes and goes logs no more than a lasting one.
func TestFaultThatComesAndGoesIsTwoLinesAMinute(t *testing.T) {
	inBubble(t, func(is *is.I, w *world) {
		for range 60 {
			w.fail()
			w.work()
			time.Sleep(time.Second)
		}
		is.Equal(w.lines(), "level=ERROR msg=\"it failed\" error=no\nlevel=INFO msg=\"it works again\"")
		w.fail()
		w.work()
		is.Equal(w.lines(), "level=ERROR msg=\"it failed\" error=no \"since the last line\"=59\nlevel=INFO msg=\"it works again\"")
	})
}
