package policytool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// DiffReport lists the decisions that a change of policy or directory would have changed.
type DiffReport struct {
	Old string `json:"old"` // origin; "the log" if the recorded results were compared
	New string `json:"new"`
	// Directory names the directory with which permissions were matched again. If it
	// is empty, the recorded permissions were used.
	Directory string `json:"directory,omitempty"`
	// Decisions is the number of decisions read, Questions the number of different
	// questions.
	Decisions int `json:"decisions"`
	Questions int `json:"questions"`
	// Masked counts decisions that could not be replayed because the log lacks values
	// that matching or one of the policies reads. Other counts other records.
	Masked  int                `json:"masked"`
	Other   int                `json:"other"`
	Changed int                `json:"changed"` // decisions
	Changes []authz.Difference `json:"changes"` // most frequent first
	// Untold counts the changed decisions that are not in Changes, which is bounded.
	Untold int `json:"untold,omitempty"`
}

const (
	// maxRemembered bounds the number of different questions whose results are kept.
	maxRemembered = 100_000
	// maxChanges is the most differences reported, maxChangeText the longest text in
	// one, in bytes.
	maxChanges    = 10_000
	maxChangeText = 300
)

// Over is a directory with which decisions are replayed.
type Over struct {
	Directory authz.Directory
	Name      string // for the report
}

// ErrNoDirectory is the error for policies that read data.directory if no directory is
// given.
var ErrNoDirectory = errors.New("reads data.directory, which a decision log does not contain; give one with --directory")

// Diff replays the decisions in log with the policies after and before, and compares the
// results. The log is JSON lines or arrays, as in a decision log, gzipped or not. Without
// before it compares with the recorded results.
//
// Without over, the recorded permissions are used, so that only the policy differs. With
// it, permissions are matched again with that directory, for the user and the memberships
// that the identity provider was recorded to assert.
func Diff(ctx context.Context, before, after *authz.Policy, over *Over, log io.Reader) (*DiffReport, error) {
	d := &differ{before: before, after: after, seen: map[[32]byte]*replayed{}, trials: map[*authz.Policy]*authz.Trial{}, changes: map[authz.Difference]*authz.Difference{}}
	d.report = DiffReport{Old: "the log", New: after.Origin(), Changes: []authz.Difference{}}
	if before != nil {
		d.report.Old = before.Origin()
	}
	if over != nil {
		d.report.Directory = over.Name
		d.over = over.Directory
	}
	for _, p := range []*authz.Policy{before, after} {
		if p != nil && over == nil && p.ReadsDirectory() {
			return nil, fmt.Errorf("%s %w", p.Origin(), ErrNoDirectory)
		}
	}
	all, err := readRecords(ctx, log)
	if err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		raw, err := all.next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, io.ErrUnexpectedEOF) { // the log is being written
			d.report.Other++
			break
		}
		if err != nil {
			return nil, fmt.Errorf("decision log: record %d: %w", n, err)
		}
		d.replay(ctx, raw)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	d.report.Questions = len(d.seen)
	for _, c := range d.changes {
		d.report.Changes = append(d.report.Changes, *c)
	}
	slices.SortFunc(d.report.Changes, func(a, b authz.Difference) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.User+a.Action+a.Capability, b.User+b.Action+b.Capability)
	})
	return &d.report, nil
}

type differ struct {
	before, after *authz.Policy
	over          authz.Directory // nil: the recorded permissions are used
	trials        map[*authz.Policy]*authz.Trial
	report        DiffReport
	seen          map[[32]byte]*replayed
	changes       map[authz.Difference]*authz.Difference
}

// replayed is the result for one question.
type replayed struct {
	change *authz.Difference // nil: nothing changes
	err    error             // the record is not a decision of Bulkhead
}

// recorded is the part of a record that is read.
type recorded struct {
	DecisionID string          `json:"decision_id"`
	Path       string          `json:"path"`
	Input      json.RawMessage `json:"input"`
	Result     json.RawMessage `json:"result"`
	Erased     []string        `json:"erased"`
	Masked     []string        `json:"masked"`
	Custom     struct {
		Asserted struct {
			Roles []string `json:"roles"`
			Teams []string `json:"teams"`
		} `json:"asserted"`
		Unlisted bool `json:"unlisted"`
	} `json:"custom"`
}

func (d *differ) replay(ctx context.Context, raw json.RawMessage) {
	var r recorded
	err := json.Unmarshal(raw, &r)
	lacks := d.lacks(append(r.Erased, r.Masked...))
	if err != nil || r.Path != authz.DecisionPath || len(r.Input) == 0 && !lacks {
		d.report.Other++
		return
	}
	if lacks {
		d.report.Decisions++
		d.report.Masked++
		return
	}
	key := d.key(&r)
	known, ok := d.seen[key]
	if !ok {
		known = new(replayed)
		known.change, known.err = d.judge(ctx, &r)
		if known.err == nil && len(d.seen) < maxRemembered {
			d.seen[key] = known
		}
	}
	if known.err != nil {
		d.report.Other++
		return
	}
	d.report.Decisions++
	if known.change == nil {
		return
	}
	d.report.Changed++
	same := *known.change
	same.DecisionID = ""
	switch c := d.changes[same]; {
	case c != nil:
		c.Count++
	case len(d.changes) < maxChanges:
		first := *known.change
		d.changes[same] = &first
	default:
		d.report.Untold++
	}
}

// key returns a hash of everything in r on which the outcome depends.
func (d *differ) key(r *recorded) [32]byte {
	parts := []any{r.Input}
	if d.before == nil {
		parts = append(parts, r.Result)
	}
	if d.over != nil {
		parts = append(parts, r.Custom)
	}
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(parts) // cannot fail: the parts were decoded from JSON
	return [32]byte(h.Sum(nil))
}

// unescape decodes a step of a JSON Pointer (RFC 6901).
var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// lacks reports whether the outcome may depend on the erased values, given as JSON
// Pointers.
func (d *differ) lacks(erased []string) bool {
	return slices.ContainsFunc(erased, func(pointer string) bool {
		steps := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
		for i, s := range steps {
			steps[i] = unescape.Replace(s)
		}
		switch steps[0] {
		case "": // the whole record
			return true
		case "result":
			return d.before == nil
		case "custom":
			return d.over != nil && (len(steps) == 1 || steps[1] == "asserted" || steps[1] == "unlisted")
		case "input":
			return d.lacksInput(steps[1:])
		}
		return false
	})
}

func (d *differ) lacksInput(path []string) bool {
	if d.over != nil {
		switch made, matched := authz.InputAt(path); {
		case made:
			return false
		case matched:
			return true
		}
	}
	return d.after.MayRead(path...) || d.before != nil && d.before.MayRead(path...)
}

// trial returns a trial of p with the directory.
func (d *differ) trial(p *authz.Policy) *authz.Trial {
	t := d.trials[p]
	if t == nil {
		t = p.Over(d.over)
		d.trials[p] = t
	}
	return t
}

// judge decides one question with both policies.
func (d *differ) judge(ctx context.Context, r *recorded) (*authz.Difference, error) {
	q, err := r.question()
	if err != nil {
		return nil, err
	}
	decide := func(p *authz.Policy) host.Decision {
		decision, _, err := d.trial(p).Evaluate(ctx, q, nil)
		if err != nil {
			decision = host.Decision{Reason: host.Reason{Code: authz.PolicyError}}
		}
		return decision
	}
	if d.over == nil {
		input, err := ast.ValueFromReader(bytes.NewReader(r.Input))
		if err != nil {
			return nil, err
		}
		decide = func(p *authz.Policy) host.Decision { return p.DecideInput(ctx, input) }
	}
	var before host.Decision
	if d.before != nil {
		before = decide(d.before)
	} else if before, err = decisionFrom(r.Result); err != nil {
		return nil, err
	}
	after := decide(d.after)
	c, differs := authz.Compare(q, &before, &after)
	if !differs {
		return nil, nil
	}
	c.DecisionID = r.DecisionID
	for _, field := range []*string{&c.User, &c.Action, &c.Capability, &c.Old, &c.New, &c.DecisionID} {
		*field = text.Clip(*field, maxChangeText)
	}
	return &c, nil
}

// question returns the recorded question.
func (r *recorded) question() (*host.Question, error) {
	var in struct {
		Principal struct {
			User   host.UserID    `json:"user"`
			Claims map[string]any `json:"claims"`
			Login  struct {
				ID        host.LoginID
				Method    string
				At, Until time.Time
			} `json:"login"`
		} `json:"principal"`
		Route      host.Route           `json:"route"`
		Resource   host.Resource        `json:"resource"`
		Capability *host.CapabilityCall `json:"capability"`
		Reason     string               `json:"reason"`
	}
	dec := json.NewDecoder(bytes.NewReader(r.Input))
	dec.UseNumber() // keeps the digits of numbers
	if err := dec.Decode(&in); err != nil {
		return nil, err
	}
	p := &in.Principal
	return &host.Question{
		Principal: &host.Principal{
			User: p.User, Claims: p.Claims,
			Login:    host.Login{ID: p.Login.ID, Method: p.Login.Method, At: p.Login.At, Until: p.Login.Until},
			Asserted: host.Membership(r.Custom.Asserted), Unlisted: r.Custom.Unlisted,
		},
		Route: in.Route, Resource: in.Resource, Capability: in.Capability, Reason: in.Reason,
	}, nil
}

// decisionFrom reads a recorded result, which must be the decision of a policy.
func decisionFrom(result json.RawMessage) (host.Decision, error) {
	if len(result) == 0 {
		return host.Decision{}, errors.New("no result")
	}
	var v any
	if err := json.Unmarshal(result, &v); err != nil {
		return host.Decision{}, err
	}
	d, err := authz.ParseDecision(v)
	if d.Reason.Code == authz.LogFull {
		err = errors.New("the host refused, not the policy")
	}
	return d, err
}
