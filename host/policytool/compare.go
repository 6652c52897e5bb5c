package policytool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
)

// Tools answer administrators' questions about the policies of a running host. They are
// safe for concurrent use.
type Tools struct {
	Engine    *authz.Engine
	Directory authz.Directory     // that of Engine
	Kinds     *capability.Catalog // of the host's capabilities
	Log       *audit.File         // where Engine logs decisions; nil: not to a file
	comparing atomic.Bool
}

// Status returns the state of the engine.
func (t *Tools) Status() authz.Status { return t.Engine.Status() }

// Explain explains the decision of the published policy about q. It is not logged.
func (t *Tools) Explain(ctx context.Context, q *host.Question) *Explanation {
	return Explain(ctx, t.Engine.Serving(), t.Kinds, q, t.Directory)
}

// compareWithin bounds one comparison.
var compareWithin = child.Limits{CPU: 30 * time.Second, Memory: 512 << 20, Wall: 30 * time.Second}

// maxReport bounds the answer of the child, in bytes. The largest report takes a third of
// it.
const maxReport = 32 << 20

const opCompare = "policy.compare"

// Compare replays the decision log, including its rotated files, with the published policy
// and with a candidate: the bundle packed, or the shadow if packed is empty. If one of the
// policies reads data.directory, permissions are matched with the host's present directory;
// otherwise the recorded ones are used.
//
// A candidate is a program of the requester's choice, so compiling and replaying happen in
// a child process, within 30 s, 30 s of processor time and 512 MiB. Compare returns an
// error if these limits are exceeded, if decisions are not logged to a file, if the
// candidate cannot be used, or if another comparison is in progress.
func (t *Tools) Compare(ctx context.Context, packed []byte) (*DiffReport, error) {
	return t.compareWithin(ctx, packed, compareWithin)
}

func (t *Tools) compareWithin(ctx context.Context, packed []byte, limits child.Limits) (*DiffReport, error) {
	if t.Log == nil {
		return nil, host.E(host.Conflict, opCompare, "decisions are not logged to a file; configure policy.log.file")
	}
	order, err := t.order(packed)
	if err != nil {
		return nil, err
	}
	if !t.comparing.CompareAndSwap(false, true) {
		return nil, host.E(host.Limited, opCompare, "another comparison is in progress")
	}
	defer t.comparing.Store(false)
	log, err := t.Log.Read()
	if err != nil {
		return nil, &host.Error{Kind: host.Internal, Op: opCompare, Err: err}
	}
	defer log.Close()
	ours, theirs, err := child.Pair()
	if err != nil {
		return nil, &host.Error{Kind: host.Internal, Op: opCompare, Err: err}
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server := rpc.NewServer()
		_ = server.RegisterName("Directory", &Matcher{t.Directory})
		server.ServeCodec(jsonrpc.NewServerCodec(ours))
	}()
	defer func() { ours.Close(); <-served }()
	answer := &atMost{n: maxReport}
	result, err := comparing.Run(ctx, child.Job{
		Stdin: io.MultiReader(bytes.NewReader(order), log), Stdout: answer, Files: []*os.File{theirs}, Limits: limits,
	})
	if err != nil {
		return nil, outOfBounds(ctx, err, limits)
	}
	var o outcome
	if result.Exit != exitCompared || json.Unmarshal(answer.Bytes(), &o) != nil || o.Report == nil && o.Message == "" {
		return nil, &host.Error{Kind: host.Internal, Op: opCompare, Err: fmt.Errorf("the child's exit code is %d: %s", result.Exit, result.Line)}
	}
	if o.Report == nil {
		if o.Kind == host.Internal {
			return nil, &host.Error{Kind: host.Internal, Op: opCompare, Err: errors.New(o.Message)}
		}
		return nil, host.E(o.Kind, opCompare, "%s", o.Message)
	}
	return o.Report, nil
}

// order encodes the order to the child, which the log follows.
func (t *Tools) order(packed []byte) ([]byte, error) {
	before, after := t.Engine.Serving(), t.Engine.Candidate()
	var o order
	var err error
	if o.Before, err = pack(before); err != nil {
		return nil, err
	}
	switch {
	case len(packed) > 0:
		o.After = packedPolicy{Packed: packed, Origin: "the request's bundle"}
	case after == nil:
		return nil, host.E(host.Conflict, opCompare, "the request contains no bundle, and no usable policy.shadow is configured")
	default:
		if o.After, err = pack(after); err != nil {
			return nil, err
		}
	}
	o.Directory = fmt.Sprintf("the host's, revision %d", t.Directory.Revision())
	text, err := json.Marshal(&o)
	if err != nil {
		return nil, &host.Error{Kind: host.Internal, Op: opCompare, Err: err}
	}
	return append(text, '\n'), nil
}

func pack(p *authz.Policy) (packedPolicy, error) {
	out := packedPolicy{Origin: p.Origin()}
	if p.Shipped() {
		return out, nil
	}
	var b bytes.Buffer
	if err := p.Pack(&b, "", nil); err != nil {
		return out, &host.Error{Kind: host.Internal, Op: opCompare, Err: err}
	}
	out.Packed = b.Bytes()
	return out, nil
}

// outOfBounds returns the error for the limit that ended the child.
func outOfBounds(ctx context.Context, err error, limits child.Limits) error {
	fault, ok := errors.AsType[*child.Error](err)
	switch {
	case !ok:
	case fault.Fault == child.Canceled && ctx.Err() != nil:
		return context.Cause(ctx)
	case fault.Fault == child.Memory:
		return host.E(host.Unprocessable, opCompare, "compiling the candidate and replaying the log takes more than %d MiB; use bulkhead policy diff", limits.Memory>>20)
	case fault.Fault == child.CPU || fault.Fault == child.TooLong:
		return host.E(host.Timeout, opCompare, "compiling the candidate and replaying the log takes more than %v; use bulkhead policy diff", limits.Wall)
	}
	return &host.Error{Kind: host.Internal, Op: opCompare, Err: err}
}

// atMost keeps up to n bytes and refuses more.
type atMost struct {
	bytes.Buffer
	n int
}

func (w *atMost) Write(p []byte) (int, error) {
	if w.Len()+len(p) > w.n {
		return 0, errTooLong
	}
	return w.Buffer.Write(p)
}
