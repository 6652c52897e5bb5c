package authz

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// DiffReport says what a change of policy would have changed.
type DiffReport struct {
	Old string `json:"old"` // origin; "the log" if the recorded results were compared
	New string `json:"new"`
	// Decisions is how many were read, Questions how many different ones they were.
	Decisions int `json:"decisions"`
	Questions int `json:"questions"`
	// Masked counts decisions that could not be replayed because the log lacks
	// what one of the policies reads, Other lines that are no such decision.
	Masked  int          `json:"masked"`
	Other   int          `json:"other"`
	Changed int          `json:"changed"` // decisions
	Changes []Difference `json:"changes"` // what would change, most frequent first
}

const (
	// maxLine bounds one record of a decision log, in bytes.
	maxLine = 4 << 20
	// maxRemembered bounds how many different questions are not asked twice.
	maxRemembered = 100_000
)

// Diff replays the decisions in log, JSON lines or arrays as a decision log has
// them, gzipped or not, by after and by before, and compares. Without before it
// compares with what the log says was decided. Permissions are those recorded,
// so only the change of policy counts.
func Diff(ctx context.Context, before, after *Policy, log io.Reader) (*DiffReport, error) {
	d := &differ{before: before, after: after, seen: map[[32]byte]*replayed{}, changes: map[Difference]*Difference{}}
	d.report = DiffReport{Old: "the log", New: after.Origin(), Changes: []Difference{}}
	if before != nil {
		d.report.Old = before.Origin()
	}
	lines, err := plain(log)
	if err != nil {
		return nil, err
	}
	for dec, n := json.NewDecoder(lines), 1; ; n++ {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.ErrUnexpectedEOF) { // it is being written
			d.report.Other++
			break
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("decision log: record %d: %w", n, err)
		}
		if len(raw) > maxLine {
			d.report.Other++
			continue
		}
		batch := []json.RawMessage{raw}
		if raw[0] == '[' {
			if err := json.Unmarshal(raw, &batch); err != nil {
				return nil, fmt.Errorf("decision log: record %d: %w", n, err)
			}
		}
		for _, r := range batch {
			d.replay(ctx, r)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	d.report.Questions = len(d.seen)
	for _, c := range d.changes {
		d.report.Changes = append(d.report.Changes, *c)
	}
	slices.SortFunc(d.report.Changes, func(a, b Difference) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.User+a.Action+a.Capability, b.User+b.Action+b.Capability)
	})
	return &d.report, nil
}

// plain undoes gzip.
func plain(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	if head, _ := b.Peek(2); !bytes.Equal(head, []byte{0x1f, 0x8b}) {
		return b, nil
	}
	return gzip.NewReader(b)
}

type differ struct {
	before, after *Policy
	report        DiffReport
	seen          map[[32]byte]*replayed
	changes       map[Difference]*Difference
}

// replayed is what was found about one question.
type replayed struct {
	change *Difference // nil: nothing changes
}

// recorded is what is read of a record.
type recorded struct {
	DecisionID string          `json:"decision_id"`
	Path       string          `json:"path"`
	Input      json.RawMessage `json:"input"`
	Result     json.RawMessage `json:"result"`
	Erased     []string        `json:"erased"`
	Masked     []string        `json:"masked"`
}

func (d *differ) replay(ctx context.Context, raw json.RawMessage) {
	var r recorded
	if err := json.Unmarshal(raw, &r); err != nil || r.Path != decisionPath || len(r.Input) == 0 {
		d.report.Other++
		return
	}
	d.report.Decisions++
	if d.lacks(append(r.Erased, r.Masked...)) {
		d.report.Masked++
		return
	}
	h := sha256.New()
	h.Write(r.Input)
	if d.before == nil {
		h.Write(r.Result)
	}
	key := [32]byte(h.Sum(nil))
	known, ok := d.seen[key]
	if !ok {
		known = &replayed{change: d.judge(ctx, &r)}
		if len(d.seen) < maxRemembered {
			d.seen[key] = known
		}
	}
	if known.change == nil {
		return
	}
	d.report.Changed++
	same := *known.change
	same.DecisionID = ""
	if c := d.changes[same]; c != nil {
		c.Count++
	} else {
		first := *known.change
		d.changes[same] = &first
	}
}

// lacks reports whether a policy may read what was left out of the record.
func (d *differ) lacks(erased []string) bool {
	for _, text := range erased {
		path, ok := strings.CutPrefix(text, "/input/")
		if !ok {
			if d.before == nil && strings.HasPrefix(text, "/result") {
				return true
			}
			continue
		}
		steps := strings.Split(path, "/")
		if d.after.mayRead(steps) || d.before != nil && d.before.mayRead(steps) {
			return true
		}
	}
	return false
}

// mayRead reports whether p may decide by the part of the input at path.
func (p *Policy) mayRead(path []string) bool {
	return p.compiler == nil || p.published.reads.input(path...)
}

// judge decides one question by both.
func (d *differ) judge(ctx context.Context, r *recorded) *Difference {
	input, err := ast.ValueFromReader(bytes.NewReader(r.Input))
	if err != nil {
		return nil
	}
	after := d.after.decideInput(ctx, input)
	var before host.Decision
	if d.before != nil {
		before = d.before.decideInput(ctx, input)
	} else if before, err = decisionFrom(r.Result); err != nil {
		return nil
	}
	what := whatDiffers(&before, &after)
	if what == "" {
		return nil
	}
	var q struct {
		Principal struct {
			User host.UserID `json:"user"`
		} `json:"principal"`
		Route      host.Route           `json:"route"`
		Capability *host.CapabilityCall `json:"capability"`
	}
	_ = json.Unmarshal(r.Input, &q) // it is only told
	c := difference(&host.Question{Principal: &host.Principal{User: q.Principal.User}, Route: q.Route, Capability: q.Capability}, what, &before, &after)
	c.DecisionID = r.DecisionID
	return &c
}

// decideInput decides as the engine does: what fails denies.
func (p *Policy) decideInput(ctx context.Context, input ast.Value) host.Decision {
	document, err := p.published.eval(ctx, input, defaultDeadline)
	if err == nil {
		var d host.Decision
		if d, err = parseDecision(document); err == nil {
			return d
		}
	}
	return host.Decision{Reason: host.Reason{Code: policyError}}
}

// decisionFrom reads a recorded result.
func decisionFrom(result json.RawMessage) (host.Decision, error) {
	if len(result) == 0 {
		return host.Decision{}, errors.New("no result")
	}
	var v any
	if err := json.Unmarshal(result, &v); err != nil {
		return host.Decision{}, err
	}
	return parseDecision(v)
}

// maxCompare bounds one comparison, in time.
const maxCompare = 30 * time.Second

// Compare replays the decision log by the revision that serves and by a
// candidate, packed as a bundle, or the shadow if packed is empty. It fails if
// decisions are not logged to a file, if the candidate cannot be used, if
// another comparison is under way, or if it takes too long.
func (e *Engine) Compare(ctx context.Context, packed []byte) (*DiffReport, error) {
	const op = "policy.compare"
	if e.logFile == "" {
		return nil, host.E(host.Conflict, op, "decisions are not logged to a file; policy.log.file says where")
	}
	if len(packed) == 0 && e.shadow == nil {
		return nil, host.E(host.Conflict, op, "there is no bundle in the request and no policy.shadow")
	}
	if !e.comparing.CompareAndSwap(false, true) {
		return nil, host.E(host.Limited, op, "another comparison is under way")
	}
	defer e.comparing.Store(false)
	before := e.current.Load().policy()
	var after *Policy
	if len(packed) == 0 {
		after = e.shadow.current.Load().policy()
	} else {
		content, err := source.Unpack(packed, "the request's bundle")
		if err == nil {
			after, err = newPolicy(ctx, content)
		}
		if err != nil {
			return nil, host.E(host.Unprocessable, op, "%w", err)
		}
	}
	log, err := os.Open(e.logFile)
	if err != nil {
		return nil, &host.Error{Kind: host.Internal, Op: op, Err: err}
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(ctx, maxCompare)
	defer cancel()
	report, err := Diff(ctx, before, after, log)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, host.E(host.Timeout, op, "the log is too long to be replayed in %v; bulkhead policy diff does it", maxCompare)
	}
	return report, err
}

// policy is r for the tools.
func (r *published) policy() *Policy {
	return &Policy{&compiled{content: r.content, compiler: r.compiler}, r}
}
