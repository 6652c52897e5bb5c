package host

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Route is the matched route of a request. Policy sees it as input.route.
type Route struct {
	Plugin  string            `json:"plugin"` // the instance name in the operator's config
	Name    string            `json:"name"`
	Action  Action            `json:"action"`
	Method  string            `json:"method"`
	Path    string            `json:"path"` // the route's template, below the plugin's root
	Params  map[string]string `json:"params,omitempty"`
	Mutates bool              `json:"mutates"`
	// Digest and Generation identify the version of the plugin, for the decision log.
	// Policy does not see them.
	Digest     string `json:"-"`
	Generation uint64 `json:"-"`
}

// Resource is the target that path and query of a request name, for routes that declare
// it. An absent key is a dimension that the request does not name. The keys are those of
// sdk/manifest: cluster, namespace, resource, name, resourceGroup, type, pod, …
type Resource map[string]string

// CapabilityCall is one call that a plugin makes through the host for a user. Policy sees
// it as input.capability; absent dimensions are empty.
type CapabilityCall struct {
	Name        string `json:"name"` // "kube", "helm", "exec", …
	Verb        string `json:"verb"`
	Cluster     string `json:"cluster,omitempty"`
	Instance    string `json:"instance,omitempty"` // name of a cloud's subscription, of a source of git, or of a site of http, in the configuration
	Group       string `json:"group,omitempty"`
	Resource    string `json:"resource,omitempty"` // "pods", "applications"
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	// ResourceGroup is Azure's, in lower case, since it is not case-sensitive.
	ResourceGroup string `json:"resourceGroup,omitempty"`
	Object        string `json:"object,omitempty"` // the object's or release's name; the path in a git repository
	Host          string `json:"host,omitempty"`
	Path          string `json:"path,omitempty"`
	Ref           string `json:"ref,omitempty"` // of a git repository: HEAD, a full ref, or a commit
	// Spans is set if the call lists over all namespaces or resource groups and the
	// host can limit it to some of them. The broker sets it.
	Spans bool `json:"spans,omitempty"`
	// Effect is what the call does to its target.
	Effect Effect `json:"effect,omitempty"`
	// Via is the capability that makes this call to carry out another one: "helm" for
	// the Kubernetes API requests of an upgrade, "helm.lookup" for those of a chart's
	// template, and "helm.show" for the question whether an answer may show what a
	// release keeps in Secrets. Empty for a call that the plugin makes itself.
	Via string `json:"via,omitempty"`
}

// Effect is what a call does. Every value except EffectRead and EffectDryRun is a change,
// so that a call that is not known to be harmless counts as one.
type Effect string

const (
	EffectChange Effect = "change"
	EffectRead   Effect = "read"
	EffectDryRun Effect = "dry_run" // a change that is checked but not made
)

// Normal returns one of the three constants.
func (e Effect) Normal() Effect {
	if e == EffectRead || e == EffectDryRun {
		return e
	}
	return EffectChange
}

// GroupResource returns the call's resource as permissions and grants write it:
// "applications.argoproj.io"; core resources without a group; "pods/exec" with its
// subresource.
func (c *CapabilityCall) GroupResource() string {
	s := c.Resource
	if c.Group != "" {
		s += "." + c.Group
	}
	if c.Subresource != "" {
		s += "/" + c.Subresource
	}
	return s
}

// String returns the call for messages and logs, such as "helm upgrade dev/shop/web".
func (c *CapabilityCall) String() string {
	target := cmp.Or(c.Cluster, c.Instance) + "/" + cmp.Or(c.Namespace, c.ResourceGroup) + "/" + c.Object
	if c.Host != "" {
		target = c.Host + c.Path
	}
	if gr := c.GroupResource(); gr != "" {
		target = gr + " " + target
	}
	if c.Via != "" {
		target += " via " + c.Via
	}
	return fmt.Sprintf("%s %s %s", c.Name, c.Verb, target)
}

// MaxReason bounds Question.Reason, in bytes.
const MaxReason = 256

// ParseReason returns the reason that a user states, without surrounding space. Errors are
// of kind Invalid.
func ParseReason(stated string) (string, error) {
	reason := strings.TrimSpace(stated)
	switch {
	case reason == "":
		return "", E(Invalid, "", "the stated reason is empty")
	case len(reason) > MaxReason:
		return "", E(Invalid, "", "the stated reason is over %d bytes", MaxReason)
	case !utf8.ValidString(reason) || strings.ContainsFunc(reason, func(c rune) bool { return !unicode.IsPrint(c) }):
		return "", E(Invalid, "", "the stated reason is not printable UTF-8")
	}
	return reason, nil
}

// Question is what policy is asked. Capability is nil for the decision about a route, and
// set for each capability call that the route then makes.
type Question struct {
	Principal  *Principal
	Route      Route
	Resource   Resource
	Capability *CapabilityCall
	// Reason is the reason that the user states for this request, at most MaxReason
	// bytes of printable UTF-8; empty if the user states none. With a reason,
	// break-glass permissions count.
	Reason string
}

// Reason is why policy decided so: a code for programs, and arguments for a sentence.
type Reason struct {
	Code string         `json:"code"`
	Args map[string]any `json:"args,omitempty"`
}

// Obligations are conditions of an allow that the host enforces. The zero value has none,
// but a missing Impersonate refuses any effect on a cluster.
type Obligations struct {
	Impersonate    *Impersonation `json:"impersonate,omitempty"`
	MaxSession     time.Duration  `json:"-"` // 0: the host's own limit
	Idle           time.Duration  `json:"-"` // 0: the host's own limit
	Namespaces     []string       `json:"namespaces,omitempty"`
	ResourceGroups []string       `json:"resource_groups,omitempty"`
	// Redact lists the values that are removed from JSON answers, as JSON Pointers
	// (RFC 6901) in which the token "*" matches every member or element.
	Redact []string `json:"redact,omitempty"`
	Record Record   `json:"record,omitempty"`
}

// MetBy reports whether a component that does, or does not, redact answers and record
// terminals can meet o. Other obligations are enforced elsewhere.
func (o *Obligations) MetBy(redacts, records bool) bool {
	return (redacts || len(o.Redact) == 0) && (records || o.Record == RecordNothing)
}

// Confines reports whether o limits the namespaces or resource groups.
func (o *Obligations) Confines() bool { return o.Namespaces != nil || o.ResourceGroups != nil }

// Record is the part of a terminal that is recorded.
type Record string

const (
	RecordNothing Record = ""
	RecordOutput  Record = "output" // output only
	RecordAll     Record = "all"    // output and input
)

// Impersonation is the identity with which the host acts at an API server (Kubernetes user
// impersonation). Groups never begin with "system:".
type Impersonation struct {
	User   string   `json:"user"`
	Groups []string `json:"groups,omitempty"`
}

// Decision is the answer of policy. The zero Decision denies.
type Decision struct {
	Allow       bool
	Reason      Reason
	Obligations Obligations
	ID          string // unique, for the decision log
	Revision    uint64 // of the policy that decided
	Cached      bool
	Duration    time.Duration
}
