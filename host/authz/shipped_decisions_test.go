package authz

import (
	"slices"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestViewerReadsEditorWritesAdminDoesAll(t *testing.T) {
	e := openEngine(t, "", staff(t))
	helm := func(verb string) *host.CapabilityCall {
		return &host.CapabilityCall{Name: "helm", Verb: verb, Object: "web"}
	}
	kube := func(verb, resource string) *host.CapabilityCall {
		return &host.CapabilityCall{Name: "kube", Verb: verb, Resource: resource}
	}
	terminal := &host.CapabilityCall{Name: "exec", Verb: "create", Resource: "pods", Subresource: "exec"}
	for _, c := range []struct {
		plugin, action string
		call           *host.CapabilityCall
		may            []host.UserID
	}{
		{"gitops", "helm.read", nil, []host.UserID{vic, eda, ada}},
		{"gitops", "helm.read", helm("list"), []host.UserID{vic, eda, ada}},
		{"gitops", "helm.read", helm("history"), []host.UserID{vic, eda, ada}},
		{"gitops", "helm.read", helm("values"), []host.UserID{vic, eda, ada}},
		{"gitops", "helm.read", helm("upgrade"), []host.UserID{eda, ada}},
		{"gitops", "helm.upgrade", nil, []host.UserID{eda, ada}},
		{"gitops", "helm.upgrade", helm("upgrade"), []host.UserID{eda, ada}},
		{"gitops", "helm.rollback", helm("rollback"), []host.UserID{eda, ada}},
		{"gitops", "helm.uninstall", helm("uninstall"), []host.UserID{eda, ada}},
		{"gitops", "helm.test", helm("test"), []host.UserID{eda, ada}},
		{"gitops", "helm.upgrade", helm("unknown"), []host.UserID{ada}},
		{"echo", "read", nil, []host.UserID{vic, eda, ada}},
		{"exec", "open", nil, []host.UserID{eda, ada}},
		{"exec", "open", terminal, []host.UserID{eda, ada}},
		{"pods", "list.read", kube("list", "pods"), []host.UserID{vic, eda, ada}},
		{"pods", "list.read", kube("delete", "pods"), []host.UserID{eda, ada}},
		{"pods", "list.read", kube("get", "secrets"), nil},
		{"pods", "list.read", terminal, []host.UserID{eda, ada}},
		{"admin", "audit.read", nil, []host.UserID{ada}},
		{"azure", "groups.delete", nil, []host.UserID{ada}},
	} {
		for _, user := range []host.UserID{vic, eda, ada, pat, "odd@example.com", "eve@example.com"} {
			q := ask(user, c.plugin, c.action)
			if c.call != nil {
				call := *c.call
				call.Cluster, call.Namespace = "dev", "shop"
				q.Capability = &call
			}
			want := slices.Contains(c.may, user) || user == pat && c.plugin == "pods" && c.call.Resource == "pods" &&
				c.call.Name == "kube" && c.call.Verb == "delete"
			if d := e.Decide(t.Context(), q); d.Allow != want {
				t.Errorf("%s %s %v: allow is %t for %s", q.Route.Action, c.plugin, c.call, d.Allow, d.Reason)
			}
		}
	}
}

func TestARefusalSaysWhatIsMissing(t *testing.T) {
	e := openEngine(t, "", staff(t))
	for _, c := range []struct {
		q    *host.Question
		want string
	}{
		{&host.Question{}, "nobody"},
		{ask("", "gitops", "helm.read"), "nobody"},
		{ask("eve@example.com", "gitops", "helm.read"), "no_plugin"},
		{ask("odd@example.com", "gitops", "helm.read"), "no_plugin"},
		{ask(vic, "gitops", "helm.upgrade"), "no_action"},
		{ask(vic, "gitops", "malformed:action"), "no_action"},
		{ask(vic, "", "read"), "no_plugin"},
		{call(pat, host.CapabilityCall{Name: "kube", Verb: "list", Resource: "pods"}), "no_resource"},
		{call(pat, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "pods", Cluster: "prod", Namespace: "shop"}), "no_resource"},
		{call(pat, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "pods", Cluster: "dev"}), "no_resource"},
		{call(ada, host.CapabilityCall{Name: "teleport"}), "no_rule"},
		{call(ada, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "secrets"}), "prohibited"},
		{call(ada, host.CapabilityCall{Name: "kube", Verb: "create", Resource: "pods", Subresource: "exec"}), "prohibited"},
		{call(ada, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "nodes", Subresource: "proxy"}), "prohibited"},
		{call(ada, host.CapabilityCall{Name: "exec", Verb: "create", Resource: "pods", Subresource: "log"}), "prohibited"},
	} {
		d := e.Decide(t.Context(), c.q)
		if d.Allow || d.Reason.Code != c.want || d.ID == "" || d.Revision != 1 {
			t.Errorf("%+v: decided %+v, want %s", c.q, d, c.want)
		}
	}
}

func TestAnEmptyDirectoryAllowsNothing(t *testing.T) {
	e := openEngine(t, "", openDirectory(t, t.TempDir()))
	if d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read")); d.Allow {
		t.Errorf("allowed: %+v", d)
	}
}

func TestACallOnAClusterActsAsTheUser(t *testing.T) {
	e := openEngine(t, "", staff(t))
	d := e.Decide(t.Context(), call(pat, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "pods"}))
	i := d.Obligations.Impersonate
	// The team allows pods:list.read, so this is allowed through it alone.
	if !d.Allow || i == nil || i.User != pat || !slices.Equal(i.Groups, []string{"bulkhead:team:payments"}) {
		t.Errorf("decided %+v, as %+v", d, i)
	}
	d = e.Decide(t.Context(), ask(eda, "gitops", "helm.upgrade"))
	if !d.Allow || d.Obligations.Impersonate != nil {
		t.Errorf("a route decision is %+v", d)
	}
}

func TestAChangeOfARoleIsEnforcedAtOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "people.yaml", people)
	roles := func(editor string) string {
		return apiVersion + "kind: Role\nmetadata: {name: editor}\nspec: {permissions: {actions: [" + editor + "], plugins: [{name: '*'}]}}\n"
	}
	write(t, dir, "roles.yaml", roles("'gitops:helm.upgrade', 'gitops:helm.read'"))
	d := openDirectory(t, dir)
	e := openEngine(t, "", d)
	upgrade := ask(eda, "gitops", "helm.upgrade")
	for range 2 {
		if got := e.Decide(t.Context(), upgrade); !got.Allow {
			t.Fatalf("an editor may not upgrade: %+v", got)
		}
	}
	changed := d.Changed()
	write(t, dir, "roles.yaml", roles("'gitops:helm.read'"))
	<-changed
	if got := e.Decide(t.Context(), upgrade); got.Allow || got.Cached {
		t.Errorf("an editor may still upgrade: %+v", got)
	}
	if got := e.Decide(t.Context(), ask(ada, "gitops", "helm.upgrade")); !got.Allow {
		t.Errorf("an admin may not upgrade: %+v", got)
	}
	if e.Revision() != 1 {
		t.Errorf("the policy is at revision %d", e.Revision())
	}
}
