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
		s += ", with the call " + q.Capability.String()
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
		s += ", also if unlisted"
	}
	return s
}

// sentence describes the reason: for reasons of the shipped rules in detail, for any other
// with its code.
func (x *Explanation) sentence(q *host.Question) string {
	who := string(q.Principal.User)
	if !x.Allow && len(x.Roles)+len(x.Teams)+len(x.Granted)+len(x.Near) == 0 && strings.HasPrefix(x.Reason.Code, "no_") {
		return x.rightless(q.Principal)
	}
	switch x.Reason.Code {
	case "permitted":
		s := fmt.Sprintf("%s may do this: all required permissions exist, the action by %s", who, x.grantedBy("action", origins(x.Reason.Args)))
		if has(x.Granted, "entry") {
			s += fmt.Sprintf(", the call by an entry of %s", x.grantedBy("entry", nil))
		}
		return s + "."
	case "break_glass":
		return fmt.Sprintf("%s may do this because a reason is stated: by %s.", who, x.places(origins(x.Reason.Args)))
	case "reason_required":
		return fmt.Sprintf("%s may do this only with a stated reason (X-Bulkhead-Reason), by %s.", who, x.places(origins(x.Reason.Args)))
	case "nobody":
		return fmt.Sprintf("%q is not a user of this host, or is an identity of the cluster itself.", who)
	case "prohibited":
		return fmt.Sprintf("%v is prohibited for every user, whatever their permissions.", x.Reason.Args["what"])
	case "no_plugin":
		return fmt.Sprintf("%s has no plugin permission that covers the plugin %q%s.", who, q.Route.Plugin, x.ended("plugin"))
	case "no_action":
		return fmt.Sprintf("%s has no action permission that covers %q%s.", who, q.Route.Action, x.ended("action"))
	case "no_resource":
		if by := x.entries(); by != nil {
			return x.noEntry(by, q)
		}
		return fmt.Sprintf("%s has no resource permission that covers this call%s.", who, x.ended("resource"))
	case "no_rule":
		return fmt.Sprintf("No rule permits calls of the capability %v.", x.Reason.Args["capability"])
	case authz.PolicyError:
		return "The policy failed to decide, so the answer is a denial."
	}
	verb := "may not do this"
	if x.Allow {
		verb = "may"
	}
	s := fmt.Sprintf("%s %s, by a rule of the operator: %s", who, verb, x.Reason.Code)
	if len(x.Reason.Args) > 0 {
		text, _ := json.Marshal(x.Reason.Args) // cannot fail: it was decoded from JSON
		s += " " + string(text)
	}
	return s + "."
}

// rightless returns the sentence for a user without any permission.
func (x *Explanation) rightless(p *host.Principal) string {
	switch {
	case x.Person.Disabled:
		return fmt.Sprintf("The user %q is disabled in the directory.", p.User)
	case x.Person.Listed:
		return fmt.Sprintf("The directory lists %q without any permission: no role, no team and no permission of their own counts.", p.User)
	case p.Unlisted:
		return fmt.Sprintf("The directory does not list %q, and no role or team that exists is asserted for them.", p.User)
	}
	s := fmt.Sprintf("The directory does not list %q.", p.User)
	if !p.Asserted.Empty() {
		s += " Asserted roles and teams count only for users who are listed or admitted as unlisted."
	}
	return s
}

// noEntry returns the sentence for a call that no custom entry of the user covers.
func (x *Explanation) noEntry(by *capability.Entries, q *host.Question) string {
	have := "have no custom entry, and " + x.kind.Name + " requires one"
	if has(x.Near, "entry") {
		have = "have custom entries, and none is"
	}
	return fmt.Sprintf("%s's permissions for the plugin %q %s for %s.", q.Principal.User, q.Route.Plugin, have, by.Describe(q.Capability))
}

func has(lines []GrantLine, kind string) bool {
	return slices.ContainsFunc(lines, func(l GrantLine) bool { return l.Kind == kind })
}

// grantedBy returns the origin of the permission of this kind that counted: one of the
// origins in the decision, or otherwise the first.
func (x *Explanation) grantedBy(kind string, from []string) string {
	for _, l := range x.Granted {
		if l.Kind == kind && x.Counts(&l) && (len(from) == 0 || slices.Contains(from, l.From)) {
			return fmt.Sprintf("%s (%s)", l.From, l.At)
		}
	}
	return "a rule of the policy"
}

// Counts reports whether l, one of Granted, counted as a permission for the policy.
func (x *Explanation) Counts(l *GrantLine) bool { return !l.NeedsReason || x.Stated != "" }

// places returns origins with their locations.
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

// origins returns the roles, teams and users that the shipped rules name in a reason:
// "role editor".
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

// ended returns a text about a permission that would cover the question if its membership
// had not ended.
func (x *Explanation) ended(kind string) string {
	for _, l := range x.Near {
		if l.Kind == kind && l.distance() == 0 {
			return fmt.Sprintf("; the membership in %s ended at %s", l.From, l.Until.Format(time.RFC3339))
		}
	}
	return ""
}
