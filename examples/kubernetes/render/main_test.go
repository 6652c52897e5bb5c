package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chartutil"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
)

func TestMain(m *testing.M) {
	all.Child()
	os.Exit(m.Run())
}

const chart = "../chart"

// small is one replica with an embedded store, large is several with all that the chart
// can make.
const (
	small = `
publicURL: https://console.example.com
config: {auth: {oidc: [{name: corp, issuer: "https://id.example.com", clientID: console, clientSecretFile: /etc/bulkhead/secrets/corp/secret, user: email, idDomains: [example.com]}]}}
directory: {files: {people.yaml: "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, roles: [viewer]}\n"}}
secrets: [corp]
`
	large = small + `
replicas: 3
image: {repository: images.example.com/bulkhead, digest: "sha256:0123456789012345678901234567890123456789012345678901234567890123", pullSecrets: [pull]}
state: {endpoints: ["https://etcd-0:2379"], prefix: bulkhead/, keySecret: bulkhead-state, user: bulkhead, passwordSecret: bulkhead-etcd, tlsSecret: bulkhead-etcd-tls}
persistence: {enabled: false}
ingress: {enabled: true, className: nginx, host: console.example.com, tlsSecret: console-tls, annotations: {a.example.com/b: c}}
networkPolicy: {from: [{namespaceSelector: {matchLabels: {a: b}}}], metricsFrom: [{namespaceSelector: {}}], egressPorts: [443]}
metrics: {serviceMonitor: true, rules: true, dashboards: true, labels: {release: prometheus}}
env: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://collector:4318"}]
podAnnotations: {a.example.com/b: c}
nodeSelector: {disk: fast}
tolerations: [{key: a, operator: Exists}]
affinity: {podAntiAffinity: {}}
`
	customResources = "publicURL: https://c.example.com\nconfig: {auth: {github: {clientID: x, clientSecretFile: /x}}}\ndirectory: {customResources: true}\n"
)

type object = map[string]any

func rendered(t *testing.T, values string) []object {
	t.Helper()
	v, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	text, err := render(chart, "bulkhead", "console", v)
	if err != nil {
		t.Fatal(err)
	}
	var list []object
	for d := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if o != nil {
			list = append(list, o)
		}
	}
}

func of(list []object, kind string) (found []object) {
	for _, o := range list {
		if o["kind"] == kind {
			found = append(found, o)
		}
	}
	return found
}

func at(o any, path ...string) any {
	for _, p := range path {
		m, _ := o.(object)
		o = m[p]
	}
	return o
}

// TestTheHostTakesTheChartsConfiguration reads the configuration that the chart makes as
// the host does.
func TestTheHostTakesTheChartsConfiguration(t *testing.T) {
	for name, values := range map[string]string{"small": small, "large": large, "custom resources": customResources} {
		text := at(of(rendered(t, values), "ConfigMap")[0], "data", "bulkhead.yaml").(string)
		path := filepath.Join(t.TempDir(), "bulkhead.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := server.Load(path, nil)
		if err != nil {
			t.Errorf("%s: %v in\n%s", name, err, text)
			continue
		}
		if c.Data != "/data" || c.Metrics != "0.0.0.0:9090" || len(c.Clusters) != 1 || (len(c.State.Endpoints) > 0) != (name == "large") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

func TestTheHostMayImpersonateAndNothingElse(t *testing.T) {
	list := rendered(t, large)
	roles := of(list, "ClusterRole")
	rules, _ := json.Marshal(roles[0]["rules"])
	if want := `[{"apiGroups":[""],"resources":["users","groups"],"verbs":["impersonate"]}]`; len(roles) != 1 || string(rules) != want || len(of(list, "Role")) != 0 {
		t.Errorf("%d cluster roles: %s", len(roles), rules)
	}
	rules, _ = json.Marshal(of(rendered(t, customResources), "Role")[0]["rules"])
	if want := `[{"apiGroups":["bulkhead.internal"],"resources":["users","teams","roles"],"verbs":["list","watch"]}]`; string(rules) != want {
		t.Errorf("with custom resources: %s", rules)
	}
}

func TestValuesThatCannotWorkAreRefused(t *testing.T) {
	for values, want := range map[string]string{
		"{}": "publicURL", "publicURL: http://c.example.com": "publicURL", small + "replicas: 0": "replicas", small + "replica: 2": "replica",
		small + "replicas: 2":                                            "more than one needs state.endpoints",
		small + `state: {endpoints: ["https://etcd:2379"]}`:              "state.keySecret is required",
		small + `state: {endpoints: ["http://etcd:2379"], keySecret: k}`: "endpoints",
		small + "ingress: {enabled: true}":                               "ingress.host is required",
		small + "image: {repository: x, digest: sha256:1}":               "digest",
		"publicURL: https://c.example.com\nconfig: {listen: \":80\"}":    "config",
		customResources + "inCluster: {enabled: false}":                  "needs inCluster.enabled",
	} {
		v, err := chartutil.ReadValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := render(chart, "bulkhead", "console", v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", values, err, want)
		}
	}
}

func TestDashboardsAndRulesAreInTheChart(t *testing.T) {
	list := rendered(t, large)
	if groups := at(of(list, "PrometheusRule")[0], "spec", "groups"); len(groups.([]any)) == 0 {
		t.Error("no rules")
	}
	for _, c := range of(list, "ConfigMap") {
		if text, ok := at(c, "data", "bulkhead.json").(string); ok {
			var d struct {
				SchemaVersion int
				Panels        []any
			}
			if err := json.Unmarshal([]byte(text), &d); err != nil || d.SchemaVersion < 41 || len(d.Panels) < 10 {
				t.Errorf("%v, schema %d, %d panels", err, d.SchemaVersion, len(d.Panels))
			}
			return
		}
	}
	t.Error("no dashboard")
}

// TestAClusterTakesTheManifests has a real API server check every object (dry run), in a
// namespace of the restricted pod security level, and the pods that the workload makes.
func TestAClusterTakesTheManifests(t *testing.T) {
	c := clustertest.Start(t)
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	k := &kube{t, config}
	k.put("", object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": "console", "labels": object{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
	}}})
	k.present("/api/v1/namespaces/console/serviceaccounts/default") // pods need it; a controller makes it
	for _, values := range []string{small, large, customResources} {
		list := rendered(t, values)
		for _, o := range list {
			if strings.HasPrefix(o["apiVersion"].(string), "monitoring.coreos.com/") {
				continue // of an operator that the cluster does not have
			}
			for _, warning := range k.put(dryRun, o) {
				t.Errorf("%s %s: %s", o["kind"], at(o, "metadata", "name"), warning)
			}
		}
		template := at(of(list, "StatefulSet")[0], "spec", "template").(object)
		meta, spec := template["metadata"].(object), template["spec"].(object)
		meta["name"] = "pod"
		volumes, _ := spec["volumes"].([]any)
		if !slices.ContainsFunc(volumes, func(v any) bool { return at(v, "name") == "data" }) {
			spec["volumes"] = append(volumes, object{"name": "data", "emptyDir": object{}})
		}
		delete(spec, "serviceAccountName") // is not there, because nothing is installed
		k.put(dryRun, object{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
		// The level is enforced: without the host's own settings it is refused.
		delete(spec, "securityContext")
		if status, _ := k.send(dryRun, object{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}); status != http.StatusForbidden {
			t.Errorf("a pod that is not restricted: %d", status)
		}
	}
}

type kube struct {
	*testing.T
	config *rest.Config
}

const dryRun = "&dryRun=All"

// paths are where objects of a kind are; a kind that is missing has the namespace console.
var paths = map[string]string{
	"Namespace": "/api/v1/namespaces", "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
	"ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles", "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}

// present waits for an object that the cluster makes by itself.
func (k *kube) present(path string) {
	k.Helper()
	client, err := rest.HTTPClientFor(k.config)
	if err != nil {
		k.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := client.Get(k.config.Host + path)
		if err != nil {
			k.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			k.Fatalf("%s did not come", path)
		}
	}
}

func (k *kube) put(query string, o object) (warnings []string) {
	k.Helper()
	status, warnings := k.send(query, o)
	if status >= 300 && status != http.StatusConflict {
		text, _ := yaml.Marshal(o)
		k.Errorf("%s: %d, %q\n%s", o["kind"], status, warnings, text)
	}
	return warnings
}

func (k *kube) send(query string, o object) (status int, warnings []string) {
	k.Helper()
	client, err := rest.HTTPClientFor(k.config)
	if err != nil {
		k.Fatal(err)
	}
	defer client.CloseIdleConnections()
	version, kind := o["apiVersion"].(string), o["kind"].(string)
	path := paths[kind]
	if path == "" {
		plural := strings.ToLower(kind) + "s"
		if strings.HasSuffix(plural, "ys") {
			plural = strings.TrimSuffix(plural, "ys") + "ies"
		}
		if strings.HasSuffix(plural, "ss") {
			plural = strings.TrimSuffix(plural, "s") + "es"
		}
		if path = "/apis/" + version; version == "v1" {
			path = "/api/v1"
		}
		path += "/namespaces/console/" + plural
	}
	text, err := json.Marshal(o)
	if err != nil {
		k.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, k.config.Host+path+"?fieldValidation=Strict"+query, bytes.NewReader(text))
	if err != nil {
		k.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		k.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if warnings = resp.Header.Values("Warning"); resp.StatusCode >= 300 {
		warnings = append(warnings, string(body))
	}
	return resp.StatusCode, warnings
}
