package recovery_test

import (
	"log/slog"
	"testing"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// BenchmarkRequestReset is the whole request path on memstore with all limits counted.
func BenchmarkRequestReset(b *testing.B) {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Logger: slog.New(slog.DiscardHandler),
		Limits: recovery.Limits{
			PerClient: recovery.Limit{Burst: 1_000_000, Every: 1000}, Global: recovery.Limit{Burst: 1_000_000, Every: 1000},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	request := recovery.ResetRequest{Username: "billybob", Client: client}
	b.ReportAllocs()
	for b.Loop() {
		if err := svc.RequestReset(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}
