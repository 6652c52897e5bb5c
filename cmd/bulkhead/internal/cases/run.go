package cases

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/devhost"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
)

// Options are those of Test and Bench.
type Options struct {
	Dir   string // of the plugin
	Kinds *capability.Catalog
	// Record has the services of the configuration answer instead of the cases, and
	// writes the cassettes that cases name.
	Record bool

	measured bool // the plugin counts its allocations
}

// Result is the outcome of a case.
type Result struct {
	File     string        `json:"file"`
	Case     string        `json:"case"`
	Passed   bool          `json:"passed"`
	Problems []string      `json:"problems,omitempty"`
	Log      []string      `json:"log,omitempty"` // what the plugin and the host logged, if it failed
	Advice   []string      `json:"advice,omitempty"`
	Status   int           `json:"status"`
	Fuel     uint64        `json:"fuel,omitempty"` // 0: the plugin was not called
	Took     time.Duration `json:"-"`
	Usage    *plugin.Usage `json:"-"` // nil: the plugin was not called
	Recorded string        `json:"recorded,omitempty"`
}

// maxAnswer bounds the answers that are read, in bytes.
const maxAnswer = 16 << 20

// rig is a host with the built plugin, for cases.
type rig struct {
	Options
	host   *devhost.Host
	name   string // of the plugin
	temp   string
	script *script
	traces chan *devhost.Trace
	client *http.Client

	mu  sync.Mutex
	log []string
}

func open(ctx context.Context, o Options) (_ *rig, err error) {
	r := &rig{Options: o, script: &script{}, traces: make(chan *devhost.Trace, 1)}
	if r.temp, err = os.MkdirTemp("", "bulkhead-test-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(r.temp))
		}
	}()
	module := filepath.Join(r.temp, "plugin.wasm")
	if err := pack.Build(ctx, o.Dir, module, pack.Options{Capabilities: o.Kinds.Names(), Measured: o.measured}); err != nil {
		return nil, err
	}
	wasm, err := os.ReadFile(module)
	if err != nil {
		return nil, err
	}
	raw, err := manifest.Extract(wasm)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		return nil, err
	}
	r.name = m.Name
	with := devhost.Options{
		Dir: o.Dir, Name: m.Name, Module: module, Temp: r.temp, Listen: "127.0.0.1:0", NoRates: true,
		Logger: devhost.NewLogger(r.logged), Traced: func(t *devhost.Trace) { r.traces <- t },
	}
	if o.Record {
		with.Answered = r.script.keep
	} else {
		with.Answer = r.script.answer
	}
	r.host, err = devhost.Open(ctx, with)
	r.client = &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return r, err
}

func (r *rig) close() error {
	r.client.CloseIdleConnections()
	return errors.Join(r.host.Close(), os.RemoveAll(r.temp))
}

func (r *rig) logged(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, line)
}

// taken returns what was logged since the last call.
func (r *rig) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.log
	r.log = nil
	return log
}

// Test runs the cases of a plugin, one after another, and returns their results. An error
// means that they cannot be run.
func Test(ctx context.Context, o Options) (results []Result, err error) {
	err = each(ctx, o, func(r *rig, file string, c *Case) error {
		result, err := r.run(ctx, c)
		result.File = file
		results = append(results, result)
		return err
	})
	return results, err
}

// each builds the plugin, runs a host with it, and calls do for each case with the name of its
// file, until do returns an error.
func each(ctx context.Context, o Options, do func(r *rig, file string, c *Case) error) (err error) {
	files, err := Load(o.Dir)
	if err != nil {
		return err
	}
	r, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for _, f := range files {
		for i := range f.Cases {
			if err := do(r, filepath.Base(f.path), &f.Cases[i]); err != nil {
				return fmt.Errorf("%s: %s: %w", f.path, f.Cases[i].Name, err)
			}
		}
	}
	return nil
}

// run makes the request of a case and compares the answer.
func (r *rig) run(ctx context.Context, c *Case) (Result, error) {
	out := Result{Case: c.Name}
	var calls []Call
	if !r.Record {
		var err error
		if calls, err = c.calls(r.Dir); err != nil {
			return out, err
		}
	}
	do, session := r.request, c.Socket != nil || c.Events != nil
	if session {
		do = r.session
	}
	r.script.begin(calls, session)
	r.taken()
	status, problems, err := do(ctx, c)
	if err != nil {
		return out, err
	}
	var trace *devhost.Trace
	select {
	case trace = <-r.traces:
	case <-ctx.Done():
		return out, context.Cause(ctx)
	}
	out.Status, out.Took, out.Usage = status, trace.Took, trace.Usage
	out.Problems = append(problems, r.script.end(len(problems) == 0)...)
	out.Passed = len(out.Problems) == 0
	if out.Usage != nil {
		out.Fuel = out.Usage.Fuel
	}
	if !out.Passed {
		out.Log = r.taken()
		out.Advice = trace.Advice(r.Kinds)
	}
	if r.Record && c.Cassette != "" {
		if err := c.record(r.Dir, r.script.recording()); err != nil {
			return out, err
		}
		out.Recorded = filepath.Join(Dir, c.Cassette)
	}
	return out, nil
}

// request makes the request of a case, and returns how the answer differs from its own.
func (r *rig) request(ctx context.Context, c *Case) (status int, problems []string, err error) {
	resp, err := r.send(ctx, &c.Request)
	if err != nil {
		return 0, nil, err
	}
	problems, err = c.Answer.check(resp)
	return resp.StatusCode, problems, err
}

// send makes a request. The caller closes the answer's body.
func (r *rig) send(ctx context.Context, q *Request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(q.Method, http.MethodGet), r.host.URL()+"/api/"+r.name+q.Path, bytes.NewReader(q.bytes()))
	if err != nil {
		return nil, err
	}
	req.Header = q.header()
	return r.client.Do(req)
}

func (q *Request) header() http.Header {
	h := http.Header{}
	if q.JSON != nil {
		h.Set("Content-Type", "application/json")
	}
	for _, name := range sorted(q.Header) {
		h.Set(name, q.Header[name])
	}
	h.Set(devhost.UserHeader, cmp.Or(q.User, devhost.DefaultUser))
	return h
}

// check reads an answer to its end and returns how it differs from a.
func (a *Answer) check(resp *http.Response) ([]string, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	return a.compare(resp, body), nil
}

// compare returns how an answer differs from a.
func (a *Answer) compare(resp *http.Response, body []byte) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if want := cmp.Or(a.Status, http.StatusOK); resp.StatusCode != want {
		bad("the status is %d, want %d; the body is %.300q", resp.StatusCode, want, body)
	}
	for _, name := range sorted(a.Header) {
		if got := strings.Join(resp.Header.Values(name), ", "); got != a.Header[name] {
			bad("the header %s is %q, want %q", name, got, a.Header[name])
		}
	}
	if a.Text != nil && string(body) != *a.Text {
		bad("the body is %.300q, want %.300q", body, *a.Text)
	}
	if a.JSON != nil && !sameJSON(a.JSON, body) {
		bad("the body is %.300s, want the value %.300s", body, a.JSON)
	}
	if !strings.Contains(string(body), a.Contains) {
		bad("the body is %.300q, which does not contain %q", body, a.Contains)
	}
	return problems
}

// Failed reports whether a case failed.
func Failed(results []Result) bool {
	return slices.ContainsFunc(results, func(r Result) bool { return !r.Passed })
}
