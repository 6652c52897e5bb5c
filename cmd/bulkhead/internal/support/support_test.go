package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	all.Child()
	goleak.VerifyTestMain(m)
}

func file(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func written(t *testing.T, c *server.Config) map[string]string {
	t.Helper()
	var archive bytes.Buffer
	if err := Write(t.Context(), &archive, c, func(string) {}); err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(&archive)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return parts
		} else if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		parts[strings.TrimPrefix(h.Name, "bulkhead-support/")] = string(text)
	}
}

// secrets are planted wherever an operator, a library or a guest could leave one.
var secrets = map[string]string{
	"a client's secret": "planted-client-0123456789", "a git token": "planted-git-0123456789", "a kubeconfig's token": "planted-kube-0123456789",
	"a plugin's": "planted-plugin-0123456789", "a variable's": "planted-variable-0123456789", "a header's": "planted-header-0123456789",
	"a bearer token in the log": "planted.bearer.0123456789", "a JWT in the log": "eyJwbGFudGVkIjoxfQ.eyJwbGFudGVkIjoyfQ.planted-sig",
	"a URL's user": "planted-user:planted-password", "a key in the log": "MIIplantedkeyplantedkey", "a query's": "planted-query-0123456789",
}

func TestABundleHoldsNoSecret(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	file(t, in("client-secret"), secrets["a client's secret"]+"\n")
	file(t, in("git-token"), secrets["a git token"])
	file(t, in("people/ann.yaml"), "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, roles: [viewer]}\n")
	file(t, in("kubeconfig"), "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"https://127.0.0.1:1\"}}]\nusers:\n- name: u\n  user:\n    token: "+
		secrets["a kubeconfig's token"]+"\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n")
	t.Setenv("BULKHEAD_TEST_PLUGIN_TOKEN", secrets["a variable's"])
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key="+secrets["a header's"]+",b=c")
	metrics := freePort(t)
	file(t, in("bulkhead.yaml"), fmt.Sprintf(`
listen: 127.0.0.1:0
metrics: %s
auth:
  dev: {}
  oidc: [{name: corp, issuer: "https://127.0.0.1:1", clientID: console, clientSecretFile: ./client-secret, user: email, idDomains: [example.com]}]
directory: {files: ./people}
clusters: [{name: dev, kubeconfig: ./kubeconfig}]
git: [{name: app, url: "https://127.0.0.1:1/app", tokenFile: ./git-token}]
plugins: [{name: echo, source: %q, config: {password: %q, deep: [{key: %[3]q}]}}]
`, metrics, packtest.Build(t, "plugins/echo"), secrets["a plugin's"]))
	c, err := server.Load(in("bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	log := c.Log.Logger(io.Discard)
	s, err := server.Open(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	for what, secret := range secrets {
		log.Info("planted: "+what, "text", secret)
	}
	log.Warn("Authorization: Bearer "+secrets["a bearer token in the log"], "url", "https://"+secrets["a URL's user"]+"@git.example/x?access_token="+secrets["a query's"])
	log.Error("-----BEGIN PRIVATE KEY-----\n" + secrets["a key in the log"] + "\n-----END PRIVATE KEY-----")
	key, err := os.ReadFile(in("data/host.key"))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := errors.Join(<-served, s.Close()); err != nil {
		t.Fatal(err)
	}
	parts := written(t, c)
	for what, secret := range secrets {
		for name, text := range parts {
			// A secret that stands alone in a log line, and that no file and no variable
			// has, can only be known by its form.
			alone := name == "log.txt" && strings.HasPrefix(what, "a ") && slices.Contains([]string{"a bearer token in the log", "a URL's user", "a key in the log", "a query's"}, what)
			if n := strings.Count(text, secret); n > 1 || n == 1 && !alone {
				t.Errorf("%s is in %s, %d times", what, name, n)
			}
		}
	}
	for name, text := range parts {
		if strings.Contains(text, string(key)) {
			t.Errorf("the host's key is in %s", name)
		}
	}
	for name, want := range map[string]string{
		"configuration.yaml": "clientSecretFile: " + in("client-secret"), "log.txt": "planted: a git token", "doctor.json": `"area": "clusters[dev]"`,
		"version.json": `"platform"`, "environment.txt": "OTEL_EXPORTER_OTLP_HEADERS\n", "files.txt": "recent.log", "README.txt": "Look through it",
		"status.json.missing": "no host runs", "plugins.json.missing": "", "metrics.txt.missing": "refused",
	} {
		if text, ok := parts[name]; !ok || !strings.Contains(text, want) {
			t.Errorf("%s: no %q in %q", name, want, text)
		}
	}
	if t.Failed() {
		t.Log(slices.Sorted(maps.Keys(parts)))
	}
}

func TestABundleOfAHostThatRuns(t *testing.T) {
	dir := t.TempDir()
	file(t, filepath.Join(dir, "people/ann.yaml"), "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com, roles: [viewer]}\n")
	file(t, filepath.Join(dir, "bulkhead.yaml"), fmt.Sprintf("listen: 127.0.0.1:0\nmetrics: %s\nauth: {dev: {}}\ndirectory: {files: ./people}\nplugins: [{name: echo, source: %q}]\n",
		freePort(t), packtest.Build(t, "plugins/echo")))
	c, err := server.Load(filepath.Join(dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	defer func() {
		stop()
		if err := errors.Join(<-served, s.Close()); err != nil {
			t.Error(err)
		}
	}()
	parts := written(t, c)
	for name, want := range map[string]string{
		"plugins.json": `"version": "0.1.0"`, "metrics.txt": "bulkhead_build_info{", "goroutines.txt": "goroutine profile", "status.json": `"checks"`,
		"log.txt.missing": "no host has run",
	} {
		if text, ok := parts[name]; !ok || !strings.Contains(text, want) {
			t.Errorf("%s: no %q in %.200q", name, want, text)
		}
	}
}
