package helm

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	name            = "helm"
	releaseResource = "releases.helm.sh" // the resource that permissions name
	readTimeout     = 30 * time.Second
	writeTimeout    = 60 * time.Second
	maxActions      = 16 // at a time; each keeps charts and releases in memory
	maxPerUser      = maxActions / 4
	slotTimeout     = 2 * time.Second
)

// The actions, which are also the verbs of permissions.
const (
	actList      = "list"
	actHistory   = "history"
	actValues    = "values"
	actNotes     = "notes"
	actManifest  = "manifest"
	actUpgrade   = "upgrade"
	actRollback  = "rollback"
	actUninstall = "uninstall"
	actTest      = "test"
	actCancel    = "cancel"
)

var (
	reads  = []string{actList, actHistory, actValues, actNotes, actManifest}
	writes = []string{actUpgrade, actRollback, actUninstall, actTest, actCancel}
)

// Config is the key "helm" of the host's configuration.
type Config struct {
	Repositories []Repository `json:"repositories"` // sources of charts; charts from elsewhere are refused
	// Policies are names of plugins that are policies of Kubewarden. Each judges the
	// objects of a release before helm changes anything. A change is refused if one
	// rejects an object, would change it, or does not serve.
	Policies []string `json:"policies,omitempty"`
}

// NewKind describes the capability. A grant has clusters, namespaces and actions.
func NewKind() *capability.Kind {
	return &capability.Kind{
		Name: name,
		Dimensions: []capability.Dimension{
			{Name: capability.Clusters}, {Name: capability.Namespaced},
			{Name: capability.Actions, Values: slices.Concat(reads, writes)},
		},
		Classify: classify,
		Spans: func(c *host.CapabilityCall) string {
			if c.Verb == actList {
				return capability.Namespaced
			}
			return ""
		},
		Permission: func(c *host.CapabilityCall) (resource, verb string) { return releaseResource, c.Verb },
		Words: capability.Words{
			Form: "CLUSTER/NAMESPACE/" + releaseResource + "[:RELEASE]", Example: "dev/shop/releases.helm.sh:web",
			Verbs:  `what ACTION ends with, where "read" is list`,
			Claims: func(p *capability.Phrase) (bool, error) { return p.Resource == releaseResource, nil },
			Call:   asked,
		},
	}
}

// asked returns the call that a question in words is about.
func asked(p *capability.Phrase) (host.CapabilityCall, host.Resource, error) {
	verb := cmp.Or(p.Verb, p.LastWord())
	if p.Verb == "" && verb == "read" {
		verb = actList
	}
	of := *p
	of.Resource = releaseResource
	c, route := of.OfCluster(name, verb)
	c.Effect = host.EffectChange
	if slices.Contains(reads, verb) {
		c.Effect = host.EffectRead
	}
	return c, route, nil
}

// Helm is the provider. Safe for concurrent use.
type Helm struct {
	kind     *capability.Kind
	clusters *cluster.Set
	charts   *charts
	policies *preflight // nil: none
	slots    *slots
	busy     busy
	ongoing  operations
	running  sync.WaitGroup
	logger   *slog.Logger
	limits   child.Limits       // of one operation, except its time
	started  func(childPID int) // for tests; may be nil
}

// New makes the provider. It checks the configuration; its errors name the field, for
// example "helm.repositories[0].path". judge is needed for Config.Policies. Close closes the
// repositories.
func New(c Config, clusters *cluster.Set, judge Judge, logger *slog.Logger) (*Helm, error) {
	if !operating.Ready() {
		return nil, errors.New("helm: main must call Child first")
	}
	var policies *preflight
	if len(c.Policies) > 0 {
		if judge == nil {
			return nil, errors.New("helm.policies: this host cannot run policies")
		}
		policies = &preflight{c.Policies, judge}
	}
	charts, err := openCharts(c, logger)
	if err != nil {
		return nil, err
	}
	return &Helm{kind: NewKind(), clusters: clusters, charts: charts, policies: policies, slots: newSlots(maxActions, maxPerUser, slotTimeout), logger: logger,
		limits: child.Limits{CPU: childCPU, Memory: childMemory}}, nil
}

// Close ends the operations in the background, waits until the operations in progress have settled their releases, at most
// closingTime after their sessions have ended, and closes what New opened.
func (h *Helm) Close() {
	h.ongoing.close()
	h.running.Wait()
	h.charts.close()
}

// Kind returns the kind of NewKind.
func (h *Helm) Kind() *capability.Kind { return h.kind }

// request is a guest's request in typed parts. The body is read once policy has
// allowed the call.
type request struct {
	read                        bool // changes nothing
	body                        []byte
	cluster, namespace, release string
	action                      string
	max, revision               int
	all                         bool
	diff                        bool // of the manifests of two revisions
	from, to                    int
	limit                       int // of a list; 0: all
	after                       key // of a list: only the releases after this one
	within                      time.Duration
	changes                     bool // of a list, since the cursor
	cursor                      string
	async                       bool          // answer before the operation has ended
	operation                   string        // the id of the one that the request is about
	patience                    time.Duration // to wait for its end
	upgrade                     upgradeBody
	wait                        bool // of a rollback
	values                      map[string]any
}

const (
	maxReleaseName = 53 // in bytes; helm's own bound
	maxPageSize    = 500
)

var async = []string{"async"}

// actions are the actions by method and path below the release, with their query keys.
var actions = map[string]struct {
	name string
	keys []string
}{
	"GET /history":      {actHistory, []string{"max"}},
	"GET /operation":    {actHistory, []string{"id", "wait"}},
	"DELETE /operation": {actCancel, []string{"id"}},
	"GET /values":       {actValues, []string{"revision", "all"}},
	"GET /notes":        {actNotes, []string{"revision"}},
	"GET /manifest":     {actManifest, []string{"revision"}},
	"GET /diff":         {actManifest, []string{"from", "to"}},
	"POST /upgrade":     {actUpgrade, async},
	"POST /rollback":    {actRollback, async},
	"POST /test":        {actTest, async},
	"DELETE ":           {actUninstall, async},
}

// parse parses method and URL; bodies are parsed after the decision.
func parse(r *abi.Request) (*request, error) {
	t, err := capability.ParseTarget(name, r.URL)
	if err != nil {
		return nil, err
	}
	q := &request{cluster: t.Cluster, read: r.Method == http.MethodGet, body: r.Body}
	s := t.Segments
	if len(s) > 4 {
		return nil, host.E(host.Invalid, name, "the URL has too many parts")
	}
	if len(s) > 0 {
		q.namespace = s[0]
	}
	if len(s) > 0 && !dnsname.IsLabel(q.namespace) {
		return nil, host.E(host.Invalid, name, "%q is not a valid namespace name", q.namespace)
	}
	if len(s) < 2 {
		if r.Method != http.MethodGet {
			return nil, host.E(host.Invalid, name, "the URL must name a release")
		}
		q.action = actList
		if t.Query.Has("changes") {
			return q, q.readChanges(t)
		}
		if err := t.Only(name, "limit", "after", "within"); err != nil {
			return nil, err
		}
		return q, q.readPage(t)
	}
	if q.release = s[1]; len(q.release) > maxReleaseName || !dnsname.IsSubdomain(q.release) {
		return nil, host.E(host.Invalid, name, "%q is not a valid release name", q.release)
	}
	rest := ""
	for _, part := range s[2:] {
		rest += "/" + part
	}
	a, ok := actions[r.Method+" "+rest]
	if !ok {
		return nil, host.E(host.Invalid, name, "a release has no %s %q", r.Method, rest)
	}
	q.action, q.diff = a.name, rest == "/diff"
	if err := t.Only(name, a.keys...); err != nil {
		return nil, err
	}
	if err := q.readQuery(t); err != nil {
		return nil, err
	}
	if rest == "/operation" && !operationRE.MatchString(q.operation) {
		return nil, host.E(host.Invalid, name, "the query's id must be that of an operation")
	}
	return q, nil
}

// readPage reads which part of a list is requested, and how long the list may take.
func (q *request) readPage(t *capability.Target) (err error) {
	if q.limit, err = number(t, "limit", maxPageSize); err != nil {
		return err
	}
	seconds, err := number(t, "within", int(readTimeout/time.Second))
	if err != nil {
		return err
	}
	q.within = time.Duration(seconds) * time.Second
	if v := t.Query.Get("after"); v != "" {
		namespace, release, ok := strings.Cut(v, "/")
		if !ok || !dnsname.IsLabel(namespace) || len(release) > maxReleaseName || !dnsname.IsSubdomain(release) {
			return host.E(host.Invalid, name, "the query's after must be NAMESPACE/RELEASE")
		}
		q.after = key{namespace: namespace, release: release}
	}
	return nil
}

// readChanges reads a request for changes of a list: changes=true, and cursor (of the answer
// before) and wait (0 to 20 seconds, for a change) if wanted.
func (q *request) readChanges(t *capability.Target) error {
	if err := t.Only(name, "changes", "cursor", "wait"); err != nil {
		return err
	}
	if t.Query.Get("changes") != "true" {
		return host.E(host.Invalid, name, "the query's changes must be true")
	}
	seconds, err := number(t, "wait", maxPatience)
	q.changes, q.cursor, q.within = true, t.Query.Get("cursor"), time.Duration(seconds)*time.Second
	return err
}

func (q *request) readQuery(t *capability.Target) (err error) {
	if q.max, err = number(t, "max", 256); err != nil {
		return err
	}
	if q.revision, err = number(t, "revision", 1<<30); err != nil {
		return err
	}
	if q.from, err = number(t, "from", 1<<30); err != nil {
		return err
	}
	if q.to, err = number(t, "to", 1<<30); err != nil {
		return err
	}
	seconds, err := number(t, "wait", maxPatience)
	if err != nil {
		return err
	}
	q.patience, q.operation = time.Duration(seconds)*time.Second, t.Query.Get("id")
	if v := t.Query.Get("async"); v != "" {
		if q.async, err = strconv.ParseBool(v); err != nil {
			return host.E(host.Invalid, name, "the query's async must be true or false")
		}
	}
	if v := t.Query.Get("all"); v != "" {
		if q.all, err = strconv.ParseBool(v); err != nil {
			return host.E(host.Invalid, name, "the query's all must be true or false")
		}
	}
	return nil
}

func number(t *capability.Target, key string, limit int) (int, error) {
	v := t.Query.Get(key)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > limit {
		return 0, host.E(host.Invalid, name, "the query's %s must be a number from 0 to %d", key, limit)
	}
	return n, nil
}

// classify parses the request; the verb is the action.
func classify(r *abi.Request) (capability.Prepared, error) {
	q, err := parse(r)
	if err != nil {
		return capability.Prepared{}, err
	}
	call := host.CapabilityCall{
		Name: name, Verb: q.action, Cluster: q.cluster, Namespace: q.namespace, Object: q.release,
		Group: "helm.sh", Resource: "releases", Effect: host.EffectChange,
	}
	if q.read {
		call.Effect = host.EffectRead
	}
	return capability.Prepared{Call: call, Payload: q}, nil
}

// Fetch runs the action as the user.
//
// Errors: host.NotFound for a release, revision, repository or chart that does not exist;
// host.Unprocessable for values that cannot be used, or a release whose record in the
// cluster is damaged or too large; host.Conflict while another action on the release is
// in progress; host.Limited while too many actions are in progress; the API server's own
// refusals with their status; otherwise host.Upstream with helm's text.
func (h *Helm) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	q := p.Payload.(*request)
	limit := readTimeout
	if !q.read {
		limit = writeTimeout
	}
	if q.within > 0 && !q.changes {
		limit = q.within
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := q.readBody(q.body); err != nil {
		return nil, err
	}
	logger := h.logger
	if p.Caller.Logger != nil {
		logger = p.Caller.Logger
	}
	client, err := h.clusters.As(ctx, q.cluster, p.Obligations.Impersonate, p.Caller.Authority)
	if err != nil {
		return nil, err
	}
	user := p.Caller.Principal.User
	switch {
	case q.changes:
		return h.changes(ctx, p, q)
	case q.read && q.operation == "":
		return h.detached(ctx, user, q, client, func() {}, func() (*abi.Response, error) {
			return (&run{request: q, client: client, within: p.Narrowing, logger: logger,
				reveal: func() bool { return showsSecrets(ctx, p, q) }}).recovered(ctx)
		})
	case q.operation != "":
		return h.follow(ctx, &run{request: q, client: client, logger: logger}, user)
	}
	c := &claim{ID: q.action + "." + rand.Text(), Action: q.action, User: string(user), Since: time.Now()}
	done, err := h.busy.begin(q, c)
	if err != nil {
		return nil, err
	}
	if q.async {
		return h.begin(p, q, c, done, logger)
	}
	return h.detached(ctx, user, q, client, done, func() (*abi.Response, error) {
		return h.operate(ctx, &bridge{request: q, client: client, permit: p, policies: h.policies}, c, logger)
	})
}
