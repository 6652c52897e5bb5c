package http

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
	name     = "http"
	resource = "requests.http" // that permissions name, with "/" and the site behind it
)

// methods are those that a request can have, with their verbs.
var methods = map[string]string{
	http.MethodGet: "get", http.MethodHead: "get", http.MethodOptions: "get",
	http.MethodPost: "post", http.MethodPut: "put", http.MethodPatch: "patch", http.MethodDelete: "delete",
}

var verbs = []string{"get", "post", "put", "patch", "delete"}

// NewKind describes the capability for the sites of a configuration, which need not have
// been checked. A grant has instances, the names of sites, and verbs.
func NewKind(list []Config) *capability.Kind {
	k := &kind{}
	var names []string
	for i := range list {
		if a, problem := parse(list[i].URL); problem == "" {
			k.sites = append(k.sites, place{list[i].Name, a, list[i].TokenFile != ""})
			names = append(names, list[i].Name)
		}
	}
	return &capability.Kind{
		Name: name,
		Dimensions: []capability.Dimension{
			{Name: capability.Instances, Values: names, Noun: "site of http"},
			{Name: capability.Verbs, Values: verbs},
		},
		Classify:   k.classify,
		Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), c.Verb },
		Words: capability.Words{
			Form: "SITE//" + resource + "[:PATH]", Example: "shop//" + resource + ":v1/orders",
			Verbs:  "get, or " + strings.Join(verbs[1:], ", "),
			Claims: func(p *capability.Phrase) (bool, error) { return p.Resource == resource, nil },
			Call:   k.asked,
		},
	}
}

// kind is the data that parsing a request needs.
type kind struct{ sites []place }

type place struct {
	name       string
	at         address
	credential bool // the host has one
}

// request is a guest's request in typed parts.
type request struct {
	site   string
	at     address
	method string
	header []abi.Pair
	body   []byte
}

func (k *kind) classify(r *abi.Request) (capability.Prepared, error) {
	verb, ok := methods[r.Method]
	if !ok {
		return capability.Prepared{}, host.E(host.Invalid, name, "the method %q must be GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE", text.Short(r.Method))
	}
	a, problem := parse(r.URL)
	if problem != "" {
		return capability.Prepared{}, host.E(host.Invalid, name, "the URL %q %s", text.Short(r.URL), problem)
	}
	site := k.of(a)
	if site == nil {
		return capability.Prepared{}, host.E(host.Invalid, name, "the URL %q does not belong to a site in the host's configuration (http)", text.Short(a.base()))
	}
	for _, h := range r.Header {
		if problem := headerProblem(h, site.credential); problem != "" {
			return capability.Prepared{}, host.E(host.Invalid, name, "the header %q %s", text.Short(h.Name), problem)
		}
	}
	q := &request{site: site.name, at: a, method: r.Method, header: r.Header, body: r.Body}
	return capability.Prepared{Call: q.call(verb), Payload: q}, nil
}

// of returns the site with the longest address above a, or nil.
func (k *kind) of(a address) (found *place) {
	for i := range k.sites {
		if p := &k.sites[i]; a.below(p.at) && (found == nil || len(p.at.base()) > len(found.at.base())) {
			found = p
		}
	}
	return found
}

func (q *request) call(verb string) host.CapabilityCall {
	c := host.CapabilityCall{
		Name: name, Verb: verb, Instance: q.site, Group: name, Resource: "requests", Subresource: q.site,
		Host: q.at.host, Path: q.at.path, Effect: host.EffectChange,
	}
	if verb == "get" {
		c.Effect = host.EffectRead
	}
	return c
}

// ours are the headers of requests that belong to the connection or to the host.
var ours = []string{
	"Connection", "Content-Length", "Cookie", "Expect", "Forwarded", "Host", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Via",
}

// others are headers by which many servers take another method or path than those that policy saw.
var others = []string{"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url"}

// headerProblem returns why a plugin cannot send a header.
func headerProblem(h abi.Pair, credential bool) string {
	canonical := http.CanonicalHeaderKey(h.Name)
	switch {
	case h.Name == "" || strings.ContainsFunc(h.Name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }):
		return "is not the name of a header"
	case strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "contains a control character"
	case slices.Contains(ours, canonical) || strings.HasPrefix(canonical, "X-Forwarded-"):
		return "is set by the host"
	case slices.Contains(others, http.CanonicalHeaderKey(strings.ReplaceAll(h.Name, "_", "-"))):
		return "names another method or path than those of the request"
	case canonical == "Authorization" && credential:
		return "is set by the host, which has a credential for the site"
	}
	return ""
}

// asked returns the call that a question in words is about.
func (k *kind) asked(p *capability.Phrase) (host.CapabilityCall, host.Resource, error) {
	i := slices.IndexFunc(k.sites, func(s place) bool { return s.name == p.Place })
	verb := cmp.Or(p.Verb, "get")
	switch {
	case i < 0:
		return host.CapabilityCall{}, nil, fmt.Errorf("the site %q does not exist in the host's configuration", p.Place)
	case p.Part != "":
		return host.CapabilityCall{}, nil, fmt.Errorf("a site has no parts; write %s//%s:PATH", p.Place, resource)
	case !slices.Contains(verbs, verb):
		return host.CapabilityCall{}, nil, fmt.Errorf("http has no verb %q; it has %s", verb, strings.Join(verbs, ", "))
	}
	a, problem := parse(k.sites[i].at.base() + "/" + strings.TrimPrefix(p.Object, "/"))
	if problem != "" {
		return host.CapabilityCall{}, nil, fmt.Errorf("the path %q %s", p.Object, problem)
	}
	return (&request{site: p.Place, at: a}).call(verb), p.Route("instance", "name"), nil
}
