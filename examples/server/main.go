// Command server is account recovery to try out: the pages, all wire formats, a log-in to see that
// a reset worked, and a mailbox that shows the mails instead of sending them.
//
//	go run ./examples/server
//
// It prints what to try next. It keeps accounts, tokens and requests in an embedded SQLite
// database, and mails until it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/mailer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp): // the help was printed
	case err != nil:
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

type config struct {
	addr     string
	db       string
	accounts int
	limits   string
	worker   bool

	smtp        string
	from        string
	sendTimeout time.Duration
}

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.addr, "addr", "127.0.0.1:8080", "`address` to listen on; port 0 is any free one")
	flags.StringVar(&c.db, "db", "sqlite:", "`where` accounts and tokens are kept: sqlite:FILE (by default a file in the cache directory),\npostgres://…, mysql://… or memory")
	flags.IntVar(&c.accounts, "accounts", 0, "how many accounts user000001, user000002, … to add")
	flags.StringVar(&c.smtp, "smtp", "", "`URL` of a mail server: smtps://user:password@host (TLS), smtp://user:password@host (STARTTLS),\nsmtp+insecure://127.0.0.1:2525 (in the clear, for a test server); by default mails are shown, not sent")
	flags.StringVar(&c.from, "from", "Recovery Example <recovery@example.com>", "`author` of the mails")
	flags.DurationVar(&c.sendTimeout, "send-timeout", 30*time.Second, "how long sending one mail may take; if a server dies, another one\ntakes over its mails after four times as long")
	flags.StringVar(&c.limits, "limits", "on", "on; for load tests also high (limits are counted but never reached) or off")
	flags.BoolVar(&c.worker, "worker", true, "whether this process sends mails; if several share a database, one is enough")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	switch {
	case flags.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q: there are only flags", flags.Arg(0))
	case c.limits != "on" && c.limits != "high" && c.limits != "off":
		return c, fmt.Errorf("-limits must be on, high or off, is %q", c.limits)
	case c.accounts < 0 || c.accounts > maxAccounts:
		return c, fmt.Errorf("-accounts must be from 0 to %d, is %d", maxAccounts, c.accounts)
	}
	return c, nil
}

// limits returns the default for "on".
func limits(name string) recovery.Limits {
	never := recovery.Limit{Burst: 1_000_000, Every: time.Microsecond}
	switch name {
	case "high": // every limit that is counted by default
		return recovery.Limits{
			PerClient: never, Global: never, CompletePerClient: never,
			PerAccount: never, PerRequester: never, PerMailbox: never, UsernamesPerMailbox: never,
		}
	case "off":
		return recovery.Limits{InsecureOff: true}
	}
	return recovery.Limits{}
}

// drainTime is how long requests in flight, and then mails, may take when the program ends.
const drainTime = 10 * time.Second

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	if c.limits != "on" {
		fmt.Fprintln(stderr, "WARNING: -limits="+c.limits+": anybody may send any number of mails to anybody. For load tests only.")
	}
	db, shown, err := open(ctx, c.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	hash, err := addAccounts(ctx, db, c.accounts)
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // the hash took 19 MiB
	renderer, err := mailer.New(nil)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.addr)
	if err != nil {
		return err
	}
	base := "http://" + listener.Addr().String()
	mails, fate, err := newMailer(c, renderer, base, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mails.close()) }()
	svc, err := recovery.New(db, mails, &recovery.Options{
		Application: "Recovery Example",
		SendTimeout: c.sendTimeout,
		Limits:      limits(c.limits),
		Portals:     map[string]recovery.Portal{portalName: {URL: base + "/recover/reset", InsecureHTTP: true}},
		Logger:      logger,
	})
	if err != nil {
		return err
	}
	handler, err := routes(svc, db, mails.box, hash, guide(base, shown, fate), logger)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}

	worker, stopWorker := context.WithCancel(context.Background())
	defer stopWorker()
	worked := make(chan error, 1)
	if c.worker {
		go func() { worked <- svc.Run(worker) }()
	} else {
		worked <- nil
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprint(stdout, guide(base, shown, fate))

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// First refuse new requests, then begin no new mails. Empty a queue in memory, or it is lost.
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err = server.Shutdown(drain)
	stopWorker()
	err = errors.Join(err, <-worked)
	if _, ok := db.(*memory); ok && c.worker {
		err = errors.Join(err, empty(drain, svc))
	}
	fmt.Fprintf(stdout, "stopped; mails sent: %d\n", mails.sent.Load())
	return err
}

// empty delivers what is in the queue. The error says how much is left.
func empty(ctx context.Context, svc *recovery.Service) error {
	_, delivered := svc.Deliver(ctx)
	stats, err := svc.Stats(context.WithoutCancel(ctx))
	if err != nil {
		return errors.Join(delivered, err)
	}
	left := 0
	for _, lane := range stats.Lanes {
		left += lane.Jobs
	}
	if left > 0 {
		return fmt.Errorf("jobs lost, as they were in memory only: %d", left)
	}
	return nil
}

// routes shows no mailbox if box is nil.
func routes(svc *recovery.Service, db database, box *mailbox, hash, guide string, logger *slog.Logger) (http.Handler, error) {
	opts := &httpadapter.Options{Logger: logger}
	mux := http.NewServeMux()
	for path, build := range map[string]func(*recovery.Service, *httpadapter.Options) (http.Handler, error){
		"/account-recovery": httpadapter.NewXandr,
		"/v2.0/":            httpadapter.NewRackspace,
		"/api/recovery/":    httpadapter.NewJSON,
	} {
		format, err := build(svc, opts)
		if err != nil {
			return nil, err
		}
		mux.Handle(path, format)
	}
	login := newLogin(db, hash)
	mux.Handle("POST /login", login)
	if box != nil {
		mux.HandleFunc("GET /mailbox", box.servePage)
		mux.HandleFunc("GET /mailbox.json", box.serveJSON)
	}
	mux.HandleFunc("GET /healthz", text("ok\n")) // the process lives; a restart would not repair a database
	mux.HandleFunc("GET /readyz", readiness(db))
	return mux, addPages(mux, svc, login, guide, box != nil, logger)
}

const readyTimeout = 2 * time.Second

// readiness tells a load balancer whether to send requests here.
func readiness(db database) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if problem := db.problem(ctx); problem != "" {
			http.Error(w, problem, http.StatusServiceUnavailable)
			return
		}
		text("ok\n")(w, r)
	}
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, s)
	}
}
