package cookbook_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// metrics counts the events of the hooks. A stranger cannot choose a label.
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
		ResetDenied:     func(recovery.ResetEvent) { count("reset_denied", "") },
		PasswordChanged: func(recovery.ResetEvent) { count("password_changed", "") },
		OnResetCalled:   func(recovery.JobEvent) { count("on_reset_called", "") },
	}
}

// The lanes are those of the whole store: every instance reports the same. The counters are those
// of one process.
var (
	waiting    = prometheus.NewDesc("recovery_waiting", "Jobs in the queue: max() over instances, not sum().", []string{"lane"}, nil)
	oldest     = prometheus.NewDesc("recovery_oldest_seconds", "How long the oldest job waits: max() over instances.", []string{"lane"}, nil)
	tooOld     = prometheus.NewDesc("recovery_too_old_total", "Requests dropped because they waited too long.", nil, nil)
	lostEvents = prometheus.NewDesc("recovery_lost_events_total", "Events that no hook was told of.", nil, nil)
)

// queue is a Collector that calls Service.Stats at each scrape. If the store does not answer, there
// are no values, so alarm on absent(recovery_waiting) too.
type queue struct{ svc *recovery.Service }

func (queue) Describe(all chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{waiting, oldest, tooOld, lostEvents} {
		all <- d
	}
}

func (q queue) Collect(all chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	stats, err := q.svc.Stats(ctx)
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, lane recovery.Lane) {
		all <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, string(lane))
	}
	for _, l := range stats.Lanes {
		gauge(waiting, float64(l.Jobs), l.Lane)
		age := time.Duration(0)
		if l.Jobs > 0 {
			age = time.Since(l.Oldest)
		}
		gauge(oldest, age.Round(time.Second).Seconds(), l.Lane)
	}
	all <- prometheus.MustNewConstMetric(tooOld, prometheus.CounterValue, float64(stats.TooOld))
	all <- prometheus.MustNewConstMetric(lostEvents, prometheus.CounterValue, float64(stats.LostEvents))
}

// Counters of the hooks, and gauges of what waits in the queue.
func Example_prometheus() {
	registry := prometheus.NewRegistry()
	hooks := metrics(registry)
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Hooks: hooks})
	if err != nil {
		log.Fatal(err)
	}
	registry.MustRegister(queue{svc})

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
	// recovery_lost_events_total 0
	// recovery_oldest_seconds{lane="mail"} 0
	// recovery_oldest_seconds{lane="notice"} 0
	// recovery_oldest_seconds{lane="on_reset"} 0
	// recovery_too_old_total 0
	// recovery_waiting{lane="mail"} 1
	// recovery_waiting{lane="notice"} 0
	// recovery_waiting{lane="on_reset"} 0
}
