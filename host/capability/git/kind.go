package git

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	name     = "git"
	resource = "repositories.git" // that permissions name, with "/" and the source behind it

	verbGet  = "get"  // files of a repository
	verbList = "list" // its branches and tags
)

// What a request asks for.
const (
	asFiles     = "files"
	asManifests = "manifests"
	asRefs      = "refs"
)

// NewKind describes the capability for the sources of a configuration. A grant has
// repositories, written SERVER/PATH without ".git", and verbs.
func NewKind(list []Config) *capability.Kind {
	k := &kind{places(list)}
	return &capability.Kind{
		Name: name,
		Dimensions: []capability.Dimension{
			{Name: capability.Repositories},
			{Name: capability.Verbs, Values: []string{verbGet, verbList}},
		},
		Classify:   k.classify,
		Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), c.Verb },
		Words: capability.Words{
			Form: "SOURCE/REPOSITORY/" + resource + "[:PATH], REPOSITORY only for a source of several,", Example: "shop//" + resource + ":deploy",
			Verbs:  verbGet + ", or " + verbList + " for branches and tags",
			Claims: func(p *capability.Phrase) (bool, error) { return p.Resource == resource, nil },
			Call:   k.asked,
		},
	}
}

// kind is the data that parsing a request needs.
type kind struct{ places []place }

// request is a guest's request in typed parts.
type request struct {
	source string
	at     address
	ref    string
	path   string // below the repository's root, without slashes at its ends
	as     string
}

func (k *kind) classify(r *abi.Request) (capability.Prepared, error) {
	q, err := k.parse(r)
	if err != nil {
		return capability.Prepared{}, err
	}
	return capability.Prepared{Call: q.call(), Payload: q}, nil
}

func (q *request) call() host.CapabilityCall {
	c := host.CapabilityCall{
		Name: name, Verb: verbGet, Instance: q.source, Group: "git", Resource: "repositories", Subresource: q.source,
		Host: q.at.host, Path: q.at.repository(), Ref: q.ref, Object: q.path, Effect: host.EffectRead,
	}
	if q.as == asRefs {
		c.Verb = verbList
	}
	return c
}

func (k *kind) parse(r *abi.Request) (*request, error) {
	if r.Method != http.MethodGet || len(r.Body) > 0 {
		return nil, host.E(host.Invalid, name, "the method must be GET, without a body")
	}
	t, err := capability.ParseTarget(name, r.URL)
	if err != nil {
		return nil, err
	}
	keys := []string{"ref", "path", "as"}
	if t.Cluster == byURL {
		keys = append(keys, "url")
	}
	if err := t.Only(name, keys...); err != nil {
		return nil, err
	}
	q := &request{ref: cmp.Or(t.Query.Get("ref"), "HEAD"), path: t.Query.Get("path"), as: cmp.Or(t.Query.Get("as"), asFiles)}
	switch {
	case !slices.Contains([]string{asFiles, asManifests, asRefs}, q.as):
		return nil, host.E(host.Invalid, name, "as: %q must be %s, %s or %s", text.Short(q.as), asFiles, asManifests, asRefs)
	case q.as == asRefs && (t.Query.Has("ref") || t.Query.Has("path")):
		return nil, host.E(host.Invalid, name, "as: %s takes neither ref nor path", asRefs)
	case q.as == asRefs:
		q.ref = ""
	case !validRef(q.ref):
		return nil, host.E(host.Invalid, name, "ref: %q must be HEAD, a full ref such as refs/heads/main, or the 40 digits of a commit", text.Short(q.ref))
	case !validPath(q.path):
		return nil, host.E(host.Invalid, name, "path: %q must be a path below the repository's root, without empty, \".\" or \"..\" parts", text.Short(q.path))
	}
	if t.Cluster == byURL {
		err = k.byAddress(q, t)
	} else {
		err = k.byName(q, t)
	}
	return q, err
}

// byAddress finds the source of the repository that the URL names: the one with the
// longest address.
func (k *kind) byAddress(q *request, t *capability.Target) error {
	if len(t.Segments) > 0 {
		return host.E(host.Invalid, name, "a request with url has no path")
	}
	raw := t.Query.Get("url")
	a, problem := parseAddress(raw)
	if problem != "" {
		return host.E(host.Invalid, name, "url: %q %s", text.Short(raw), problem)
	}
	var found *place
	for i := range k.places {
		if p := &k.places[i]; p.holds(a) && (found == nil || len(p.at.path) > len(found.at.path)) {
			found = p
		}
	}
	if found == nil {
		return host.E(host.Invalid, name, "url: the repository %s does not belong to a source in the host's configuration", text.Short(a.String()))
	}
	q.source, q.at = found.name, a
	if !found.below {
		q.at = found.at // the spelling of the configuration
	}
	return nil
}

func (k *kind) byName(q *request, t *capability.Target) error {
	i := slices.IndexFunc(k.places, func(p place) bool { return p.name == t.Cluster })
	if i < 0 {
		return host.E(host.Invalid, name, "the source %q does not exist in the host's configuration", t.Cluster)
	}
	p := &k.places[i]
	q.source, q.at = p.name, p.at
	switch {
	case !p.below && len(t.Segments) > 0:
		return host.E(host.Invalid, name, "the source %q is one repository; the URL has no path", p.name)
	case p.below && len(t.Segments) == 0:
		return host.E(host.Invalid, name, "the source %q has several repositories; the URL's path must name one", p.name)
	case len(t.Segments) > maxRepositoryParts || slices.ContainsFunc(t.Segments, func(s string) bool { return !segmentRE.MatchString(s) }):
		return host.E(host.Invalid, name, "the URL's path is not the path of a repository")
	case p.below:
		q.at.path += "/" + strings.Join(t.Segments, "/")
	}
	return nil
}

// asked returns the call that a question in words is about.
func (k *kind) asked(p *capability.Phrase) (host.CapabilityCall, host.Resource, error) {
	q := &request{source: p.Place, ref: "HEAD", path: p.Object, as: asFiles}
	switch p.Verb {
	case "", verbGet:
	case verbList:
		q.as, q.ref = asRefs, ""
	default:
		return host.CapabilityCall{}, nil, fmt.Errorf("git has no verb %q; it has %s and %s", p.Verb, verbGet, verbList)
	}
	target := &capability.Target{Cluster: p.Place}
	if p.Part != "" {
		target.Segments = []string{p.Part}
	}
	if err := k.byName(q, target); err != nil {
		return host.CapabilityCall{}, nil, err
	}
	if !validPath(q.path) {
		return host.CapabilityCall{}, nil, fmt.Errorf("%q is not a path below the repository's root", p.Object)
	}
	return q.call(), p.Route("instance", "name"), nil
}
