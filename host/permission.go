package host

import (
	"encoding/json"
	"time"
)

// Permissions are the permissions of a role, a team or a user. Entries only allow and
// never forbid, so leaving one out is always safe. Patterns are those of Glob.
type Permissions struct {
	Actions   []string // as in Action.Matches: "gitops:helm.*", "*:*.read", "*"
	Plugins   []PluginPermission
	Resources []ResourcePermission
	// BreakGlass, if set, means that these permissions count only for requests that
	// state a reason.
	BreakGlass *BreakGlass
}

// PluginPermission permits the use of plugins, by the name in the configuration.
type PluginPermission struct {
	Name   string            // a pattern
	Custom []json.RawMessage // any JSON values, for rules about this plugin
}

// ResourcePermission permits every combination of its four lists of patterns. An empty
// list matches nothing.
type ResourcePermission struct {
	Clusters   []string
	Namespaces []string
	Resources  []string // in the form of CapabilityCall.GroupResource
	Verbs      []string
}

// BreakGlass is the conditions of permissions that need a stated reason.
type BreakGlass struct {
	MaxSession time.Duration // longest session with these permissions; never 0
	Record     Record        // of terminals with these permissions
}

// OriginKind is the kind of entry that has a permission.
type OriginKind string

const (
	FromRole OriginKind = "role"
	FromTeam OriginKind = "team"
	FromUser OriginKind = "user"
)

// Origin names the role, team or user that has a permission.
type Origin struct {
	Kind OriginKind
	ID   string
}

// Matched is a permission that covers a question, and its origin. Exactly one of Action,
// Plugin and Resource is set.
type Matched struct {
	From Origin
	// BreakGlass is set if the permission counts only with a stated reason.
	BreakGlass *BreakGlass
	Action     string // the pattern
	Plugin     *PluginPermission
	Resource   *ResourcePermission
}

// Matching is the answer of the directory to one question, from one revision of it.
type Matching struct {
	Revision uint64   // of the directory
	Roles    []string // sorted; the user's present roles, whatever the Principal has
	Teams    []string // sorted
	// Matched is shared between callers and immutable. Equal pointers mean the same
	// permission within one Revision.
	Matched []*Matched
	// BreakGlass are the matched permissions of roles and teams that break glass,
	// which are not in Roles and Teams.
	BreakGlass []*Matched
}

// Considered is one permission of a user and why it does not cover a question.
type Considered struct {
	*Matched
	At    string    // location in the directory: "people.yaml:12"
	Until time.Time // when the membership that it comes from ends or ended; zero: never
	// Misses are the dimensions that it does not cover, such as "namespace", and "time"
	// if the membership has ended; empty if it covers the question.
	Misses []string
}

// Listing is what the directory knows of a user.
type Listing struct {
	Listed   bool `json:"listed"`
	Disabled bool `json:"disabled,omitempty"`
	// Problems are the parts that the directory leaves out of the user's entry and of
	// their roles and teams; Others is the number of other parts that it leaves out.
	Problems []string `json:"problems,omitempty"`
	Others   int      `json:"others,omitempty"`
}
