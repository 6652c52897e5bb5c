package helm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Bounds of the child that carries out one operation.
const (
	childCPU    = 30 * time.Second
	childMemory = 512 << 20
)

// closingTime bounds the time for settling a release after the end of the call, the
// session or the host. A stopping host waits for it.
const closingTime = 8 * time.Second

// operation is one change of a release, in progress in a child.
type operation struct {
	*request
	charts  *charts
	bridge  *bridge
	closing *cluster.Client // see cluster.Client.Closing
	logger  *slog.Logger
	claim   *claim
	until   time.Time // when closing ends
	end     time.Time // when the child is killed
	limits  child.Limits
	started func(pid int)
}

// operate carries out the change that q requests. Helm's record of it does not stay
// pending: however the child ends, the host marks the record as failed. If this process
// ends before that, the claim on the record is not renewed any longer, and the next
// operation recovers. ctx is the call's; when it ends the child is killed.
func (h *Helm) operate(ctx context.Context, b *bridge, c *claim, logger *slog.Logger) (*abi.Response, error) {
	q := b.request
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(writeTimeout)
	}
	// The child ends early enough for the record and the answer.
	room := min(closingTime+2*time.Second, deadline.Sub(now)/4)
	o := &operation{
		request: q, charts: h.charts, bridge: b, logger: logger,
		claim: c, end: deadline.Add(-room), until: deadline.Add(closingTime), limits: h.limits, started: h.started,
	}
	var stop context.CancelFunc
	var err error
	if o.closing, stop, err = b.client.Closing(time.Until(o.until), q.ownRecord); err != nil {
		return nil, err
	}
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		o.keep(ctx, cancel)
	}()
	resp, err := o.run(ctx)
	cancel(nil)
	<-kept
	if unsettled := o.settle(err); unsettled != nil {
		logger.Error("a release's record is still pending; the next operation recovers it",
			"release", q.release, "namespace", q.namespace, "cluster", q.cluster, "error", unsettled)
	}
	return resp, err
}

// run runs the child to its end and returns the outcome.
func (o *operation) run(ctx context.Context) (*abi.Response, error) {
	op := name + "." + o.action
	var files []chart.File
	if o.action == actUpgrade {
		ch, err := o.charts.load(ctx, o.upgrade.Chart, o.upgrade.Version)
		if err != nil {
			return nil, err
		}
		if err := installable(ch); err != nil {
			return nil, err
		}
		for _, f := range ch.Raw {
			files = append(files, chart.File{Name: f.Name, Data: f.Data})
		}
	}
	var text bytes.Buffer
	if err := gob.NewEncoder(&text).Encode(&order{
		Cluster: o.cluster, Namespace: o.namespace, Release: o.release, Action: o.action, Revision: o.revision, Wait: o.wait,
		Upgrade: o.upgrade, Chart: files, Claim: *o.claim, End: o.end,
	}); err != nil {
		return nil, err
	}
	ours, theirs, err := child.Pair()
	if err != nil {
		return nil, err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		o.bridge.serve(ctx, ours)
	}()
	out := &limited{most: maxOutcome}
	o.limits.Wall = time.Until(o.end)
	result, err := operating.Run(ctx, child.Job{
		Stdin: &text, Stdout: out, Started: o.started, Files: []*os.File{theirs}, Limits: o.limits,
	})
	_ = ours.Close() // ends requests that the child left open
	<-served
	o.bridge.handlers.Wait()
	if err != nil {
		return nil, o.ended(ctx, op, err)
	}
	var answer outcome
	if result.Exit != exitDone || json.Unmarshal(out.Bytes(), &answer) != nil {
		return nil, &host.Error{Kind: host.Internal, Op: op, Err: fmt.Errorf("exit status %d: %s", result.Exit, result.Line)}
	}
	if answer.Warnings != "" {
		o.logger.Warn("helm", "release", o.release, "output", answer.Warnings)
	}
	if answer.Error != nil {
		return nil, o.better(answer.Error.err(op))
	}
	body := answer.Response
	if len(answer.Concealed) > 0 && !showsSecrets(ctx, o.bridge.permit, o.request) {
		body = answer.Concealed
	}
	return &abi.Response{Status: http.StatusOK, Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}}, Body: body}, nil
}

// better returns the most informative error: the host's refusal, or, if helm's error has
// no cause, the last write that failed.
func (o *operation) better(err error) error {
	refused, failed, _ := o.bridge.seen()
	if refused != nil {
		return refused
	}
	if e, ok := errors.AsType[*host.Error](err); ok && e.Status == 0 && (e.Kind == host.Upstream || e.Kind == host.Internal) && failed != nil {
		return failed
	}
	return err
}

// ended returns why a child was killed.
func (o *operation) ended(ctx context.Context, op string, err error) error {
	refused, _, _ := o.bridge.seen()
	e, ok := errors.AsType[*child.Error](err)
	switch {
	case !ok:
		return err
	case refused != nil:
		return refused
	case e.Fault == child.Canceled:
		return o.bridge.client.Failure(op, "", cmp.Or(context.Cause(ctx), e.Cause))
	case e.Fault == child.TooLong:
		return &host.Error{Kind: host.Timeout, Op: op, Message: "the operation took too long and was stopped",
			Detail: "the release is marked as failed; a hook or the cluster did not finish in time", Err: err}
	case e.Fault == child.Memory:
		return &host.Error{Kind: host.Unprocessable, Op: op, Err: err,
			Message: fmt.Sprintf("the chart with these values takes over %d MiB of memory", o.limits.Memory>>20)}
	case e.Fault == child.CPU:
		return &host.Error{Kind: host.Unprocessable, Op: op, Err: err,
			Message: fmt.Sprintf("the chart with these values takes over %v of processor time", o.limits.CPU)}
	}
	return &host.Error{Kind: host.Internal, Op: op, Err: err}
}

// settle marks the record that the operation left unfinished as failed. It acts as the
// user with a client of Closing, because the session may have ended. It does not change a
// record that another operation owns by now.
func (o *operation) settle(why error) error {
	_, _, k := o.bridge.seen()
	if k.revision == 0 {
		return nil
	}
	s := &records{client: o.closing, namespace: o.namespace, logger: o.logger, claim: o.claim}
	for range 3 { // a write of the child may still arrive
		rel, h, err := s.readHead(context.Background(), k, true, newBudget(maxRelease))
		switch {
		case errors.Is(err, driver.ErrReleaseNotFound):
			return nil
		case err != nil:
			return err
		}
		if h.claim == nil || h.claim.ID != o.claim.ID || !unfinished(rel.Info.Status) {
			return nil
		}
		err = s.fail(k, rel, h.version, cutShort(o.action, why))
		if host.KindOf(err) != host.Conflict {
			return err
		}
	}
	return errors.New("its record keeps changing")
}

// cutShort returns a record's description of how its operation ended.
func cutShort(action string, why error) string {
	text := "the host could not finish it"
	if e, ok := errors.AsType[*host.Error](why); ok {
		text = e.Public()
	}
	return fmt.Sprintf("%s was interrupted: %s", action, text)
}
