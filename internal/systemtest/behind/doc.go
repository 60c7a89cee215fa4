// Package behind attacks what happens after the answer of account recovery: the worker, the limits
// of who is mailed, the clocks, the hooks. Its tests run on fake time, most of them on memstore.
// With the environment variable RECOVERY_GUESSES set to full, every case runs, and for longer.
package behind
