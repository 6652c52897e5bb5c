package policytool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// Explanation is a decision about one question and the reasons for it.
type Explanation struct {
	Question string      `json:"question"` // in words
	Allow    bool        `json:"allow"`
	Reason   host.Reason `json:"reason"`
	Sentence string      `json:"sentence"` // the reason in words
	// Obligations are the conditions of an allow, in the form of a policy.
	Obligations map[string]any `json:"obligations,omitempty"`
	obligations host.Obligations
	kind        *capability.Kind // of the question's call; nil for a route
	// Refused has the reasons for which the host refuses what policy allows, Warnings
	// the names in the question that the host does not have; see Against.
	Refused  []string `json:"refused,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Stated is the reason that the user states.
	Stated string   `json:"stated,omitempty"`
	Roles  []string `json:"roles"`
	Teams  []string `json:"teams"`
	// Person is what the directory knows of the user.
	Person host.Listing `json:"person"`
	// Ignored are the asserted memberships that do not count, each with the reason.
	Ignored []string `json:"ignored,omitempty"`
	// Rules are the rules that held, beginning with the decision's own.
	Rules []Place `json:"rules"`
	// Unmet are the conditions of other outcomes that did not hold, beginning with the
	// decision's own.
	Unmet []Place `json:"unmet,omitempty"`
	// Granted are the permissions that cover the question; those that require a stated
	// reason come last. Near are permissions that almost cover it, nearest first, and
	// Farther is the number of other permissions that do not cover it.
	Granted []GrantLine `json:"granted"`
	Near    []GrantLine `json:"near"`
	Farther int         `json:"farther,omitempty"`
	Error   string      `json:"error,omitempty"` // why the policy could not decide
	Policy  string      `json:"policy"`          // its digest
}

// Place is a rule or condition and its location.
type Place struct {
	Text string `json:"text"`
	At   string `json:"at"` // file:line
}

// GrantLine is one permission in words.
type GrantLine struct {
	Kind   string   `json:"kind"` // "action", "plugin", "resource"; "entry" of a plugin permission's custom part
	From   string   `json:"from"` // "role editor"
	At     string   `json:"at"`   // "people.yaml:12"
	Text   string   `json:"text"`
	Misses []string `json:"misses,omitempty"`
	// Until is when the membership in From ends, or ended if Misses contains "time".
	Until time.Time `json:"until,omitzero"`
	// NeedsReason is set if the permission counts only with a stated reason.
	NeedsReason bool `json:"needsReason,omitempty"`
}

// Ended reports whether the membership in From has ended.
func (l *GrantLine) Ended() bool { return slices.Contains(l.Misses, "time") }

// distance returns how far l is from covering the question. A permission that once covered
// it is the nearest.
func (l *GrantLine) distance() int {
	if l.Ended() {
		return len(l.Misses) - 1
	}
	return len(l.Misses)
}

// maxNear is the most permissions of each kind in Near.
const maxNear = 5

// Explain decides q with the policy p and the directory d as an engine would, uncached and
// not logged, and explains the decision. kinds describe the host's capabilities.
func Explain(ctx context.Context, p *authz.Policy, kinds *capability.Catalog, q *host.Question, d authz.Directory) *Explanation {
	trace := &tracer{seen: map[Place]bool{}}
	decision, m, err := p.Over(d).Evaluate(ctx, q, trace)
	x := &Explanation{
		Question: inWords(q), Stated: q.Reason, Roles: list(m.Roles), Teams: list(m.Teams),
		Person: d.Listing(q.Principal), Policy: p.Digest(),
	}
	if q.Capability != nil {
		x.kind = kinds.Kind(q.Capability.Name)
	}
	if err != nil {
		x.Error, decision = err.Error(), host.Decision{Reason: host.Reason{Code: authz.PolicyError}}
	}
	x.Allow, x.Reason = decision.Allow, decision.Reason
	if x.Allow {
		x.obligations, x.Obligations = decision.Obligations, authz.ObligationsDocument(&decision.Obligations)
	}
	x.Rules, x.Unmet = trace.held, trace.unmet
	considered := d.Consider(q)
	x.ignored(q.Principal, considered)
	x.permissions(lines(ctx, p, x.entries(), q, &m, considered))
	x.Sentence = x.sentence(q)
	return x
}

func list(l []string) []string { return append([]string{}, l...) }

func (x *Explanation) ignored(p *host.Principal, considered []host.Considered) {
	why := "it does not exist in the directory"
	if !x.Person.Listed && !p.Unlisted {
		why = "the user is neither listed nor admitted as unlisted"
	}
	for _, of := range []struct {
		kind       host.OriginKind
		ids, known []string
	}{{host.FromRole, p.Asserted.Roles, x.Roles}, {host.FromTeam, p.Asserted.Teams, x.Teams}} {
		for _, id := range of.ids {
			from := host.Origin{Kind: of.kind, ID: id}
			// Roles and teams that break glass are not in x.
			counts := func(c host.Considered) bool { return c.From == from }
			if !x.Person.Disabled && !slices.Contains(of.known, id) && !slices.ContainsFunc(considered, counts) {
				x.Ignored = append(x.Ignored, fmt.Sprintf("%s %s: %s", of.kind, id, why))
			}
		}
	}
}

// entries describes how custom entries permit the question's call; nil if they do not.
func (x *Explanation) entries() *capability.Entries {
	if x.kind == nil {
		return nil
	}
	return x.kind.Entries
}

// lines describes the permissions that the directory considered. If custom entries permit
// the call, each of them has its own line.
func lines(ctx context.Context, policy *authz.Policy, by *capability.Entries, q *host.Question, m *host.Matching, all []host.Considered) []GrantLine {
	var entries []GrantLine
	var custom []json.RawMessage
	lines := make([]GrantLine, len(all))
	for i := range all {
		lines[i] = grantLine(&all[i])
		if p := all[i].Plugin; p != nil && len(all[i].Misses) == 0 {
			for _, raw := range p.Custom {
				line := lines[i]
				line.Kind, line.Text = "entry", string(raw)
				entries, custom = append(entries, line), append(custom, raw)
			}
		}
	}
	if by == nil {
		return lines
	}
	misses, err := entryMisses(ctx, policy, by.Misses, q, m, custom)
	if err != nil {
		return lines // the operator replaced the shipped rules, without this function
	}
	for i := range entries {
		entries[i].Misses = misses[i]
	}
	for i := range lines {
		if p := all[i].Plugin; p != nil && len(lines[i].Misses) == 0 {
			if lines[i].Text = p.Name; len(p.Custom) == 0 {
				lines[i].Text += " without entries"
			}
		}
	}
	return append(lines, entries...)
}

// missesDeadline bounds the query about entries.
const missesDeadline = time.Second

// entryMisses asks a function of the shipped rules which parts of q's call each of the
// entries does not cover.
func entryMisses(ctx context.Context, p *authz.Policy, function string, q *host.Question, m *host.Matching, entries []json.RawMessage) ([][]string, error) {
	input, err := authz.Input(q, m)
	if err != nil {
		return nil, err
	}
	list := make([]*ast.Term, len(entries))
	for i, raw := range entries {
		v, err := ast.ValueFromReader(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		list[i] = ast.NewTerm(v)
	}
	input.(ast.Object).Insert(ast.StringTerm("entries"), ast.ArrayTerm(list...))
	ctx, cancel := context.WithTimeout(ctx, missesDeadline)
	defer cancel()
	values, err := p.Query(ctx, "[data.bulkhead.default."+function+"(entry) | some entry in input.entries]", input)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	var out [][][]string
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, err
	}
	if len(out) != 1 || len(out[0]) != len(entries) || slices.ContainsFunc(out[0], func(m []string) bool { return m == nil }) {
		return nil, errors.New("the function has no value for some entries")
	}
	return out[0], nil
}

// permissions sorts lines into those that cover the question and those that do not.
func (x *Explanation) permissions(lines []GrantLine) {
	x.Granted, x.Near = []GrantLine{}, []GrantLine{}
	for _, line := range lines {
		if len(line.Misses) == 0 {
			x.Granted = append(x.Granted, line)
		} else {
			x.Near = append(x.Near, line)
		}
	}
	// In the order of the shipped rules.
	slices.SortStableFunc(x.Granted, func(a, b GrantLine) int {
		switch {
		case a.NeedsReason == b.NeedsReason:
			return 0
		case b.NeedsReason:
			return -1
		}
		return 1
	})
	slices.SortStableFunc(x.Near, func(a, b GrantLine) int { return a.distance() - b.distance() })
	perKind, all := map[string]int{}, len(x.Near)
	x.Near = slices.DeleteFunc(x.Near, func(l GrantLine) bool {
		perKind[l.Kind]++
		return perKind[l.Kind] > maxNear
	})
	x.Farther = all - len(x.Near)
}

func grantLine(c *host.Considered) GrantLine {
	l := GrantLine{From: string(c.From.Kind) + " " + c.From.ID, At: c.At, Misses: c.Misses, Until: c.Until, NeedsReason: c.BreakGlass != nil}
	switch {
	case c.Resource != nil:
		r := c.Resource
		l.Kind, l.Text = "resource", fmt.Sprintf("%s %s in clusters %s, namespaces %s",
			strings.Join(r.Verbs, ","), strings.Join(r.Resources, ","), strings.Join(r.Clusters, ","), strings.Join(r.Namespaces, ","))
	case c.Plugin != nil:
		l.Kind, l.Text = "plugin", c.Plugin.Name
		for _, raw := range c.Plugin.Custom {
			l.Text += " " + string(raw)
		}
	default:
		l.Kind, l.Text = "action", c.Action
	}
	return l
}
