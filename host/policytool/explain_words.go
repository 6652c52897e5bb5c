package policytool

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

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
		if by := x.entries(); by != nil {
			return x.noEntry(by, q)
		}
		return fmt.Sprintf("%s has no resource permission that covers what the plugin reaches for%s.", who, x.ended("resource"))
	case "no_rule":
		return fmt.Sprintf("No rule says when the capability %v may be used.", x.Reason.Args["capability"])
	case authz.PolicyError:
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

// noEntry is the sentence for a call that no custom entry of the user covers.
func (x *Explanation) noEntry(by *capability.Entries, q *host.Question) string {
	have := "have no custom entry, and " + x.kind.Name + " needs one"
	if has(x.Near, "entry") {
		have = "have custom entries, and none is"
	}
	return fmt.Sprintf("%s's permissions for the plugin %q %s for %s.", q.Principal.User, q.Route.Plugin, have, by.Describe(q.Capability))
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
