package azure

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	name     = "azure"
	groupKey = "resourceGroup"

	maxGroups  = 64               // that a list may name
	maxMetrics = 20               // names in one request (Azure Monitor's own limit)
	maxTail    = 10_000           // lines of a container's log
	maxWait    = 20 * time.Second // for an operation to end
)

// request is a guest's request in typed parts.
type request struct {
	*operation
	instance string
	group    string            // in lower case; empty if none is named
	groups   []string          // of a list, likewise
	names    map[string]string // the values of the segments in braces
	query    url.Values

	sealed *pending // of the state of a change
	wait   time.Duration
}

var (
	plainRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
)

// validGroup reports whether s names a resource group, in lower case.
func validGroup(s string) bool {
	lower, ok := lowerGroup(s)
	return ok && lower == s
}

// namesGroup reports whether s names a resource group.
func namesGroup(s string) bool { _, ok := lowerGroup(s); return ok }

// parse parses a guest's request strictly. Its error is of kind Invalid for a request
// that is not in operations or is for another subscription.
func (k *kind) parse(r *abi.Request) (*request, error) {
	t, err := capability.ParseNamed(name, r.URL, namesGroup, groupKey, "groupBy", "metricnames", "aggregation")
	if err != nil {
		return nil, err
	}
	if len(r.Body) > 0 {
		return nil, host.E(host.Invalid, name, "requests to Azure must have no body")
	}
	segments, err := k.below(t)
	if err != nil {
		return nil, err
	}
	for i := range operations {
		names, ok := operations[i].match(r.Method, segments)
		if !ok {
			continue
		}
		q := &request{operation: &operations[i], instance: t.Cluster, names: names, query: t.Query}
		return q, k.check(q, t)
	}
	return nil, host.E(host.Invalid, name, "the request does not exist: %s %s", text.Short(r.Method), text.Short(strings.Join(t.Segments, "/")))
}

// below removes the subscription from the segments if the URL names one; it must be the
// instance's own.
func (k *kind) below(t *capability.Target) ([]string, error) {
	s := t.Segments
	if len(s) == 0 || !strings.EqualFold(s[0], "subscriptions") {
		return s, nil
	}
	own, ok := k.subscriptions[t.Cluster]
	if len(s) < 2 || !ok || !strings.EqualFold(s[1], own) {
		return nil, host.E(host.Invalid, name, "the URL names another subscription than the instance's")
	}
	return s[2:], nil
}

func (k *kind) check(q *request, t *capability.Target) error {
	if err := t.Only(name, q.operation.query...); err != nil {
		return err
	}
	for key, list := range q.query {
		if len(list) > 1 && !slices.Contains(q.repeat, key) {
			return host.E(host.Invalid, name, "the URL's query contains %q twice", key)
		}
	}
	if g, ok := q.names["group"]; ok {
		if q.group, ok = lowerGroup(g); !ok {
			return host.E(host.Invalid, name, "%q is not the name of a resource group", text.Short(g))
		}
		q.names["group"] = q.group
	}
	for _, what := range []string{"name", "sub"} {
		if v, ok := q.names[what]; ok && !plainRE.MatchString(v) {
			return host.E(host.Invalid, name, "%q is not the name of a resource", text.Short(v))
		}
	}
	for _, g := range q.query[groupKey] {
		group, ok := lowerGroup(g)
		if !ok {
			return host.E(host.Invalid, name, "%q is not the name of a resource group", text.Short(g))
		}
		q.groups = append(q.groups, group)
	}
	slices.Sort(q.groups)
	if q.groups = slices.Compact(q.groups); len(q.groups) > maxGroups {
		return host.E(host.Invalid, name, "the request names over %d resource groups", maxGroups)
	}
	switch {
	case q.shape == costs:
		return q.checkCosts()
	case q.shape == state:
		return k.checkState(q)
	case strings.HasSuffix(q.path, "/logs"):
		return q.checkLogs()
	case strings.HasSuffix(q.path, insights+"metrics"):
		return q.checkMetrics()
	}
	return nil
}

func (q *request) checkLogs() error {
	if s := q.query.Get("tail"); s != "" {
		if n, err := strconv.Atoi(s); err != nil || n < 1 || n > maxTail {
			return host.E(host.Invalid, name, "tail must be a number from 1 to %d", maxTail)
		}
	}
	return checkOneOf(q.query, "timestamps", "true", "false")
}

// The intervals and aggregations of Azure Monitor.
var (
	intervals    = []string{"PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D"}
	aggregations = []string{"Average", "Count", "Maximum", "Minimum", "Total"}
)

func (q *request) checkMetrics() error {
	if n := len(q.query["metricnames"]); n == 0 || n > maxMetrics {
		return host.E(host.Invalid, name, "metricnames must have 1 to %d names", maxMetrics)
	}
	for _, m := range q.query["metricnames"] {
		// Metric names may contain spaces and slashes; a comma separates them.
		if m == "" || len(m) > 128 || strings.ContainsFunc(m, func(r rune) bool { return r < ' ' || r > '~' || r == ',' }) {
			return host.E(host.Invalid, name, "metricnames: %q is not a metric's name", text.Short(m))
		}
	}
	if err := checkOneOf(q.query, "aggregation", aggregations...); err != nil {
		return err
	}
	if err := checkOneOf(q.query, "interval", intervals...); err != nil {
		return err
	}
	if s := q.query.Get("top"); s != "" {
		if n, err := strconv.Atoi(s); err != nil || n < 1 || n > 1000 {
			return host.E(host.Invalid, name, "top must be a number from 1 to 1000")
		}
	}
	from, to, ok := strings.Cut(q.query.Get("timespan"), "/")
	start, err1 := time.Parse(time.RFC3339, from)
	end, err2 := time.Parse(time.RFC3339, to)
	if !ok || err1 != nil || err2 != nil || !start.Before(end) {
		return host.E(host.Invalid, name, "timespan must be START/END, two times of RFC 3339")
	}
	return nil
}

func checkOneOf(query url.Values, key string, allowed ...string) error {
	for _, v := range query[key] {
		if !slices.Contains(allowed, v) {
			return host.E(host.Invalid, name, "%s %q must be one of %s", key, text.Short(v), strings.Join(allowed, ", "))
		}
	}
	return nil
}

// call is the request as grants and policy see it.
func (q *request) call() host.CapabilityCall {
	c := host.CapabilityCall{
		Name: name, Verb: q.verb, Instance: q.instance, Resource: q.kind, ResourceGroup: q.group,
		Object: q.names["name"], Path: q.wire(q.names), Effect: host.EffectRead,
	}
	if q.shape == action {
		c.Effect = host.EffectChange
	}
	if p := q.sealed; p != nil {
		c.Resource, c.ResourceGroup, c.Object, c.Path = p.Kind, p.Group, p.Object, p.Path
	}
	// Azure is not case-sensitive; another spelling of a name must not bypass a
	// policy.
	c.Object, c.Path = strings.ToLower(c.Object), strings.ToLower(c.Path)
	return c
}

// wireQuery returns the query that is sent: the pinned version, the operation's fixed
// values, and the plugin's.
func (q *request) wireQuery() url.Values {
	out := url.Values{"api-version": {q.version}}
	for k, v := range q.fixed {
		out.Set(k, v)
	}
	for k, list := range q.query {
		if k != groupKey {
			out.Set(k, strings.Join(list, ","))
		}
	}
	return out
}
