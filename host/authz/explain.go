package authz

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
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/seed-a3fb47d6/bulkhead/host"
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
	// Refused is why the host refuses it all the same, Warnings what of the question
	// it does not have; see Within.
	Refused  []string `json:"refused,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Stated is the reason that the person states.
	Stated string   `json:"stated,omitempty"`
	Roles  []string `json:"roles"`
	Teams  []string `json:"teams"`
	// Person is how the directory knows the person.
	Person host.Listing `json:"person"`
	// Ignored is what is asserted and counts for nothing, and why.
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

// maxNear bounds how many near misses of each kind are told.
const maxNear = 5

// Explain decides q by p as the engine would, uncached, and says why.
func (p *Policy) Explain(ctx context.Context, q *host.Question, d Directory) *Explanation {
	return explain(ctx, p.published.revision, q, d)
}

// Explain decides q by the revision that serves, uncached and not logged, and
// says why.
func (e *Engine) Explain(ctx context.Context, q *host.Question) *Explanation {
	return explain(ctx, e.current.Load().revision, q, e.directory)
}

func explain(ctx context.Context, r *revision, q *host.Question, d Directory) *Explanation {
	m := d.Match(q)
	x := &Explanation{
		Question: inWords(q), Stated: q.Reason, Roles: list(m.Roles), Teams: list(m.Teams),
		Person: d.Listing(q.Principal), Policy: r.content.Digest,
	}
	trace := &tracer{seen: map[Place]bool{}}
	decision, err := r.decideTraced(ctx, q, &m, d, trace)
	if err != nil {
		x.Error, decision = err.Error(), host.Decision{Reason: host.Reason{Code: policyError}}
	}
	x.Allow, x.Reason = decision.Allow, decision.Reason
	if x.Allow {
		x.obligations, x.Obligations = decision.Obligations, obligationsOf(&decision.Obligations)
	}
	x.Rules, x.Unmet = trace.held, trace.unmet
	considered := d.Consider(q)
	x.ignored(q.Principal, considered)
	x.permissions(r.lines(ctx, q, &m, considered))
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

// lines puts what the directory considered into words. What a call of Azure
// needs is in custom entries, so that each of them has a line of its own.
func (r *revision) lines(ctx context.Context, q *host.Question, m *host.Matching, all []host.Considered) []GrantLine {
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
	if q.Capability == nil || q.Capability.Name != "azure" {
		return lines
	}
	misses, err := r.azureMisses(ctx, q, m, custom)
	if err != nil {
		return lines // the operator's azure.rego knows nothing of misses
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

// azureMisses asks the shipped rules what keeps each of the entries from covering
// q's call.
func (r *revision) azureMisses(ctx context.Context, q *host.Question, m *host.Matching, entries []json.RawMessage) ([][]string, error) {
	input, err := newInput(q, m, &terms{}, everything)
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
	ctx, cancel := context.WithTimeout(ctx, defaultDeadline)
	defer cancel()
	results, err := rego.New(
		rego.Query("[data.bulkhead.default.azure_misses(entry) | some entry in input.entries]"),
		rego.Compiler(r.compiler), rego.Capabilities(capabilities), rego.ParsedInput(input),
		rego.Store(newStore(r.content.Data)), rego.StrictBuiltinErrors(true), rego.SetRegoVersion(ast.RegoV1),
	).Eval(ctx)
	if err != nil {
		return nil, err
	}
	f := fields{m: map[string]any{}}
	var out [][]string
	for _, result := range results {
		all, _ := result.Expressions[0].Value.([]any)
		for _, misses := range all {
			f.m["misses"] = misses
			out = append(out, f.texts("misses"))
		}
	}
	if f.err == nil && len(out) != len(entries) {
		f.err = errors.New("not every entry has an answer")
	}
	return out, f.err
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

func inWords(q *host.Question) string {
	s := fmt.Sprintf("%s: %s", q.Principal.User, q.Route.Action)
	if q.Capability != nil {
		s += ", there " + q.Capability.String()
	}
	if q.Reason != "" {
		s += fmt.Sprintf(", stating %q", q.Reason)
	}
	for _, of := range []struct {
		what string
		ids  []string
	}{{"roles", q.Principal.Asserted.Roles}, {"teams", q.Principal.Asserted.Teams}} {
		if len(of.ids) > 0 {
			s += fmt.Sprintf(", with the asserted %s %s", of.what, strings.Join(of.ids, ", "))
		}
	}
	if q.Principal.Unlisted {
		s += ", listed or not"
	}
	return s
}

// sentence puts the reason into words: those of the shipped rules, and a plain
// statement for any other.
func (x *Explanation) sentence(q *host.Question) string {
	who := string(q.Principal.User)
	if !x.Allow && len(x.Roles)+len(x.Teams)+len(x.Granted)+len(x.Near) == 0 && strings.HasPrefix(x.Reason.Code, "no_") {
		return x.rightless(q.Principal)
	}
	switch x.Reason.Code {
	case "permitted":
		s := fmt.Sprintf("%s may: everything that the question needs is permitted, the action by %s", who, x.grantedBy("action", origins(x.Reason.Args)))
		if has(x.Granted, "entry") {
			s += fmt.Sprintf(", the call by an entry of %s", x.grantedBy("entry", nil))
		}
		return s + "."
	case "break_glass":
		return fmt.Sprintf("%s may, because a reason is stated: by %s.", who, x.places(origins(x.Reason.Args)))
	case "reason_required":
		return fmt.Sprintf("%s may only with a stated reason (X-Bulkhead-Reason), by %s.", who, x.places(origins(x.Reason.Args)))
	case "nobody":
		return fmt.Sprintf("%q is nobody here, or an identity of the cluster's own.", who)
	case "prohibited":
		return fmt.Sprintf("Nobody may: %v is prohibited, whatever is permitted.", x.Reason.Args["what"])
	case "no_plugin":
		return fmt.Sprintf("%s has no plugin permission that covers the plugin %q%s.", who, q.Route.Plugin, x.ended("plugin"))
	case "no_action":
		return fmt.Sprintf("%s has no action permission that covers %q%s.", who, q.Route.Action, x.ended("action"))
	case "no_resource":
		if q.Capability != nil && q.Capability.Name == "azure" {
			return x.noEntry(q)
		}
		return fmt.Sprintf("%s has no resource permission that covers what the plugin reaches for%s.", who, x.ended("resource"))
	case "no_rule":
		return fmt.Sprintf("No rule says when the capability %v may be used.", x.Reason.Args["capability"])
	case policyError:
		return "The policy could not decide, which is a denial."
	}
	verb := "may not"
	if x.Allow {
		verb = "may"
	}
	s := fmt.Sprintf("%s %s, by a rule of the operator's own: %s", who, verb, x.Reason.Code)
	if len(x.Reason.Args) > 0 {
		text, _ := json.Marshal(x.Reason.Args) // it was JSON before
		s += " " + string(text)
	}
	return s + "."
}

// rightless is the sentence for somebody of whom the directory knows no right.
func (x *Explanation) rightless(p *host.Principal) string {
	switch {
	case x.Person.Disabled:
		return fmt.Sprintf("The directory has %q disabled.", p.User)
	case x.Person.Listed:
		return fmt.Sprintf("The directory lists %q with no rights at all: no role, no team and no permission of their own that counts.", p.User)
	case p.Unlisted:
		return fmt.Sprintf("The directory lists no %q, and no role or team that it has is asserted of them.", p.User)
	}
	s := fmt.Sprintf("The directory lists no %q.", p.User)
	if !p.Asserted.Empty() {
		s += " Roles and teams are asserted of people who are listed, or admitted as unlisted."
	}
	return s
}

// noEntry is the sentence for a call of Azure that nobody's entry covers.
func (x *Explanation) noEntry(q *host.Question) string {
	c := q.Capability
	where := "resource group " + c.ResourceGroup
	if c.Spans {
		where = "any resource group"
	}
	have := "have no custom entry, and azure needs one"
	if has(x.Near, "entry") {
		have = "have custom entries, and none is"
	}
	return fmt.Sprintf("%s's permissions for the plugin %q %s for %s of %s in %s of %s.",
		q.Principal.User, q.Route.Plugin, have, c.Verb, c.Resource, where, c.Instance)
}

func has(lines []GrantLine, kind string) bool {
	return slices.ContainsFunc(lines, func(l GrantLine) bool { return l.Kind == kind })
}

// grantedBy names where the permission of this kind is from that counted: one of
// the origins if the decision says so, the first otherwise.
func (x *Explanation) grantedBy(kind string, from []string) string {
	for _, l := range x.Granted {
		if l.Kind == kind && x.Counts(&l) && (len(from) == 0 || slices.Contains(from, l.From)) {
			return fmt.Sprintf("%s (%s)", l.From, l.At)
		}
	}
	return "a rule of the policy's own"
}

// Counts reports whether l, one of Granted, is what the policy saw as permitted.
func (x *Explanation) Counts(l *GrantLine) bool { return !l.NeedsReason || x.Stated != "" }

// places names origins with where they are written.
func (x *Explanation) places(from []string) string {
	var out []string
	for _, origin := range from {
		for _, l := range x.Granted {
			if l.From == origin {
				origin += " (" + l.At + ")"
				break
			}
		}
		out = append(out, origin)
	}
	if len(out) == 0 {
		return "a rule of the policy's own"
	}
	return strings.Join(out, ", ")
}

// origins are the roles, teams and people that the shipped rules name in a
// reason: "role editor".
func origins(args map[string]any) (out []string) {
	from, ok := args["from"].([]any)
	if !ok {
		from = []any{args["from"]}
	}
	for _, x := range from {
		object, _ := x.(map[string]any)
		kind, _ := object["kind"].(string)
		id, _ := object["id"].(string)
		if id != "" {
			out = append(out, kind+" "+id)
		}
	}
	return out
}

// ended tells of a permission that would cover the question had the membership
// that it comes from not ended.
func (x *Explanation) ended(kind string) string {
	for _, l := range x.Near {
		if l.Kind == kind && l.distance() == 0 {
			return fmt.Sprintf("; the membership in %s ended at %s", l.From, l.Until.Format(time.RFC3339))
		}
	}
	return ""
}

// decideTraced decides once, with every step told to t.
func (r *revision) decideTraced(ctx context.Context, q *host.Question, m *host.Matching, d Directory, t topdown.QueryTracer) (host.Decision, error) {
	eval, err := r.evaluator(ctx, d, q, m)
	if err != nil {
		return host.Decision{}, err
	}
	input, err := newInput(q, m, &terms{}, everything)
	if err != nil {
		return host.Decision{}, err
	}
	document, err := eval(ctx, input, defaultDeadline, rego.EvalQueryTracer(t))
	if err != nil {
		return host.Decision{}, err
	}
	return parseDecision(document)
}

// tracer keeps which rules held and which conditions failed, in the order in
// which they are met when reading from the decision downwards.
type tracer struct {
	held, unmet []Place
	seen        map[Place]bool
}

func (*tracer) Enabled() bool               { return true }
func (*tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// maxPlaces bounds what a tracer keeps of each kind.
const maxPlaces = 20

func (t *tracer) TraceEvent(e topdown.Event) {
	switch node := e.Node.(type) {
	case *ast.Rule:
		if e.Op == topdown.ExitOp {
			// The outermost rule exits last.
			if p := place(plainRef.Replace(node.Ref().GroundPrefix().String()), node.Location); !t.seen[p] && !node.Default {
				t.seen[p] = true
				t.held = append([]Place{p}, t.held[:min(len(t.held), maxPlaces-1)]...)
			}
		}
	case *ast.Expr:
		if e.Op == topdown.FailOp && node.Location != nil && node.Location.File != "" && len(t.unmet) < maxPlaces {
			text := strings.TrimSpace(string(node.Location.Text))
			if strings.HasPrefix(text, "not ") && !node.Negated {
				return // what is negated did not hold, so that the condition did
			}
			if p := place(text, node.Location); !t.seen[p] {
				t.seen[p] = true
				t.unmet = append(t.unmet, p)
			}
		}
	}
}

// plainRef writes the shipped rules' package, whose last part is a keyword of
// Rego, as people do.
var plainRef = strings.NewReplacer("data.", "", `["default"]`, ".default")

func place(text string, l *ast.Location) Place {
	text, _, _ = strings.Cut(text, "\n")
	return Place{text, fmt.Sprintf("%s:%d", l.File, l.Row)}
}
