package host

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Route is a plugin's HTTP entry as it was matched, one per request. Policy
// sees it as input.route.
type Route struct {
	Plugin  string            `json:"plugin"` // the instance name in the operator's config
	Name    string            `json:"name"`
	Action  Action            `json:"action"`
	Method  string            `json:"method"`
	Path    string            `json:"path"` // the route's template, below the plugin's root
	Params  map[string]string `json:"params,omitempty"`
	Mutates bool              `json:"mutates"`
	// Digest and Generation say which version of the plugin the route is of, for
	// the decision log. Policy does not see them.
	Digest     string `json:"-"`
	Generation uint64 `json:"-"`
}

// Resource is what path and query of a route name, for routes that declare it.
// An absent key is a dimension the request does not name. Keys are the ones in
// sdk/manifest: cluster, namespace, resource, name, resourceGroup, type, pod, …
type Resource map[string]string

// CapabilityCall is one thing a plugin asks of the host for a person. Policy
// sees it as input.capability; absent dimensions are empty.
type CapabilityCall struct {
	Name        string `json:"name"` // "kube", "helm", "exec", …
	Verb        string `json:"verb"`
	Cluster     string `json:"cluster,omitempty"`
	Instance    string `json:"instance,omitempty"` // of a cloud: a subscription's name in the operator's config
	Group       string `json:"group,omitempty"`
	Resource    string `json:"resource,omitempty"` // "pods", "applications"
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	// ResourceGroup is Azure's, in lower case: Azure does not tell cases apart.
	ResourceGroup string `json:"resourceGroup,omitempty"`
	Object        string `json:"object,omitempty"` // the object's or release's name
	Host          string `json:"host,omitempty"`
	Path          string `json:"path,omitempty"`
	// Spans says that the call lists over all namespaces or resource groups and
	// that the host can narrow it to some. The broker sets it.
	Spans bool `json:"spans,omitempty"`
	// Effect says what the call does to its target.
	Effect Effect `json:"effect,omitempty"`
	// Via is the capability that makes this call to carry out another one: "helm"
	// for the requests of the Kubernetes API that an upgrade sends, and
	// "helm.lookup" for those that a chart's template asks for. Empty for a call
	// that the plugin makes itself.
	Via string `json:"via,omitempty"`
}

// Effect says what a call does. Every value but EffectRead and EffectDryRun is a
// change, so that what is not known to be harmless counts as one.
type Effect string

const (
	EffectChange Effect = "change"
	EffectRead   Effect = "read"
	EffectDryRun Effect = "dry_run" // a change that is checked and not made
)

// Normal returns one of the three constants.
func (e Effect) Normal() Effect {
	if e == EffectRead || e == EffectDryRun {
		return e
	}
	return EffectChange
}

// GroupResource is how permissions and grants write the call's resource:
// "applications.argoproj.io", core ones bare, "pods/exec" with its subresource.
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

// String names the call for messages and logs: "helm upgrade dev/shop/web".
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

// ParseReason returns what a person states as their reason, without the space
// around it. Errors are of kind Invalid.
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

// Question is what policy is asked. Capability is nil for the route decision,
// set for each capability call the route then makes.
type Question struct {
	Principal  *Principal
	Route      Route
	Resource   Resource
	Capability *CapabilityCall
	// Reason is what the person states as reason for this request, at most
	// MaxReason bytes of printable UTF-8; empty if they state none. It makes
	// break-glass permissions count.
	Reason string
}

// Reason says why, as a code that programs compare and arguments for a sentence.
type Reason struct {
	Code string         `json:"code"`
	Args map[string]any `json:"args,omitempty"`
}

// Obligations are conditions of an allow that the host enforces. The zero
// value obliges to nothing, except that a missing Impersonate refuses any
// effect on a cluster.
type Obligations struct {
	Impersonate    *Impersonation `json:"impersonate,omitempty"`
	MaxSession     time.Duration  `json:"-"` // 0: the host's own limit
	Idle           time.Duration  `json:"-"` // 0: the host's own limit
	Namespaces     []string       `json:"namespaces,omitempty"`
	ResourceGroups []string       `json:"resource_groups,omitempty"`
	// Redact lists what is removed from JSON answers, as JSON Pointers
	// (RFC 6901) in which the token "*" stands for every member or element.
	Redact []string `json:"redact,omitempty"`
	Record Record   `json:"record,omitempty"`
}

// MetBy reports whether o is met by something that does, or does not, redact
// answers and record terminals. Who enforces the others decides about them.
func (o *Obligations) MetBy(redacts, records bool) bool {
	return (redacts || len(o.Redact) == 0) && (records || o.Record == RecordNothing)
}

// Confines reports whether o leaves some namespaces or resource groups out.
func (o *Obligations) Confines() bool { return o.Namespaces != nil || o.ResourceGroups != nil }

// Record says what of a terminal is recorded.
type Record string

const (
	RecordNothing Record = ""
	RecordOutput  Record = "output" // what the person sees
	RecordAll     Record = "all"    // and what they type
)

// Impersonation is whom the host is for the API server (Kubernetes user
// impersonation). Groups never begin with "system:".
type Impersonation struct {
	User   string   `json:"user"`
	Groups []string `json:"groups,omitempty"`
}

// Decision is what policy said. The zero Decision denies.
type Decision struct {
	Allow       bool
	Reason      Reason
	Obligations Obligations
	ID          string // unique, for the decision log
	Revision    uint64 // of the policy that decided
	Cached      bool
	Duration    time.Duration
}
