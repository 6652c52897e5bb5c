package helm

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

var escaping = map[string]map[string]string{
	"reads": {"templates/x.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n" +
		`data: {got: {{ lookup "v1" .Values.kind .Values.namespace .Values.name | toJson | quote }}}` + "\n"},
	"elsewhere": {"templates/x.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}, namespace: bank}\n"},
	"secret":    {"templates/x.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}}\nstringData: {a: b}\n"},
	"plain":     {"templates/x.yaml": configMap},
}

// refusing allows all but the kube calls that match.
func refusing(matches func(*host.CapabilityCall) bool) func(*host.Question) host.Decision {
	return func(q *host.Question) host.Decision {
		if q.Capability.Name == "kube" && matches(q.Capability) {
			return host.Decision{Reason: host.Reason{Code: "prohibited"}}
		}
		return host.Decision{Allow: true}
	}
}

func TestWhatPolicyRefusesHelmIsRefusedAndSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		chart, values string
		decide        func(*host.Question) host.Decision
		says, detail  string
		left          string // of the release
	}{
		"a template reads a Secret": {
			"reads", "kind: Secret\nnamespace: kube-system\nname: any", refusing(func(c *host.CapabilityCall) bool { return c.Resource == "secrets" }),
			"kube get secrets dev/kube-system/any via helm.lookup", "prohibited", "release: not found",
		},
		"a template lists Secrets": {
			"reads", "kind: Secret\nnamespace: \"\"\nname: \"\"", refusing(func(c *host.CapabilityCall) bool { return c.Resource == "secrets" }),
			"kube list secrets dev// via helm.lookup", "prohibited", "release: not found",
		},
		"an object in another namespace": {
			"elsewhere", "", func(q *host.Question) host.Decision {
				return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: []string{"shop"}}}
			},
			"configmaps dev/bank/refused", "other_namespace", "release: not found",
		},
		"a declared Secret": {
			"secret", "", refusing(func(c *host.CapabilityCall) bool { return c.Resource == "secrets" && c.Verb == "create" }),
			"kube create secrets dev/shop/ via helm", "prohibited", "failed",
		},
		"a write after the record": {
			"plain", "", refusing(func(c *host.CapabilityCall) bool { return c.Verb == "create" }),
			"kube create configmaps dev/shop/ via helm", "prohibited", "failed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := onStage(t, escaping)
			s.fresh("refused")
			s.decide = c.decide
			_, err := s.call(t.Context(), "POST refused/upgrade", upgrade(c.chart, c.values))
			if x := capability.ErrorFrame(err); x.Status != 403 || x.Origin != abi.OriginPolicy || !strings.Contains(x.Message, c.says) || x.Detail != c.detail {
				t.Errorf("got %+v", x)
			}
			if got := s.statuses("refused"); got != c.left {
				t.Errorf("the release is %q", got)
			}
			s.decide = nil
		})
	}
}

func TestPolicyIsAskedForEachRequestButTheReleasesRecords(t *testing.T) {
	s := onStage(t, escaping)
	s.fresh("asked")
	s.asked = nil
	s.must("POST asked/upgrade", upgrade("secret", ""))
	s.must("DELETE asked", "")
	var got []string
	for _, c := range s.asked {
		got = append(got, c.String()+" "+string(c.Effect))
	}
	for _, want := range []string{
		"helm upgrade releases.helm.sh dev/shop/asked change", "kube get secrets dev/shop/asked via helm read",
		"kube create secrets dev/shop/ via helm change", "helm uninstall releases.helm.sh dev/shop/asked change", "kube delete secrets dev/shop/asked via helm change",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("policy was not asked %q", want)
		}
	}
	for _, c := range got {
		if strings.Contains(c, keyPrefix) || strings.Contains(c, "list secrets") {
			t.Errorf("policy was asked %q", c)
		}
	}
	if len(got) > 12 {
		t.Errorf("policy was asked %d times: %q", len(got), got)
	}
}

func TestWhatATemplateReadsIsRedacted(t *testing.T) {
	s := onStage(t, escaping)
	s.fresh("redacted")
	values := "kind: ConfigMap\nnamespace: kube-system\nname: kube-root-ca.crt"
	read := func() string {
		s.must("POST redacted/upgrade", upgrade("reads", values))
		rel, err := s.records().newest(t.Context(), "redacted")
		if err != nil {
			t.Fatal(err)
		}
		return rel.Manifest
	}
	if text := read(); !strings.Contains(text, "BEGIN CERTIFICATE") {
		t.Fatalf("the chart reads nothing: %s", text)
	}
	s.decide = func(q *host.Question) host.Decision {
		d := host.Decision{Allow: true}
		if q.Capability.Name == "kube" {
			d.Obligations.Redact = []string{"/data"}
		}
		return d
	}
	if text := read(); strings.Contains(text, "BEGIN CERTIFICATE") || !strings.Contains(text, "kube-root-ca.crt") {
		t.Errorf("the chart reads %s", text)
	}
}

func TestOnlyTheReleasesOwnRecordsAreExcepted(t *testing.T) {
	b := &bridge{request: &request{namespace: "shop", release: "web", cluster: "dev"}}
	const at = "/api/v1/namespaces/shop/secrets"
	record := func(name string) string {
		text, _ := json.Marshal(map[string]any{"metadata": map[string]string{"name": name}})
		return string(text)
	}
	for request, want := range map[string]bool{
		"GET " + at + "/sh.helm.release.v1.web.v1":                  true,
		"PUT " + at + "/sh.helm.release.v1.web.v12 " + record(""):   true,
		"PUT " + at + "/sh.helm.release.v1.web.v13":                 false,
		"DELETE " + at + "/sh.helm.release.v1.web.v1":               true,
		"GET " + at + "?labelSelector=name%3Dweb%2Cowner%3Dhelm":    true,
		"POST " + at + " " + record("sh.helm.release.v1.web.v2"):    true,
		"POST " + at + " " + record("sh.helm.release.v1.other.v2"):  false,
		"POST " + at + " " + record("password"):                     false,
		"POST " + at + " {":                                         false,
		"GET " + at + "/password":                                   false,
		"GET " + at + "/sh.helm.release.v1.other.v1":                false,
		"GET " + at + "/sh.helm.release.v1.web.v01":                 false,
		"PATCH " + at + "/sh.helm.release.v1.web.v1":                false,
		"DELETE " + at + "?labelSelector=name%3Dweb%2Cowner%3Dhelm": false,
		"GET " + at: false,
		"GET " + at + "?labelSelector=name%3Dweb":                          false,
		"GET " + at + "?labelSelector=owner%3Dhelm":                        false,
		"GET " + at + "?labelSelector=name%3Dweb%2Cowner%3Dhelm&watch=1":   false,
		"GET /api/v1/namespaces/bank/secrets/sh.helm.release.v1.web.v1":    false,
		"GET /api/v1/secrets?labelSelector=name%3Dweb%2Cowner%3Dhelm":      false,
		"GET /api/v1/namespaces/shop/configmaps/sh.helm.release.v1.web.v1": false,
	} {
		method, rest, _ := strings.Cut(request, " ")
		target, body, _ := strings.Cut(rest, " ")
		u, err := url.Parse("http://" + hostRecords + target)
		if err != nil {
			t.Fatal(err)
		}
		access, err := cluster.Classify(method, u.Path, u.Query())
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest(method, u.String(), strings.NewReader(body))
		if err := b.own(r, access); (err == nil) != want {
			t.Errorf("%s: %v", request, err)
		}
	}
	if _, _, k := b.seen(); k.revision != 12 {
		t.Errorf("the newest record written is %+v", k)
	}
	for path, want := range map[string]bool{
		at + "/sh.helm.release.v1.web.v1": true, at + "/sh.helm.release.v1.other.v1": false, at: false, at + "/password": false,
		"/api/v1/namespaces/bank/secrets/sh.helm.release.v1.web.v1": false,
	} {
		if got := b.ownRecord("PUT", path); got != want || b.ownRecord("DELETE", path) || b.ownRecord("POST", path) {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestARequestThatIsNotHelmsIsRefused(t *testing.T) {
	b := &bridge{request: &request{namespace: "shop", release: "web", cluster: "dev"}, permit: &capability.Permit{}}
	for _, request := range []string{
		"GET http://elsewhere.helm/api/v1/pods", "POST http://" + hostObjects + "/version", "GET http://" + hostObjects + "/metrics",
		"GET http://" + hostObjects + "/healthz", "GET http://" + hostObjects + "/api/v1/../../metrics", "GET http://" + hostLookup + "/logs/x",
		"GET http://" + hostObjects + "/api/v1/pods", // no policy allows it
	} {
		method, target, _ := strings.Cut(request, " ")
		r, err := http.NewRequest(method, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.admit(r); err == nil {
			t.Errorf("%s is passed on", request)
		}
	}
	for _, path := range []string{"/version", "/api", "/api/v1", "/apis", "/apis/apps/v1", "/openapi/v3", "/openapi/v3/apis/apps/v1"} {
		r, _ := http.NewRequest("GET", "http://"+hostLookup+path, nil)
		if _, err := b.admit(r); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
