package helm

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
)

// operating is the role of this package's child process: one operation on a release. A
// chart's templates and its schema are programs and data of the requester's choice, and
// nothing can stop or bound them in this process.
var operating = child.Role{Name: "bulkhead: helm"}

// order is the operation that a child carries out.
type order struct {
	Cluster, Namespace, Release, Action string
	Revision                            int
	Wait                                bool // of a rollback
	Upgrade                             upgradeBody
	Chart                               []chart.File // as loaded, subcharts included
	Claim                               claim
	End                                 time.Time // when the parent ends the child
}

// outcome is the answer of a child.
type outcome struct {
	Response json.RawMessage
	// Concealed is the answer for a user who may not see Secrets, if it is another one.
	Concealed json.RawMessage `json:",omitempty"`
	Error     *failed
	Warnings  string // for the operator, one per line
}

// failed is an encoded host.Error.
type failed struct {
	Kind            host.Kind
	Message, Detail string
	Status          int
	Cause           string
}

const (
	exitDone   = 10
	exitFailed = 11

	maxOutcome  = 4 << 20
	maxWarnings = 16 << 10
)

// Child must be called first in main, and in TestMain, of every program that makes a
// Helm. In a child process it carries out the operation and exits; otherwise it returns
// at once.
func Child() {
	operating.Main(func(json.RawMessage) int {
		if err := obey(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailed
		}
		return exitDone
	})
}

// obey carries out the order on in and writes the outcome.
func obey(in io.Reader, out io.Writer) error {
	var o order
	if err := gob.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("reading the order: %w", err)
	}
	conn, err := child.Inherited()
	if err != nil {
		return err
	}
	defer conn.Close()
	rt, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(conn)
	if err != nil {
		return err
	}
	var once sync.Once
	write := func(answer *outcome) (err error) {
		once.Do(func() { err = json.NewEncoder(out).Encode(answer) })
		return err
	}
	stop := func(err error) {
		if write(&outcome{Error: failure(err)}) != nil {
			os.Exit(exitFailed)
		}
		os.Exit(exitDone)
	}
	var answer outcome
	o.carryOut(context.Background(), rt, stop, &answer)
	return write(&answer)
}

// carryOut carries out the order. stop ends this process with an error.
func (o *order) carryOut(ctx context.Context, rt http.RoundTripper, stop func(error), out *outcome) {
	var lines clipped
	defer func() { out.Warnings = lines.String() }()
	over := func(base string) *cluster.Client { return cluster.Over(ctx, o.Cluster, "http://"+base, rt) }
	r := &run{
		request: &request{cluster: o.Cluster, namespace: o.Namespace, release: o.Release, action: o.Action, revision: o.Revision, upgrade: o.Upgrade, wait: o.Wait},
		client:  over(hostRecords), objects: over(hostObjects), lookup: over(hostLookup),
		claim: &o.Claim, stop: stop, end: o.End,
		logger: slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	resp, err := r.prepared(ctx, o)
	if err != nil {
		out.Error = failure(err)
		return
	}
	out.Response, out.Concealed = resp, r.concealed
}

// prepared loads the data of the operation and carries it out.
func (r *run) prepared(ctx context.Context, o *order) (json.RawMessage, error) {
	if r.action == actUpgrade {
		if err := r.readValues(); err != nil {
			return nil, err
		}
		files := make([]*loader.BufferedFile, len(o.Chart))
		for i, f := range o.Chart {
			files[i] = &loader.BufferedFile{Name: f.Name, Data: f.Data}
		}
		var err error
		if r.chart, err = loadFiles(files); err != nil {
			return nil, err
		}
	}
	resp, err := r.recovered(ctx)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// failure encodes err for the parent.
func failure(err error) *failed {
	e, ok := errors.AsType[*host.Error](err)
	if !ok {
		e = &host.Error{Kind: host.Internal, Err: err}
	}
	f := &failed{Kind: e.Kind, Message: e.Message, Detail: e.Detail, Status: e.Status}
	if e.Err != nil {
		f.Cause = e.Err.Error()
	}
	return f
}

// err decodes what failure encoded.
func (f *failed) err(op string) error {
	return &host.Error{Kind: f.Kind, Op: op, Message: f.Message, Detail: f.Detail, Status: f.Status, Err: errors.New(f.Cause)}
}

// clipped keeps the first bytes of what is written to it.
type clipped struct{ strings.Builder }

func (c *clipped) Write(p []byte) (int, error) {
	c.Builder.Write(p[:min(len(p), max(0, maxWarnings-c.Len()))])
	return len(p), nil
}

// limited keeps what is written to it, and fails beyond a bound.
type limited struct {
	bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > l.most {
		return 0, fmt.Errorf("over %d bytes", l.most)
	}
	return l.Buffer.Write(p)
}
