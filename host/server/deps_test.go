package server

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/seed-a3fb47d6/bulkhead/"

// levels is who may import whom: a package imports and links packages of lower levels
// only, and those that belong to the same entry. The longest matching prefix counts.
var levels = map[string]int{
	"sdk/abi": 0, "sdk/manifest": 0, "policies": 0,
	"sdk": 1, "host": 1,
	"host/internal/text": 0, "host/internal/strictyaml": 1, "host/internal": 2, "host/config": 2,
	"host/state": 3, "host/cluster": 3, "host/sandbox": 3, "host/recording": 3, "host/artifact": 3, "host/audit": 3, "host/telemetry": 3, "host/stream": 3,
	"host/session": 4, "host/capability": 4,
	"host/adapter": 4, "host/directory": 5, "host/authz": 5,
	"host/authn": 6, "host/policytool": 6, "host/plugin": 6,
	"host/gateway": 7, "host/fleet": 7,
	"host/gateway/door": 8, "host/gateway/account": 8, "host/gateway/admin": 8, "host/console": 8,
	"host/server": 9, "cmd": 10, "plugins": 10,
}

// testSupport are packages that only tests import. They may import any level.
var testSupport = []string{
	"host/authz/authztest", "host/capability/azure/azuretest", "host/capability/git/gittest", "host/cluster/clustertest", "host/gateway/internal/surfacetest", "host/internal/logtest",
	"host/sandbox/internal/wattest", "host/sandbox/sandboxtest", "host/session/sessiontest", "host/state/statetest", "sdk/pack/packtest",
}

// unlinked is what the binary of a package's tests must not contain, so that the
// package can be worked on, and its tests built, without it.
var unlinked = map[string][]string{
	"host/session": {"go.etcd.io/", "k8s.io/", "github.com/open-policy-agent/", "github.com/tetratelabs/"},
	"host/plugin":  {"github.com/open-policy-agent/", "go.etcd.io/"},
}

// owners keeps each outside library behind one package.
var owners = []struct {
	library string
	allowed []string
	reason  string
}{
	{"github.com/tetratelabs/wazero", []string{"host/sandbox"}, "what stops and forgets a guest must be replaceable in one place"},
	{"github.com/http-wasm/", []string{"host/adapter"}, "its kit for hosts, which a test runs"},
	{"github.com/open-policy-agent/opa", []string{"host/authz", "host/policytool"}, "one engine decides, deny on every failure; tools look at its programs"},
	{"go.opentelemetry.io/proto", []string{"host/audit"}, "a record leaves the host masked"},
	{"go.opentelemetry.io/otel", []string{"host/internal/trace", "host/telemetry"}, "a span has no user and no query"},
	{"go.opentelemetry.io/contrib", []string{"host/telemetry"}, "what is sent and what is scraped are one list"},
	{"github.com/prometheus/", []string{"host/telemetry"}, "one list of metrics, none with a user or a path"},
	{"oras.land/oras-go", []string{"host/artifact", "host/capability/helm"}, "what is downloaded is verified where it is used"},
	{"github.com/sigstore/", []string{"host/artifact"}, "one place that believes signatures"},
	{"go.etcd.io/", []string{"host/state"}, "facts about revocation have one reader and one writer"},
	{"k8s.io/client-go", []string{"host/cluster", "host/capability/helm"}, "a client exists only with an impersonated user and an authority"},
	{"github.com/go-git/go-git", []string{"host/capability/git"}, "packed objects are unpacked in a child process only"},
	{"sigs.k8s.io/kustomize", []string{"host/capability/git"}, "what a kustomization names is read in a child process without a network"},
	{"golang.org/x/crypto/ssh", []string{"host/capability/git"}, "one place that holds private keys and pinned host keys"},
	{"helm.sh/helm", []string{"host/capability/helm"}, "helm reads files and environments unless it is held"},
	{"github.com/gorilla/mux", []string{"host/gateway"}, "one router, so that one test sees all routes"},
	{"github.com/gorilla/websocket", []string{"host/gateway", "cmd/bulkhead/internal/cases"}, "one upgrade helper with origin, bounds and an end; the cases of plugins are its clients"},
	{"github.com/golang-jwt/jwt", []string{"host/authn"}, "one resolver of tokens"},
	{"github.com/coreos/go-oidc", []string{"host/authn"}, "one place that believes identity providers"},
	{"golang.org/x/oauth2", []string{"host/authn"}, "one place that holds client secrets"},
	{"github.com/Azure/azure-sdk-for-go", []string{"host/capability/azure"}, "credentials and what they may be sent to stay in one place"},
	{"go.yaml.in/yaml", []string{"host/internal/strictyaml", "host/directory"}, "what a text stands for is measured before it is used"},
	{"sigs.k8s.io/yaml", []string{"host/server", "host/capability/helm"}, "host/internal/strictyaml reads YAML; this writes it"},
	{"golang.org/x/crypto/x509roots", []string{"cmd"}, "which authorities count is for the program to say, not for a package"},
	{"github.com/spf13/cobra", []string{"cmd"}, "packages do not know the command line"},
}

type pkg struct {
	ImportPath    string
	Imports, Deps []string
	Standard      bool
}

// TestImportsPointDownwards holds the layout: levels, owners of libraries, and
// that plugin authors compile the standard library and nothing else.
func TestImportsPointDownwards(t *testing.T) {
	list := packages(t, "./cmd/...", "./host/...", "./plugins/...", "./policies/...", "./sdk/...")
	for _, p := range list {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, i := range p.Imports {
			for _, o := range owners {
				if strings.HasPrefix(i, o.library) && !slices.ContainsFunc(o.allowed, func(a string) bool { return within(from, a) }) {
					t.Errorf("%s imports %s, which only %s may: %s", from, i, strings.Join(o.allowed, ", "), o.reason)
				}
			}
		}
		if slices.Contains(testSupport, from) {
			continue
		}
		for _, i := range p.Deps { // what is linked, imports among it
			to, ours := strings.CutPrefix(i, module)
			if !ours {
				continue
			}
			if slices.Contains(testSupport, to) {
				t.Errorf("%s links %s, which is for tests", from, to)
			}
			if r := root(from); r == root(to) && r != "host" {
				continue // a package and its own subpackages
			}
			if level(t, to) >= level(t, from) {
				t.Errorf("%s (level %d) links %s (level %d)", from, level(t, from), to, level(t, to))
			}
			if within(from, "plugins") && !within(to, "sdk") {
				t.Errorf("%s links %s: a plugin is written against sdk alone", from, to)
			}
		}
	}
	for _, p := range packages(t, "-deps", "./sdk/...", "./host") {
		if !p.Standard && !strings.HasPrefix(p.ImportPath, module) {
			t.Errorf("sdk or host depends on %s: plugin authors would have to compile it", p.ImportPath)
		}
	}
	exists := func(name string) bool {
		return slices.ContainsFunc(list, func(p pkg) bool { return within(strings.TrimPrefix(p.ImportPath, module), name) })
	}
	for name := range levels {
		if !exists(name) {
			t.Errorf("levels has %s, which does not exist", name)
		}
	}
	for _, name := range testSupport {
		if !exists(name) {
			t.Errorf("testSupport has %s, which does not exist", name)
		}
	}
}

// TestPackagesAreBuiltWithoutWhatTheyDoNotNeed looks at what the tests of a package
// link: its own dependencies, and those of everything that its tests use.
func TestPackagesAreBuiltWithoutWhatTheyDoNotNeed(t *testing.T) {
	for name, libraries := range unlinked {
		linked := packages(t, "-deps", "-test", "./"+name)
		if len(linked) == 0 {
			t.Errorf("%s does not exist", name)
		}
		for _, p := range linked {
			for _, library := range libraries {
				if strings.HasPrefix(p.ImportPath, library) {
					t.Errorf("the tests of %s link %s", name, p.ImportPath)
				}
			}
		}
	}
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// root is the entry of levels that p belongs to.
func root(p string) string {
	for p != "" {
		if _, ok := levels[p]; ok {
			return p
		}
		cut := strings.LastIndex(p, "/")
		if cut < 0 {
			return ""
		}
		p = p[:cut]
	}
	return ""
}

func level(t *testing.T, p string) int {
	t.Helper()
	r := root(p)
	if r == "" {
		t.Errorf("%s has no level; give it one", p)
	}
	return levels[r]
}

func packages(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,Standard"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}
