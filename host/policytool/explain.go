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

// Explanation is why policy decides as it does about one question.
type Explanation struct {
	Question string      `json:"question"` // in words
	Allow    bool        `json:"allow"`
	Reason   host.Reason `json:"reason"`
	Sentence string      `json:"sentence"` // the reason in words
	// Obligations are the conditions of an allow, as a policy writes them.
	Obligations map[string]any `json:"obligations,omitempty"`
	obligations host.Obligations
	kind        *capability.Kind // of the question's call; nil: there is none
	// Refused says why the host refuses what policy allows, Warnings which names in
	// the question the host does not have; see Against.
	Refused  []string `json:"refused,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Stated is the reason that the person states.
	Stated string   `json:"stated,omitempty"`
	Roles  []string `json:"roles"`
	Teams  []string `json:"teams"`
	// Person is how the directory knows the person.
	Person host.Listing `json:"person"`
	// Ignored is what is asserted but does not count, and why.
	Ignored []string `json:"ignored,omitempty"`
	// Rules are those that held, the decision's own first.
	Rules []Place `json:"rules"`
	// Unmet are the conditions of other outcomes that did not hold, the decision's
	// own first.
	Unmet []Place `json:"unmet,omitempty"`
	// Granted are the permissions that cover the question, those that need a stated
	// reason last; Near those that miss it, by what they lack: the nearest first.
	// Farther is how many that miss it are not among Near.
	Granted []GrantLine `json:"granted"`
	Near    []GrantLine `json:"near"`
	Farther int         `json:"farther,omitempty"`
	Error   string      `json:"error,omitempty"` // why the policy could not decide
	Policy  string      `json:"policy"`          // its digest
}

// Place is a rule or condition, and where it is written.
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
	// Until is when the membership in From ends, or ended if Misses has "time".
	Until time.Time `json:"until,omitzero"`
	// NeedsReason is set for permissions that count only where a reason is stated.
	NeedsReason bool `json:"needsReason,omitempty"`
}

// Ended reports whether the membership in From has ended.
func (l *GrantLine) Ended() bool { return slices.Contains(l.Misses, "time") }

// distance is by how much l misses the question. Nothing is nearer than what
// covered it once.
func (l *GrantLine) distance() int {
	if l.Ended() {
		return len(l.Misses) - 1
	}
	return len(l.Misses)
}

// maxNear bounds how many near misses of each kind are listed.
const maxNear = 5

// Explain decides q by p over d as an engine would, uncached and not logged, and
// says why. kinds describe the host's capabilities.
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
	why := "the directory has no such"
	if !x.Person.Listed && !p.Unlisted {
		why = "the person is not listed, nor admitted as unlisted"
	}
	for _, of := range []struct {
		kind       host.OriginKind
		ids, known []string
	}{{host.FromRole, p.Asserted.Roles, x.Roles}, {host.FromTeam, p.Asserted.Teams, x.Teams}} {
		for _, id := range of.ids {
			from := host.Origin{Kind: of.kind, ID: id}
			// Those that break glass are not among x's.
			counts := func(c host.Considered) bool { return c.From == from }
			if !x.Person.Disabled && !slices.Contains(of.known, id) && !slices.ContainsFunc(considered, counts) {
				x.Ignored = append(x.Ignored, fmt.Sprintf("%s %s: %s", of.kind, id, why))
			}
		}
	}
}

// entries returns how custom entries permit the question's call, nil if they do not.
func (x *Explanation) entries() *capability.Entries {
	if x.kind == nil {
		return nil
	}
	return x.kind.Entries
}

// lines puts what the directory considered into words. If custom entries permit the
// call, each of them has a line of its own.
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
		return lines // the operator replaced the shipped rules by some without it
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

// entryMisses asks a function of the shipped rules what keeps each of the entries
// from covering q's call.
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
		return nil, errors.New("not every entry has an answer")
	}
	return out[0], nil
}

// permissions sorts lines into what counts and what misses.
func (x *Explanation) permissions(lines []GrantLine) {
	x.Granted, x.Near = []GrantLine{}, []GrantLine{}
	for _, line := range lines {
		if len(line.Misses) == 0 {
			x.Granted = append(x.Granted, line)
		} else {
			x.Near = append(x.Near, line)
		}
	}
	// As the shipped rules have them.
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
