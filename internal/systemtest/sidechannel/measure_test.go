package sidechannel

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"example.com/recovery/internal/systemtest/formats"
)

// A measure makes calls in the order of their classes and returns how long those of each class
// took. It leaves out the first ones, until everything is warm. Each call of a class takes longer
// by the class's delay. The measure ends when the limit is over. That does no harm, because the
// order is random: each class has fewer calls.
type measure func(order []uint8, warm int, delays []time.Duration, limit time.Duration) ([][]time.Duration, error)

// shuffled returns n of each of the classes in random order, and some more at the front, to be left
// out.
func shuffled(seed uint64, classes []uint8, n int) (order []uint8, warm int) {
	r := rand.New(rand.NewPCG(seed, 20))
	all := slices.Repeat(classes, n)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	warm = max(len(all)/20, 200)
	return append(slices.Clone(all[:min(warm, len(all))]), all...), min(warm, len(all))
}

// spin passes time without giving up the processor. It is called for every class alike, because
// callers know only the class.
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// burst is how many calls are made before the queue is emptied. Otherwise the queue would grow
// throughout, and a worker that never rests would hide the differences.
const burst = 200

// here measures calls in this process. It uses the inputs of each class in turn, and the classes
// differ in nothing else. If then is not nil, it is called after each call, with an input of its
// own, and timed instead. Between bursts here calls rest.
func here[T any](rest func(), inputs [][]T, call func(T), then []T) measure {
	next, after := make([]int, len(inputs)), 0
	return func(order []uint8, warm int, delays []time.Duration, limit time.Duration) ([][]time.Duration, error) {
		end := time.Now().Add(limit)
		took := make([][]time.Duration, len(inputs))
		for c := range took {
			took[c] = make([]time.Duration, 0, len(order)/2)
		}
		for i, c := range order {
			if i%burst == 0 {
				rest()
			}
			in := inputs[c][next[c]%len(inputs[c])]
			next[c]++
			if then != nil {
				call(in)
				in = then[after%len(then)]
				after++
			}
			start := time.Now()
			call(in)
			spin(delays[c])
			d := time.Since(start)
			if i >= warm {
				took[c] = append(took[c], d)
			}
			if start.After(end) {
				break
			}
		}
		return took, nil
	}
}

// A plan tells the client process what to do.
type plan struct {
	Addr  string
	Rest  []byte     // sent before each burst
	First [][][]byte // by class, sent in turn
	Then  [][][]byte // if any, what is timed after each of the first, by class
	Order []uint8
	Warm  int
	Limit time.Duration
}

// A report is the client process's result.
type report struct {
	Took   [][]time.Duration // by class
	Status map[string]int    // of all answers
	Err    string
}

const (
	clientVariable = "RECOVERY_SIDE_CHANNEL_CLIENT"
	classHeader    = "X-Class"
	restPath       = "/rest"
	noClass        = "z" // of what is not timed
)

func className(c uint8) string { return string(rune('a' + c)) }

func TestMain(m *testing.M) {
	if os.Getenv(clientVariable) == "" {
		os.Exit(m.Run())
	}
	var p plan
	if err := gob.NewDecoder(os.Stdin).Decode(&p); err != nil {
		panic(err)
	}
	r := report{Status: map[string]int{}}
	if err := p.run(&r); err != nil {
		r.Err = err.Error()
	}
	if err := gob.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}

// run sends the requests on one connection, and stops the time of each when the first byte comes
// back.
func (p *plan) run(r *report) error {
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	send := func(request []byte) (time.Duration, error) {
		start := time.Now()
		if _, err := conn.Write(request); err != nil {
			return 0, err
		}
		if _, err := in.Peek(1); err != nil {
			return 0, err
		}
		took := time.Since(start)
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(request, p.Rest) {
			r.Status[response.Status]++
		}
		_, err = io.Copy(io.Discard, response.Body)
		return took, err
	}
	next, then := make([]int, len(p.First)), 0 // no two classes ask for the same then: the first would make its rows
	r.Took = make([][]time.Duration, len(p.First))
	end := time.Now().Add(p.Limit)
	for i, c := range p.Order {
		if i%burst == 0 {
			if _, err := send(p.Rest); err != nil {
				return err
			}
		}
		took, err := send(p.First[c][next[c]%len(p.First[c])])
		next[c]++
		if err == nil && p.Then != nil {
			took, err = send(p.Then[c][then%len(p.Then[c])])
			then++
		}
		if err != nil {
			return err
		}
		if i >= p.Warm {
			r.Took[c] = append(r.Took[c], took)
		}
		if time.Now().After(end) {
			break
		}
	}
	return nil
}

// overHTTP measures requests that another process makes over a kept connection on the loopback
// interface. Each must get the status. The server adds the delay before it begins.
func overHTTP(t testing.TB, rest func(), h http.Handler, status string, inputs [][]formats.Request, then []formats.Request) measure {
	var delays []time.Duration
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == restPath {
			rest()
			return
		}
		class := r.Header.Get(classHeader)[0] - 'a'
		d := time.Duration(0)
		if int(class) < len(delays) {
			d = delays[class]
		}
		spin(d)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p := plan{Addr: server.Listener.Addr().String(), Rest: formats.Request{Method: "POST", Path: restPath}.Bytes(), First: make([][][]byte, len(inputs))}
	for c, messages := range inputs {
		class := className(uint8(c))
		if then != nil {
			p.Then = append(p.Then, nil)
			for _, m := range then {
				p.Then[c] = append(p.Then[c], m.With(classHeader+": "+class).Bytes())
			}
			class = noClass
		}
		for _, m := range messages {
			p.First[c] = append(p.First[c], m.With(classHeader+": "+class).Bytes())
		}
	}
	return func(order []uint8, warm int, d []time.Duration, limit time.Duration) ([][]time.Duration, error) {
		delays = d
		p.Order, p.Warm, p.Limit = order, warm, limit
		r, err := p.inAnotherProcess(t)
		if err == nil && (len(r.Status) != 1 || r.Status[status] == 0) {
			err = fmt.Errorf("the answers were %v, not all %s", r.Status, status)
		}
		return r.Took, err
	}
}

func (p *plan) inAnotherProcess(t testing.TB) (r report, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	client := exec.CommandContext(t.Context(), self, "-test.run=^$")
	client.Env = append(os.Environ(), clientVariable+"=1")
	client.Stderr = os.Stderr
	in, err := client.StdinPipe()
	if err != nil {
		return r, err
	}
	out, err := client.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := client.Start(); err != nil {
		return r, err
	}
	if err := gob.NewEncoder(in).Encode(p); err != nil {
		return r, err
	}
	if err := gob.NewDecoder(out).Decode(&r); err != nil {
		return r, err
	}
	if r.Err != "" {
		return r, fmt.Errorf("the client: %s", r.Err)
	}
	return r, client.Wait()
}
