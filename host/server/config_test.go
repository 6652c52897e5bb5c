package server

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each mistake in the configuration is one line that names the field, and
// leaves nothing open: the next attempt on the same data directory works.
func TestMistakesInTheConfigurationNameTheField(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	w := prepare(t, "")
	good := read(t, filepath.Join(w.dir, "bulkhead.yaml"))
	w.write(t, "junk", "no kubeconfig")
	absent := filepath.Join(w.dir, "absent.kubeconfig")
	for _, c := range []struct{ old, new, want string }{
		{"data: ./data", "data: ./data\nlissten: x", `unknown field "lissten"`},
		{"data: ./data", "data: ./data\nlimits: {sessionPerUser: 1}", `unknown field "limits.sessionPerUser"`},
		{"data: ./data", "data: ./data\nDATA: x", `unknown field "DATA"`},
		{"data: ./data", "data: ./data\ndata: x", `bulkhead.yaml: line 4: has the key "data" twice`},
		{"data: ./data", "data: ./data\n---\ndata: x", "bulkhead.yaml: line 5: a second document begins"},
		{"data: ./data", "data: &a [" + strings.Repeat("x,", 5000) + "]\nlisten: [" + strings.Repeat("*a,", 5000) + "]", "over 100000 values with all aliases replaced"},
		{"data: ./data", "data: [1]", "data"},
		{"data: ./data", "data: ./data\nstate: {endpoints: [\"https://etcd:2379\"]}", "state.keyFile: is required"},
		{"data: ./data", "data: ./data\nstate: {endpoints: [\"http://etcd:2379\"], keyFile: ./key}", "state.endpoints[0]"},
		{"data: ./data", "data: ./data\nstate: {endpoints: [\"etcd:2379\"], keyFile: ./key}", "state.endpoints[0]"},
		{"data: ./data", "data: ./data\nstate: {endpoints: [\"https://etcd:2379\"], keyFile: ./key, user: x}", "state.user"},
		{"data: ./data", "data: ./data\nstate: {endpoints: [\"https://etcd:2379\"], keyFile: ./key, tls: {cert: ./x}}", "state.tls"},
		{"data: ./data", "data: ./data\nstate: {endpoints: [\"https://etcd:2379\"], keyFile: ./nowhere}", "host key"},
		{"data: ./data", "data: ./data\nstate: {prefix: x/}", "state.endpoints"},
		{"data: ./data", "data: ./data\nstate: {keyRotation: 1m}", "state.keyRotation"},
		{"data: ./data", "data: ./data\npolicy: {dir: \"\"}", "policy.dir: is empty"},
		{"data: ./data", "data: ./data\npolicy:\n  dir:\n", "policy.dir: is empty"},
		{"data: ./data", "data: ./data\npolicy: {bundle: }", "policy.bundle: is empty"},
		{"data: ./data", "data: ./data\npolicy: {shadow: {dir: \"\"}}", "policy.shadow.dir: is empty"},
		{"listen: 127.0.0.1:0", "listen: nowhere", "listen"},
		{"listen: 127.0.0.1:0", "listen: 0.0.0.0:0\npublicURL: https://x.example", "auth.dev"},
		{"listen: 127.0.0.1:0", "listen: 0.0.0.0:0", "publicURL"},
		{"listen: 127.0.0.1:0", "listen: 127.0.0.1:0\npublicURL: http://x.example", "publicURL"},
		{"listen: 127.0.0.1:0", "listen: " + busy.Addr().String(), "listen"},
		{"auth: {dev: {}}", "auth: {}", "auth"},
		{"auth: {dev: {}}", "auth: {dev: {}, oidc: [{name: x}]}", "auth.oidc[0].issuer"},
		{"auth: {dev: {}}", "auth: {dev: {}, github: {clientID: c, clientSecretFile: ./nowhere}}", "auth.github.clientSecretFile"},
		{"auth: {dev: {}}", "auth: {dev: {}, signing: {algorithm: HS256, secretFile: ./junk}}", "auth.signing"},
		{"data: ./data", "data: ./data\nlimits: {rates: {forwardedFrom: [x]}}", "limits.rates.forwardedFrom"},
		{"files: ./directory", "files: ./nowhere", "directory.files"},
		{"kubeconfig: \"" + absent + "\", waitForKubeconfig: true", "kubeconfig: ./nowhere", "clusters[0].kubeconfig"},
		{"kubeconfig: \"" + absent + "\", waitForKubeconfig: true", "kubeconfig: ./junk", "clusters[0].kubeconfig"},
		{"helm: {repositories: [{name: demo, path: ", "helm: {repositories: [{name: demo, path: /nowhere", "helm.repositories[0].path"},
		{"actions: [\"*\"]", "actions: [\"fly\"]", "plugins[1].grants.helm[0].actions"},
		{"{name: echo, ", "{limits: {instances: -1}, name: echo, ", "plugins[0].limits"},
		{"{name: echo, ", "{limits: {memoryMiB: 5000}, name: echo, ", "plugins[0].limits.memoryMiB"},
		{"{name: echo, ", "{limits: {module: {functionz: 1}}, name: echo, ", `unknown field "plugins[0].limits.module.functionz"`},
		{"{name: echo, ", "{limits: {module: {functions: 10}}, name: echo, ", "at most 10 are allowed (limits.module.functions)"},
		{"{name: echo, ", "{limits: {memoryMiB: 100, totalMiB: 50}, name: echo, ", "plugins[0].limits.totalMiB"},
		{"data: ./data", "data: ./data\nlimits: {plugins: {fuel: -1}}", "limits.plugins.fuel"},
		{"data: ./data", "data: ./data\nlimits: {user: {memoryMiB: -1}}", "limits.user.memoryMiB"},
		{"data: ./data", "data: ./data\nlimits: {plugins: {module: {tables: -1}}}", "0 are allowed (limits.module.tables)"},
		{"data: ./data", "data: ./data\npackages:\n  sources:\n  - place: nowhere", "line 6: packages.sources[0].place: \"nowhere\" is not oci://"},
		{"data: ./data", "data: ./data\npackages: {sources: [{place: \"oci://example.com\", plugins: [echo]}]}", "packages.sources[0].verification: lists no identity"},
		{"data: ./data", "data: ./data\npackages: {catalogs: [{source: ./here}]}", "packages.catalogs[0].source: is not a catalogue"},
		{"data: ./data", "data: ./data\ntls: {cert: ./nowhere, key: ./nowhere}", "tls"},
		{"grants: {exec: [{clusters: [\"*\"], namespaces: [\"*\"]}]}", "grants: {}", `capability "exec"`},
	} {
		t.Run(c.want+" "+c.new, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatalf("the configuration has no %q", c.old)
			}
			w.write(t, "bulkhead.yaml", strings.Replace(good, c.old, c.new, 1))
			if err := w.tryOpen(t); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error is %v, want it to name %q", err, c.want)
			}
		})
	}
	w.write(t, "bulkhead.yaml", good)
	w.open(t)
}

// Reading the configuration is enough for these, so that "config check" finds them.
func TestMistakesShowBeforeAnythingIsOpened(t *testing.T) {
	w := prepare(t, "")
	good := read(t, filepath.Join(w.dir, "bulkhead.yaml"))
	for _, c := range []struct{ old, new, want string }{
		{"grants: {exec:", "grants: {kub: [{}], exec:", "plugins[2].grants.kub: the capability does not exist; the capabilities are azure, exec, git, helm, http, kube, pods"},
		{"grants: {exec:", "grants: {kube: [{}], exec:", "plugins[2].grants.kube[0].clusters: is missing"},
		{"name: echo", "name: Bad_Name", "plugins[0].name"},
		{"name: echo", "name: admin", "plugins[0].name"},
		{"name: echo", "name: gitops", "plugins[1].name"},
		{"name: echo, ", "", "plugins[0].name"},
		{"grants: {exec:", "grants: {azure: [{instances: [prod], resources: [\"*\"], resourceGroups: [\"*\"], verbs: [\"*\"]}], exec:",
			`plugins[2].grants.azure[0].instances[0]: "prod" matches none of dev`},
		{"name: dev, kubeconfig", "name: No Name, kubeconfig", "clusters[0].name"},
		{"clusters: [", "clusters: [{name: prod}, ", "clusters[0].kubeconfig: is required"},
		{"{name: demo, path", "{name: Demo, path", "helm.repositories[0].name"},
		{"{name: demo, path", "{name: demo, url: \"http://example.com\", path", "helm.repositories[0].path: give"},
	} {
		w.write(t, "bulkhead.yaml", strings.Replace(good, c.old, c.new, 1)+
			"azure: [{name: dev, subscription: 00000000-0000-0000-0000-000000000000, credential: cli}]\n")
		if _, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q", c.new, err, c.want)
		}
	}
	w.write(t, "bulkhead.yaml", strings.Replace(good, "grants: {exec:", "grants: {kube: [], exec:", 1))
	if _, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil); err != nil {
		t.Errorf("a capability that is not granted: %v", err)
	}
}

func TestASecondHostOnTheSameDataIsRefused(t *testing.T) {
	w := withoutCluster(t)
	second := *w
	if err := second.tryOpen(t); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("error is %v", err)
	}
	if got := w.as(t, "vic").get("/auth/me"); got.status != 200 {
		t.Fatalf("the first host suffered: %v", got)
	}
}

func TestTheEnvironmentReplacesTheFile(t *testing.T) {
	w := prepare(t, "")
	path := filepath.Join(w.dir, "bulkhead.yaml")
	c, err := Load(path, []string{"BULKHEAD_LISTEN=127.0.0.1:7", "BULKHEAD_CLUSTERS=[]", "BULKHEAD_LIMITS_SESSIONSPERUSER=3", "HOME=/x"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:7" || len(c.Clusters) != 0 || c.Limits.SessionsPerUser != 3 || c.Data != filepath.Join(w.dir, "data") {
		t.Errorf("%+v", c)
	}
	c, err = Load(path, []string{"BULKHEAD_TLS_CERT=/c", "BULKHEAD_TLS_KEY=/k"})
	if err != nil || c.TLS == nil || *c.TLS != (TLS{Cert: "/c", Key: "/k"}) {
		t.Errorf("a part that the file left out: %+v, %v", c, err)
	}
	// Kubernetes sets such variables beside Services.
	c, err = Load(path, []string{
		"BULKHEAD_POLICY_DIRR=./p", "BULKHEAD_TLS_CERT=/c", "BULKHEAD_TLS_KEY=/k", "BULKHEAD_SERVICE_HOST=10.0.0.1", "BULKHEAD_SERVICE_PORT_HTTP=80",
		"BULKHEAD_PORT=tcp://10.0.0.1:80", "BULKHEAD_ETCD_PORT_2379_TCP_ADDR=10.0.0.2", "BULKHEAD_ETCD_SERVICE_PORT=2379",
	})
	if err != nil || !slices.Equal(c.File.Ignored, []string{"BULKHEAD_POLICY_DIRR"}) {
		t.Errorf("ignored are %v, %v", c.File.Ignored, err)
	}
	for _, bad := range []string{"BULKHEAD_CLUSTERS={", "BULKHEAD_LIMITS_SESSIONSPERUSER=many", "BULKHEAD_CLUSTERS=[{nam: x}]", "BULKHEAD_POLICY_DIR="} {
		if _, err := Load(path, []string{bad}); err == nil || !strings.Contains(err.Error(), strings.SplitN(bad, "=", 2)[0]) {
			t.Errorf("%s: error is %v", bad, err)
		}
	}
}
