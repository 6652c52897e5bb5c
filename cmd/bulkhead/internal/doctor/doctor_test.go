package doctor

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

func TestMain(m *testing.M) {
	statetest.Member()
	goleak.VerifyTestMain(m)
}

// examine returns the findings of a configuration, a line each: LEVEL AREA: TEXT | ADVICE.
func examine(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "bulkhead.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := server.Load(path, []string{"BULKHEAD_LISTENN=x"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	Examine(t.Context(), c, func(f Finding) {
		lines = append(lines, fmt.Sprintf("%s %s: %s | %s", f.Level, f.Area, f.Text, f.Advice))
	})
	return strings.Join(lines, "\n")
}

func wants(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
}

func people(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "people"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "people", "people.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAGoodHostHasNoProblem(t *testing.T) {
	c := clustertest.Start(t)
	dir := t.TempDir()
	people(t, dir, "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, roles: [viewer]}\n")
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	got := examine(t, dir, fmt.Sprintf(`
auth: {dev: {}}
directory: {files: ./people}
policy: {log: {file: {path: ./decisions.jsonl}}}
clusters: [{name: dev, kubeconfig: %q}]
plugins: [{name: echo, source: %q}, {name: remote, source: "oci://registry.example/echo:v1", verification: {unsigned: true}}]
`, c.HostKubeconfig, packtest.Build(t, "plugins/echo")))
	if strings.Contains(got, "problem ") {
		t.Errorf("a problem in\n%s", got)
	}
	wants(t, got, "ok configuration:", "warning configuration: the environment variable BULKHEAD_LISTENN is not a key",
		"ok data: ", "is closed to other users", "ok disk:", "ok host: none runs", "ok policy: it compiles", "ok directory.files: nothing is left out",
		"warning auth: anybody on this machine can sign in as anyone",
		"ok clusters[dev]: it answers, and its clock agrees", "ok clusters[dev]: the host may impersonate users and groups, and no more",
		"ok plugins[echo]: echo 0.1.0 has what it asks for", "ok plugins[remote]: source oci://registry.example/echo:v1 is fetched when the host starts")
}

func TestWhatTheHostMayTooMuchOrTooLittleIsSaid(t *testing.T) {
	c := clustertest.Start(t)
	dir := t.TempDir()
	got := examine(t, dir, fmt.Sprintf(`
auth: {dev: {}}
directory: {clusters: [{name: dev, namespaces: [bulkhead-system]}]}
clusters: [{name: dev, kubeconfig: %q}, {name: all, kubeconfig: %q}, {name: away, kubeconfig: ./absent}, {name: later, kubeconfig: ./absent, waitForKubeconfig: true}]
`, c.HostKubeconfig, c.Kubeconfig))
	wants(t, got,
		"problem clusters[dev]: the host may not list users.bulkhead.internal in namespace bulkhead-system, watch users.bulkhead.internal",
		"warning clusters[all]: the host's account may do more than impersonate: * * | take these rights away",
		"problem clusters[away]: kubeconfig: open ", "warning clusters[later]: the kubeconfig does not exist yet",
		"warning policy.log: decisions are not recorded")
}

func TestWhatIsWrongHasAdvice(t *testing.T) {
	dir := t.TempDir()
	people(t, dir, "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, roles: [nobodys]}\n")
	for _, name := range []string{"data", "policy"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "policy", "site.rego"), []byte("package bulkhead.authz\n\ndecision := {"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "junk.wasm"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := examine(t, dir, fmt.Sprintf(`
auth: {dev: {}}
directory: {files: ./people}
policy: {dir: ./policy}
plugins: [{name: exec, source: %q}, {name: gone, source: ./gone.wasm}, {name: junk, source: ./junk.wasm}]
`, packtest.Build(t, "plugins/exec")))
	wants(t, got, "warning data: ", "has mode 0755", "chmod 0700 ", "problem policy: ", "site.rego:3", "warning directory.files: entries, or parts of them, are left out: 1; the first: people.yaml", `"nobodys"`,
		`problem plugins[exec]: needs capability "exec"`, "grants: {exec:", "problem plugins[gone]: source: open ", "problem plugins[junk]: ")
}

func TestProvidersAndTheirClocksAreAsked(t *testing.T) {
	dir := t.TempDir()
	ahead := time.Duration(0)
	var base string
	provider := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		if r.URL.Path != "/.well-known/openid-configuration" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%[1]q,"token_endpoint":%[1]q,"jwks_uri":%[1]q}`, base)
	}))
	provider.Config.ErrorLog = log.New(io.Discard, "", 0)
	provider.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	provider.StartTLS()
	defer provider.Close()
	base = provider.URL
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: provider.Certificate().Raw})
	for name, text := range map[string]string{"ca.pem": string(ca), "secret": strings.Repeat("s", 32)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	people(t, dir, "")
	text := fmt.Sprintf(`
publicURL: https://console.example.com
auth:
  oidc:
    - {name: corp, issuer: %q, clientID: console, clientSecretFile: ./secret, caFile: ./ca.pem, user: email, idDomains: [example.com]}
    - {name: strange, issuer: %[1]q, clientID: console, clientSecretFile: ./secret, user: email, idDomains: [example.org]}
directory: {files: ./people}
`, base)
	got := examine(t, dir, text)
	wants(t, got, "ok auth[oidc:corp]: it answers, and its clock agrees", "problem auth[oidc:strange]: ", "certificate", "check the URL, the network and caFile")
	ahead = time.Minute
	wants(t, examine(t, dir, text), "problem auth[oidc:corp]: it answers; the clock of the provider differs by ")
	ahead = -10 * time.Second
	wants(t, examine(t, dir, text), "warning auth[oidc:corp]: it answers; the clock of the provider differs by 1")
}

func TestTheSharedStoreIsAsked(t *testing.T) {
	dir := t.TempDir()
	people(t, dir, "")
	etcd := statetest.Start(t, 1).Endpoints[0]
	text := "auth: {dev: {}}\ndirectory: {files: ./people}\nstate: {endpoints: [%q], keyFile: %q}\n"
	wants(t, examine(t, dir, fmt.Sprintf(text, etcd, statetest.Key(t))), "ok state["+etcd+"]: etcd 3.", "state: it can be read, in ", "files: ")
	wants(t, examine(t, dir, fmt.Sprintf(text, "http://127.0.0.1:1", statetest.Key(t))), "problem state: state.endpoints: no etcd answers: http://127.0.0.1:1: ", "check endpoints, tls, user")
}
