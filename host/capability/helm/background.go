package helm

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Bounds of operations in the background.
const (
	asyncTimeout  = 15 * time.Minute
	maxPatience   = 20 // seconds that a request may wait for the end of an operation
	keepFinished  = 10 * time.Minute
	maxOperations = 1000 // that are remembered on this replica
	maxEnded      = 20   // of one user; each keeps its request and its answer
)

// operationRE matches the id of an operation: its action, and random text.
var operationRE = regexp.MustCompile(`^[a-z]{1,20}\.[A-Z2-7]{20,40}$`)

// The states of an operation, in the words of Azure's operations.
const (
	inProgressState = "InProgress"
	succeeded       = "Succeeded"
	failedState     = "Failed"
	canceled        = "Canceled"
)

// state is the answer about an operation. Result, for the user who began it, and Progress
// are known on the replica that runs the operation, and there for keepFinished after its
// end; others know what the release's record says.
type state struct {
	ID        string          `json:"id"`
	Status    string          `json:"status"` // InProgress, Succeeded, Failed, Canceled
	Action    string          `json:"action"`
	User      string          `json:"user,omitempty"`
	StartTime string          `json:"startTime,omitempty"` // RFC 3339
	Objects   int             `json:"objects"`             // changed so far
	Progress  []step          `json:"progress,omitempty"`
	Release   *releaseInfo    `json:"release,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"` // what the call itself answers
	Error     *stateError     `json:"error,omitempty"`
}

type stateError struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
}

// ongoing is one operation in the background of this replica.
type ongoing struct {
	claim  *claim
	bridge *bridge
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the fields below are set
	resp   *abi.Response
	err    error
	ended  time.Time
}

// operations are those in the background of this replica. The zero value is empty. Safe
// for concurrent use.
type operations struct {
	mu     sync.Mutex
	by     map[string]*ongoing
	closed bool
}

func (o *operations) add(x *ongoing) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return host.ErrShutdown
	}
	for id, old := range o.by {
		if !old.ended.IsZero() && time.Since(old.ended) > keepFinished {
			delete(o.by, id)
		}
	}
	if len(o.by) >= maxOperations {
		return host.E(host.Limited, name, "over %d operations were begun in the last minutes", maxOperations)
	}
	if o.by == nil {
		o.by = map[string]*ongoing{}
	}
	o.by[x.claim.ID] = x
	return nil
}

func (o *operations) end(x *ongoing, resp *abi.Response, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x.resp, x.err, x.ended = resp, err, time.Now()
	close(x.done)
	o.trim(x.claim.User)
}

// trim forgets the oldest of the user's operations that have ended, beyond maxEnded. Whoever
// asks for one learns what the release's record says. It needs o.mu.
func (o *operations) trim(user string) {
	var ended []string
	for id, x := range o.by {
		if x.claim.User == user && !x.ended.IsZero() {
			ended = append(ended, id)
		}
	}
	slices.SortFunc(ended, func(a, b string) int { return o.by[b].ended.Compare(o.by[a].ended) })
	for _, id := range ended[min(len(ended), maxEnded):] {
		delete(o.by, id)
	}
}

// find returns the operation with this id on q's release, or nil.
func (o *operations) find(q *request) *ongoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.by[q.operation]
	if x == nil || x.bridge.cluster != q.cluster || x.bridge.namespace != q.namespace || x.bridge.release != q.release {
		return nil
	}
	return x
}

// close ends all operations, and lets no other begin.
func (o *operations) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, x := range o.by {
		x.cancel(host.ErrShutdown)
	}
}

// begin starts an operation in the background, in a session of its own, and answers 202.
// done releases the release.
func (h *Helm) begin(p *capability.Permit, q *request, c *claim, done func(), logger *slog.Logger) (*abi.Response, error) {
	longer, session, err := p.Outlive(strings.Join([]string{q.cluster, q.namespace, q.release}, "/"))
	if err != nil {
		done()
		return nil, err
	}
	ctx, stop := context.WithTimeout(host.WithCorrelation(session.Context(), p.Correlation), asyncTimeout)
	ctx, cancel := context.WithCancelCause(ctx)
	abort := func(err error) (*abi.Response, error) {
		cancel(nil)
		stop()
		session.Close()
		done()
		return nil, err
	}
	client, err := h.clusters.As(ctx, q.cluster, p.Obligations.Impersonate, session)
	if err != nil {
		return abort(err)
	}
	user := p.Caller.Principal.User
	if err := h.slots.acquire(ctx, user); err != nil {
		return abort(client.Failure(name+"."+q.action, "", err))
	}
	x := &ongoing{claim: c, bridge: &bridge{request: q, client: client, permit: longer, policies: h.policies}, cancel: cancel, done: make(chan struct{})}
	if err := h.ongoing.add(x); err != nil {
		h.slots.release(user)
		return abort(err)
	}
	h.running.Go(func() {
		defer h.slots.release(user)
		var resp *abi.Response
		var err error
		defer func() {
			longer.Done(resp, err)
			_, _ = abort(nil) // first: who sees the end may begin the next operation
			h.ongoing.end(x, resp, err)
		}()
		defer capability.Recover(h.logger, name, &err)
		resp, err = h.operate(ctx, x.bridge, c, logger)
	})
	return x.answer(user)
}

// answer describes the operation: 202 while it runs, 200 when it has ended. Its result is
// for the user who began it, since it shows what that user may see.
func (x *ongoing) answer(to host.UserID) (*abi.Response, error) {
	s := state{ID: x.claim.ID, Status: inProgressState, Action: x.claim.Action, User: x.claim.User,
		StartTime: x.claim.Since.UTC().Format(time.RFC3339), Progress: x.bridge.steps()}
	s.Objects = len(s.Progress)
	select {
	default:
	case <-x.done:
		switch {
		case x.err == nil && x.claim.User == string(to):
			s.Status, s.Result = succeeded, x.resp.Body
		case x.err == nil:
			s.Status = succeeded
		default:
			s.Status = failedState
			if errors.Is(x.err, errCanceled) {
				s.Status = canceled
			}
			f := capability.ErrorFrame(x.err)
			s.Error = &stateError{f.Status, f.Message, f.Detail}
		}
	}
	return s.answer()
}

func (s *state) answer() (*abi.Response, error) {
	resp, err := answer(s)
	if err == nil && s.Status == inProgressState {
		resp.Status = http.StatusAccepted
		resp.Header = append(resp.Header, abi.Pair{Name: "Retry-After", Value: "1"})
	}
	return resp, err
}

// follow answers how an operation goes, after it has ended or the request's patience is
// over. A cancellation asks the operation to stop first, and waits longer.
func (h *Helm) follow(ctx context.Context, r *run, user host.UserID) (*abi.Response, error) {
	end := time.NewTimer(r.patience)
	defer end.Stop()
	if x := h.ongoing.find(r.request); x != nil {
		// The record's readers may follow: whoever asks has to be able to read it.
		if _, err := r.records().history(ctx, r.release); err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
			return nil, r.failure(err)
		}
		if r.action == actCancel {
			if x.claim.User != string(user) {
				return nil, notOwner()
			}
			x.cancel(errCanceled)
			select {
			case <-x.done:
			case <-ctx.Done():
				return nil, r.client.Failure(name+"."+r.action, "", context.Cause(ctx))
			}
			return x.answer(user)
		}
		select {
		case <-x.done:
		case <-end.C:
		case <-ctx.Done():
			return nil, r.client.Failure(name+"."+r.action, "", context.Cause(ctx))
		}
		return x.answer(user)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		s, err := r.recorded(ctx, user)
		if err != nil {
			return nil, r.failure(err)
		}
		if s.Status != inProgressState || r.patience == 0 && r.action != actCancel {
			return s.answer()
		}
		select {
		case <-tick.C:
		case <-end.C:
			if r.action != actCancel {
				return s.answer()
			}
		case <-ctx.Done():
			return nil, r.client.Failure(name+"."+r.action, "", context.Cause(ctx))
		}
	}
}

func notOwner() error {
	return host.E(host.Forbidden, name, "the operation is another user's; only who began it may cancel it")
}

// recorded returns the state of an operation of another replica, or of an earlier process,
// from the record that it wrote. To cancel it, recorded marks its claim.
func (r *run) recorded(ctx context.Context, user host.UserID) (*state, error) {
	s := r.records()
	keys, err := s.history(ctx, r.release)
	none := errors.Is(err, driver.ErrReleaseNotFound)
	if err != nil && !none {
		return nil, err
	}
	action, _, _ := strings.Cut(r.operation, ".")
	for _, k := range keys[:min(len(keys), maxTries)] {
		rel, h, err := s.readHead(ctx, k, false, newBudget(maxRelease))
		if err != nil || h.claim == nil || h.claim.ID != r.operation {
			continue // another operation's, or unreadable
		}
		info := describe(rel)
		out := &state{ID: r.operation, Status: inProgressState, Action: action, User: h.claim.User,
			StartTime: h.claim.Since.UTC().Format(time.RFC3339), Objects: h.claim.Objects, Release: &info}
		switch {
		case h.claimed() && r.action == actCancel:
			if h.claim.User != string(user) {
				return nil, notOwner()
			}
			_, err := s.renew(ctx, k, r.operation, false, func(c *claim) { c.Cancel = true })
			if err != nil && host.KindOf(err) != host.Conflict { // else it has just been renewed
				return nil, err
			}
		case h.claimed():
		case h.status == release.StatusFailed && strings.Contains(rel.Info.Description, canceledText):
			out.Status = canceled
		case h.status == release.StatusFailed:
			out.Status, out.Error = failedState, &stateError{http.StatusUnprocessableEntity, "the operation failed", rel.Info.Description}
		default:
			out.Status = succeeded
		}
		return out, nil
	}
	if none && action == actUninstall {
		return &state{ID: r.operation, Status: succeeded, Action: action}, nil
	}
	return nil, host.E(host.NotFound, name, "the operation is not known; the release's history shows what was done")
}
