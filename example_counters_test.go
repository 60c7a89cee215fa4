package recovery_test

import (
	"expvar"
	"fmt"

	"example.com/recovery"
)

// countingHooks are for /debug/vars. JobFailed and JobRetried deserve an alarm; what strangers can
// cause does not.
func countingHooks(counters *expvar.Map) recovery.Hooks {
	return recovery.Hooks{
		MailSent:        func(e recovery.JobEvent) { counters.Add("sent_"+string(e.Kind), 1) },
		JobFailed:       func(recovery.JobEvent) { counters.Add("failed", 1) },
		JobRetried:      func(recovery.JobEvent) { counters.Add("retried", 1) },
		PasswordChanged: func(recovery.ResetEvent) { counters.Add("resets", 1) },
		LimitReached:    func(e recovery.LimitEvent) { counters.Add("limited_"+string(e.Err.Scope), 1) },
		TokenRefused:    func(e recovery.ResetEvent) { counters.Add("refused_"+string(e.Reason), 1) },
	}
}

// Counters with expvar. A test calls the hooks as the Service does.
func ExampleHooks_counters() {
	counters := new(expvar.Map) // in a program: expvar.NewMap("recovery")
	hooks := countingHooks(counters)

	hooks.MailSent(recovery.JobEvent{Kind: recovery.JobReset})
	hooks.MailSent(recovery.JobEvent{Kind: recovery.JobReset})
	hooks.TokenRefused(recovery.ResetEvent{Reason: recovery.TokenExpired})
	fmt.Println(counters)
	// Output: {"refused_expired": 1, "sent_reset": 2}
}
