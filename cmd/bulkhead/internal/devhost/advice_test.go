package devhost

import (
	"slices"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func denied(code string, route string, call *host.CapabilityCall) Event {
	return Event{Decision: &Decision{
		Route: host.Route{Plugin: "hello", Name: route, Action: "hello:hello.read"}, Call: call,
		Decision: host.Decision{Reason: host.Reason{Code: code, Args: map[string]any{"what": "secrets"}}},
	}}
}

func failed(origin abi.Origin, message, detail string) Event {
	return Event{Exchange: &capability.Exchange{Err: &abi.Error{Status: 403, Origin: origin, Message: message, Detail: detail}}}
}

// What is printed has to be what an author can paste.
func TestARefusalIsAnsweredWithTheLinesThatPermitIt(t *testing.T) {
	pods := &host.CapabilityCall{Name: "kube", Verb: "list", Cluster: "dev", Namespace: "shop", Resource: "pods"}
	for name, c := range map[string]struct {
		trace *Trace
		want  []string
	}{
		"nothing refused": {&Trace{Status: 200}, nil},
		"route": {&Trace{Status: 403, User: "ann", Events: []Event{denied("no_action", "hello", nil)}}, []string{
			"add to permissions of a role of ann:", `  actions: ["hello:hello.read"]`, "  plugins: [{name: hello}]",
		}},
		"call of a cluster": {&Trace{Status: 403, User: "ann", Events: []Event{denied("no_resource", "hello", pods)}}, []string{
			"add to permissions of a role of ann:", `  resources: [{clusters: ["dev"], namespaces: ["shop"], resources: ["pods"], verbs: ["list"]}]`,
		}},
		"call of a cloud": {&Trace{Status: 403, User: "ann", Events: []Event{denied("no_resource", "hello", &host.CapabilityCall{
			Name: "azure", Verb: "get", Instance: "prod", ResourceGroup: "rg1", Resource: "monitor",
		})}}, []string{
			"add to permissions of a role of ann:", `  plugins: [{name: hello, custom: [{resources: ["monitor"], resourceGroups: ["rg1"], verbs: ["get"]}]}]`,
		}},
		"prohibited": {&Trace{Status: 403, Events: []Event{denied("prohibited", "hello", pods)}}, []string{"the shipped rules prohibit this (secrets); no role permits it"}},
		"needs reason": {&Trace{Status: 403, Events: []Event{denied("reason_required", "hello", nil)}}, []string{
			"The permission counts only for requests that state a reason. User: send the header `X-Bulkhead-Reason`; a console asks for it and tries again.",
		}},
		"own policy": {&Trace{Status: 403, Events: []Event{denied("too_late", "hello", nil)}}, []string{"policy refused this: too_late"}},
		"grant": {&Trace{Status: 403, Events: []Event{failed(abi.OriginGrant, "", "plugins[name=hello].grants.kube: [{clusters: [dev]}] would allow it")}}, []string{
			"add to dev/bulkhead.yaml:", "  plugins[name=hello].grants.kube: [{clusters: [dev]}]",
		}},
		"not redactable": {&Trace{Status: 403, Events: []Event{failed(abi.OriginPolicy, "", "not_redactable")}}, []string{
			"Values must be removed from the answer, but it is not JSON, or comes as events. Author: answer with JSON, and list instead of watching. Operator: leave `redact` out for this call.",
		}},
		"reading route": {&Trace{Status: 403, Events: []Event{failed(abi.OriginHost, "", "read_route")}}, []string{
			"A route that is declared to read made a call that changes something. Author: give the route `\"mutates\": true`, a method other than GET, and an action that does not end in `.read`.",
		}},
		"no such route": {&Trace{Method: "POST", URI: "/api/hello/a/b?x=1", Status: 403, Events: []Event{denied("no_action", "", nil)}}, []string{
			"the plugin does not have this route; to add it, in routes of manifest.json, with a handler of its name:",
			`  {"name": "a-b", "method": "POST", "path": "/a/b", "action": "a-b.change", "mutates": true}`,
		}},
		"the plugin's own 404": {&Trace{Method: "GET", URI: "/api/hello/x", Status: 404, Usage: &plugin.Usage{}}, nil},
	} {
		if got := c.trace.Advice(new(all.Config).Catalog()); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}
