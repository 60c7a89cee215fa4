package cookbook_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// metrics counts what the hooks tell. No label is a stranger's to choose.
func metrics(r prometheus.Registerer) recovery.Hooks {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "recovery_events_total", Help: "What happened to requests and tokens.",
	}, []string{"event", "reason"})
	r.MustRegister(events)
	count := func(event, reason string) { events.WithLabelValues(event, reason).Inc() }
	return recovery.Hooks{
		MailSent:        func(e recovery.JobEvent) { count("mail_sent", string(e.Kind)) },
		JobDropped:      func(e recovery.JobEvent) { count("nothing_mailed", string(e.Reason)) },
		JobThrottled:    func(e recovery.JobEvent) { count("throttled", string(e.Kind)) },
		JobRetried:      func(e recovery.JobEvent) { count("retried", string(e.Kind)) },
		JobFailed:       func(e recovery.JobEvent) { count("failed", string(e.Kind)) },
		LimitReached:    func(e recovery.LimitEvent) { count("limited", string(e.Err.Scope)) },
		TokenRefused:    func(e recovery.ResetEvent) { count("token_refused", string(e.Reason)) },
		PasswordChanged: func(recovery.ResetEvent) { count("password_changed", "") },
	}
}

// Counters of the hooks, and a gauge of what waits in the queue.
func Example_prometheus() {
	registry := prometheus.NewRegistry()
	hooks := metrics(registry)
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Hooks: hooks})
	if err != nil {
		log.Fatal(err)
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "recovery_waiting", Help: "Jobs in the queue.",
	}, func() (jobs float64) {
		stats, _ := svc.Stats(context.Background())
		for _, lane := range stats.Lanes {
			jobs += float64(lane.Jobs)
		}
		return jobs
	}))

	if _, err := svc.RequestReset(context.Background(), recovery.ResetRequest{Username: "alice"}); err != nil {
		log.Fatal(err)
	}
	hooks.TokenRefused(recovery.ResetEvent{Reason: recovery.TokenExpired}) // as the Service does
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "recovery_") {
			fmt.Print(line)
		}
	}
	// Output:
	// recovery_events_total{event="token_refused",reason="expired"} 1
	// recovery_waiting 1
}
