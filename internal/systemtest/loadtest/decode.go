package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

const decodeOnly = "decode-only"

// serveDecoder is the baseline, a server that does nothing: it decodes the request and answers with
// as much text as the adapter.
func serveDecoder(stdout io.Writer) error {
	const answer = `{"response":{"status":"OK","dbg_info":{"version":"","warnings":[],"time":0,"output_term":"account-recovery"}}}`
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, listensOn+"http://"+listener.Addr().String())
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			AccountRecovery struct {
				Username string `json:"username"`
			} `json:"account-recovery"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.AccountRecovery.Username == "" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = io.WriteString(w, answer)
	}))
}
