package host

import (
	"encoding/json"
	"time"
)

// Permissions is what a role, a team or a person may do. Every entry allows
// something; there is no entry that forbids, so leaving one out is always
// safe. Patterns are those of Glob: "*" stands for any run of characters.
type Permissions struct {
	Actions   []string // as in Action.Matches: "gitops:helm.*", "*:*.read", "*"
	Plugins   []PluginPermission
	Resources []ResourcePermission
	// BreakGlass, if set, makes all of them count only for requests that state a
	// reason.
	BreakGlass *BreakGlass
}

// PluginPermission admits a person to plugins by the name of the instance.
type PluginPermission struct {
	Name   string            // a pattern
	Custom []json.RawMessage // what this plugin's own rules read; any JSON values
}

// ResourcePermission is every combination of its four lists of patterns. An
// empty list matches nothing.
type ResourcePermission struct {
	Clusters   []string
	Namespaces []string
	Resources  []string // as CapabilityCall.GroupResource writes them
	Verbs      []string
}

// BreakGlass is what comes with permissions that need a reason.
type BreakGlass struct {
	MaxSession time.Duration // how long a session opened by it may last; never 0
	Record     Record        // of terminals opened by it
}

// OriginKind says where a permission is written.
type OriginKind string

const (
	FromRole OriginKind = "role"
	FromTeam OriginKind = "team"
	FromUser OriginKind = "user"
)

// Origin names the role, team or user that a permission belongs to.
type Origin struct {
	Kind OriginKind
	ID   string
}

// Matched is one permission that covers a question, and where it came from.
// Exactly one of Action, Plugin and Resource is set.
type Matched struct {
	From Origin
	// BreakGlass is set if the permission counts only where a reason is stated.
	BreakGlass *BreakGlass
	Action     string // the pattern
	Plugin     *PluginPermission
	Resource   *ResourcePermission
}

// Matching is everything the directory has to say about one question, taken
// from one state of it.
type Matching struct {
	Revision uint64   // of the directory
	Roles    []string // sorted; the person's now, whatever the Principal carries
	Teams    []string // sorted
	// Matched is shared between callers and never written to. A pointer stands
	// for the same permission as long as Revision is the same.
	Matched []*Matched
	// BreakGlass is what matched of roles and teams that break glass. They are
	// not among Roles and Teams.
	BreakGlass []*Matched
}

// Considered is one permission of a person and what keeps it from covering a
// question.
type Considered struct {
	*Matched
	At    string    // where it is written: "people.yaml:12"
	Until time.Time // when the membership that it comes from ends or ended; zero: it does not
	// Misses are the dimensions that it does not cover, such as "namespace", and
	// "time" if the membership has ended; none if it covers the question.
	Misses []string
}

// Listing is how the directory knows a person.
type Listing struct {
	Listed   bool `json:"listed"`
	Disabled bool `json:"disabled,omitempty"`
	// Problems are what the directory leaves out of the person's entry and of what
	// they belong to, and Others how much it leaves out besides.
	Problems []string `json:"problems,omitempty"`
	Others   int      `json:"others,omitempty"`
}
