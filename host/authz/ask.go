package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Ask is a question in the words of people.
type Ask struct {
	User   string `json:"user"`
	Action string `json:"action"` // PLUGIN:NAME
	// Resource is CLUSTER/NAMESPACE/RESOURCE[:NAME], what the route's plugin
	// reaches for; empty asks about the route alone. An empty NAMESPACE means all.
	Resource string `json:"resource,omitempty"`
	// Capability is "exec" for pods/exec, "helm" for releases.helm.sh and "kube"
	// otherwise, unless it is given.
	Capability string `json:"capability,omitempty"`
	// Verb is "get", for exec "create" and for helm the end of Action, unless it
	// is given.
	Verb   string `json:"verb,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Question is what policy is asked. Of the route it has what follows from the
// action: not its path and parameters. Errors say what is missing.
func (a *Ask) Question() (*host.Question, error) {
	plugin, name, ok := host.Action(a.Action).Split()
	if a.User == "" || !ok {
		return nil, errors.New("a question needs a user and an action PLUGIN:NAME, such as gitops:helm.upgrade")
	}
	read := name == "read" || strings.HasSuffix(name, ".read")
	q := &host.Question{
		Principal: &host.Principal{User: host.UserID(a.User)}, Reason: a.Reason,
		Route: host.Route{Plugin: plugin, Name: name, Action: host.Action(a.Action), Mutates: !read},
	}
	if a.Resource == "" {
		if a.Capability+a.Verb != "" {
			return nil, errors.New("capability and verb are about a resource, and none is given")
		}
		return q, nil
	}
	c, err := a.call(name)
	if err != nil {
		return nil, err
	}
	q.Capability = c
	q.Resource = host.Resource{"cluster": c.Cluster}
	if c.Namespace != "" {
		q.Resource["namespace"] = c.Namespace
	}
	return q, nil
}

func (a *Ask) call(action string) (*host.CapabilityCall, error) {
	parts := strings.SplitN(a.Resource, "/", 3)
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return nil, fmt.Errorf("resource %q is not CLUSTER/NAMESPACE/RESOURCE[:NAME], such as dev/shop/pods:web", a.Resource)
	}
	what, object, _ := strings.Cut(parts[2], ":")
	c := &host.CapabilityCall{Name: a.Capability, Verb: a.Verb, Cluster: parts[0], Namespace: parts[1], Object: object}
	what, c.Subresource, _ = strings.Cut(what, "/")
	c.Resource, c.Group, _ = strings.Cut(what, ".")
	c.Spans = c.Namespace == ""
	switch {
	case c.Name == "" && what == "releases.helm.sh":
		c.Name = "helm"
	case c.Name == "" && c.GroupResource() == "pods/exec":
		c.Name = "exec"
	case c.Name == "":
		c.Name = "kube"
	}
	if c.Name == "helm" {
		c.Resource, c.Group = "", "" // the capability says it
	}
	switch {
	case c.Verb != "":
	case c.Name == "exec":
		c.Verb = "create"
	case c.Name == "helm":
		c.Verb = action[strings.LastIndex(action, ".")+1:]
		if c.Verb == "read" {
			c.Verb = "list"
		}
	default:
		c.Verb = "get"
	}
	return c, nil
}

// BenchReport is how long one decision takes, with matching included.
type BenchReport struct {
	Evaluated    int           `json:"evaluated"` // times
	EvaluatedP50 time.Duration `json:"evaluatedP50_ns"`
	EvaluatedP99 time.Duration `json:"evaluatedP99_ns"`
	Cacheable    bool          `json:"cacheable"`
	Cached       int           `json:"cached"` // times
	CachedMean   time.Duration `json:"cachedMean_ns"`
}

// Bench measures the decision about q by p over d, evaluated and cached, each
// for about the time given.
func (p *Policy) Bench(ctx context.Context, q *host.Question, d Directory, each time.Duration) *BenchReport {
	r := &BenchReport{Cacheable: p.published.cacheable}
	dec := new(decider)
	dec.init(d, defaultDeadline)
	var took []time.Duration
	for end := time.Now().Add(each); time.Now().Before(end) && ctx.Err() == nil; {
		start := time.Now()
		m := d.Match(q)
		_, _ = dec.evaluate(ctx, p.published, q, &m)
		took = append(took, time.Since(start))
	}
	if len(took) > 0 {
		slices.Sort(took)
		r.Evaluated, r.EvaluatedP50, r.EvaluatedP99 = len(took), took[len(took)/2], took[len(took)*99/100]
	}
	if !r.Cacheable {
		return r
	}
	const batch = 1000 // reading the clock costs as much as a hit
	start := time.Now()
	for time.Since(start) < each && ctx.Err() == nil {
		for range batch {
			_, _, _ = dec.decide(ctx, p.published, q)
		}
		r.Cached += batch
	}
	r.CachedMean = time.Since(start) / time.Duration(max(r.Cached, 1))
	return r
}
