package policytool

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// Ask is a question in words, as an administrator asks it.
type Ask struct {
	User   string `json:"user"`
	Action string `json:"action"` // PLUGIN:NAME
	// Resource is the target of a capability call, in one of the forms of the host's
	// capabilities, such as CLUSTER/NAMESPACE/RESOURCE[:NAME]. If it is empty, the
	// question is about the route alone. An empty second part means all.
	Resource string `json:"resource,omitempty"`
	// Capability is the name of the capability; empty: the first one whose kind claims
	// Resource.
	Capability string `json:"capability,omitempty"`
	// Verb is the verb of the call; empty: the kind's verb for Action and Resource.
	Verb   string `json:"verb,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Roles and Teams are what an identity provider asserts for the user; Unlisted is
	// set if its users are admitted without an entry in the directory.
	Roles    []string `json:"roles,omitempty"`
	Teams    []string `json:"teams,omitempty"`
	Unlisted bool     `json:"unlisted,omitempty"`
}

// Bounds on the asserted memberships: number of roles, of teams, and bytes of each.
const (
	maxAsserted     = 100
	maxAssertedName = 256
)

// Question returns the question for policy. Its route has the values that follow from the
// action, without path and parameters; its call, which one of kinds describes, has
// everything except the path. Errors say what is missing.
func (a *Ask) Question(kinds *capability.Catalog) (*host.Question, error) {
	plugin, name, ok := host.Action(a.Action).Split()
	if a.User == "" || !ok {
		return nil, errors.New("a question needs a user and an action PLUGIN:NAME, such as gitops:pods.read")
	}
	roles, err := asserted("roles", a.Roles)
	if err != nil {
		return nil, err
	}
	teams, err := asserted("teams", host.CanonicalIDs(a.Teams))
	if err != nil {
		return nil, err
	}
	reason := ""
	if a.Reason != "" {
		if reason, err = host.ParseReason(a.Reason); err != nil {
			return nil, err
		}
	}
	read := name == "read" || strings.HasSuffix(name, ".read")
	q := &host.Question{
		Principal: &host.Principal{
			User: host.CanonicalID(host.UserID(a.User)), Asserted: host.Membership{Roles: roles, Teams: teams}, Unlisted: a.Unlisted,
		},
		Reason: reason,
		Route:  host.Route{Plugin: plugin, Name: name, Action: host.Action(a.Action), Mutates: !read},
	}
	if a.Resource == "" {
		if a.Capability+a.Verb != "" {
			return nil, errors.New("capability and verb require a resource; name one")
		}
		return q, nil
	}
	parts := strings.SplitN(a.Resource, "/", 3)
	if len(parts) != 3 || parts[0] == "" || !wellFormed(parts[2]) {
		return nil, fmt.Errorf("resource %q does not have one of the forms %s", a.Resource, kinds.Forms())
	}
	what, object, _ := strings.Cut(parts[2], ":")
	q.Capability, q.Resource, err = kinds.Call(a.Capability, &capability.Phrase{
		Place: parts[0], Part: parts[1], Resource: what, Object: object, Verb: a.Verb, Action: q.Route.Action,
	})
	return q, err
}

// asserted returns list sorted and without duplicates, as in principals.
func asserted(what string, list []string) ([]string, error) {
	if len(list) > maxAsserted {
		return nil, fmt.Errorf("%s: at most %d may be given", what, maxAsserted)
	}
	for _, s := range list {
		if s == "" || len(s) > maxAssertedName {
			return nil, fmt.Errorf("%s: each must have 1 to %d bytes", what, maxAssertedName)
		}
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list), nil
}

// wellFormed reports whether what has the form RESOURCE[/SUBRESOURCE][:NAME].
func wellFormed(what string) bool {
	what, object, named := strings.Cut(what, ":")
	resource, sub, below := strings.Cut(what, "/")
	return resource != "" && (sub != "") == below && (object != "") == named && !strings.Contains(sub+object, "/")
}
