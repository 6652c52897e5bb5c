package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/retryafter"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// pollEvery is the time between two requests for the state of a change if Azure gives
// none.
const pollEvery = 2 * time.Second

// Sealer encrypts texts that only this host and its replicas can create or read.
type Sealer interface {
	Seal(use string, v any) (string, error)
	Unseal(use, text string, v any) error
}

const sealedUse = "azure.change"

// pending is a change in progress, as its sealed id contains it. The host stores
// nothing: Azure has the state, and every user who has the id and may read the resource
// may ask for it.
type pending struct {
	Instance string    `json:"i"`
	Kind     string    `json:"k"`
	Group    string    `json:"g"`
	Object   string    `json:"o"`
	Path     string    `json:"p"` // of the request that began it
	URL      string    `json:"u"` // path and query of the state
	Async    bool      `json:"a"` // the state's protocol is Azure-AsyncOperation, not Location
	Began    time.Time `json:"t"`
}

// outcome is the state of a change as a plugin sees it.
type outcome struct {
	Status     string    `json:"status"` // InProgress, Succeeded, Failed, Canceled
	ID         string    `json:"id,omitempty"`
	StartTime  string    `json:"startTime,omitempty"` // RFC 3339
	EndTime    string    `json:"endTime,omitempty"`
	Percent    *float64  `json:"percentComplete,omitempty"`
	Error      *armError `json:"error,omitempty"`
	RetryAfter int       `json:"retryAfter,omitempty"` // seconds until the next request
	Target     *target   `json:"target,omitempty"`
}

// target is the resource of a change.
type target struct {
	Type          string `json:"type"`
	ResourceGroup string `json:"resourceGroup"`
	Name          string `json:"name"`
}

// change begins a change. It is in progress if Azure gives an address for its state,
// whatever the status: restarting a container group answers 204 and takes some time.
func (s *session) change(ctx context.Context, a *Azure, q *request) (*abi.Response, error) {
	path := q.wire(q.names)
	began := time.Now().UTC()
	got, err := s.do(ctx, http.MethodPost, s.url(path, q.wireQuery()), nil)
	if err != nil {
		return nil, err
	}
	p := &pending{Instance: q.instance, Kind: q.kind, Group: q.group, Object: q.names["name"], Path: path, Began: began}
	link := got.header.Get("Azure-AsyncOperation")
	p.Async = link != ""
	if !p.Async && (got.status == http.StatusAccepted || got.status == http.StatusCreated) {
		link = got.header.Get("Location")
	} else if !p.Async {
		out := &outcome{Status: "Succeeded", StartTime: began.Format(time.RFC3339), EndTime: time.Now().UTC().Format(time.RFC3339), Target: p.target()}
		return reply(out)
	}
	out := &outcome{Status: "InProgress", StartTime: began.Format(time.RFC3339), RetryAfter: retryafter.Seconds(pause(got.header)), Target: p.target()}
	if u, err := s.own(link); err != nil {
		// The change is in progress nevertheless.
		s.logger.Warn("azure named no usable address for a change's state", "instance", q.instance, "correlation", s.correlation)
	} else {
		p.URL = u.RequestURI()
		if out.ID, err = a.sealer.Seal(sealedUse, p); err != nil {
			return nil, err
		}
	}
	resp, err := reply(out)
	if err == nil {
		resp.Status = http.StatusAccepted
	}
	return resp, err
}

func (p *pending) target() *target { return &target{p.Kind, p.Group, p.Object} }

// checkState decrypts the sealed id. An id that is damaged, or belongs to another host or
// instance, is treated like an unknown one.
func (k *kind) checkState(q *request) error {
	id := q.query.Get("id")
	if id == "" {
		return host.E(host.Invalid, name, "id is required")
	}
	var p pending
	if k.sealer == nil || k.sealer.Unseal(sealedUse, id, &p) != nil || p.Instance != q.instance {
		return host.E(host.Invalid, name, "id is not the id of a change")
	}
	q.sealed = &p
	if w := q.query.Get("wait"); w != "" {
		n, err := strconv.Atoi(w)
		if err != nil || n < 0 || n > int(maxWait/time.Second) {
			return host.E(host.Invalid, name, "wait must be a number of seconds from 0 to %d", int(maxWait.Seconds()))
		}
		q.wait = time.Duration(n) * time.Second
	}
	return nil
}

// state asks for the state of a change until it has ended or the wait is over.
func (s *session) state(ctx context.Context, q *request) (*abi.Response, error) {
	u, err := s.own(s.endpoint.Scheme + "://" + s.endpoint.Host + q.sealed.URL)
	if err != nil {
		return nil, err
	}
	until := time.Now().Add(q.wait)
	for {
		got, err := s.do(ctx, http.MethodGet, u, nil)
		if err != nil {
			return nil, err
		}
		out, next := q.sealed.read(got)
		if out.Status != "InProgress" || !time.Now().Add(next).Before(until) {
			return reply(out)
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, s.failure(ctx, context.Cause(ctx))
		}
	}
}

// read reads the state from an answer, in either of Azure's two protocols (Azure
// Resource Manager, asynchronous operations).
func (p *pending) read(got *answer) (*outcome, time.Duration) {
	out := &outcome{Status: "InProgress", StartTime: p.Began.Format(time.RFC3339), Target: p.target()}
	var body struct {
		Status    string    `json:"status"`
		StartTime string    `json:"startTime"`
		EndTime   string    `json:"endTime"`
		Percent   *float64  `json:"percentComplete"`
		Error     *armError `json:"error"`
	}
	// If the body is not JSON, only the status of the answer counts.
	_ = json.Unmarshal(got.body, &body)
	switch {
	case p.Async && body.Status != "":
		out.Status = terminal(body.Status)
	case got.status != http.StatusAccepted:
		out.Status = "Succeeded"
	}
	if body.StartTime != "" {
		out.StartTime = body.StartTime
	}
	out.EndTime, out.Percent = body.EndTime, body.Percent
	if out.Status == "Failed" || out.Status == "Canceled" {
		out.Error = body.Error
	}
	next := pause(got.header)
	if out.Status == "InProgress" {
		out.RetryAfter = retryafter.Seconds(next)
	}
	return out, next
}

// terminal maps a provider's name of a state; every state that is not an end is in
// progress.
func terminal(status string) string {
	for _, end := range []string{"Succeeded", "Failed", "Canceled"} {
		if strings.EqualFold(status, end) {
			return end
		}
	}
	return "InProgress"
}

// pause returns how long to wait before asking for the state of a change again.
func pause(h http.Header) time.Duration { return cmp.Or(retryAfter(h), pollEvery) }
