package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// replica is a host without plugins in its file.
func replica(t testing.TB, endpoints []string, key string) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.write(t, "directory/people.yaml", "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: eve}\nspec: {id: eve@example.com, roles: [editor]}\n")
	w.write(t, "bulkhead.yaml", fmt.Sprintf(`
listen: 127.0.0.1:0
publicURL: http://127.0.0.1:8080
data: ./data
state: {endpoints: [%s], keyFile: %q}
auth: {dev: {}}
directory: {files: ./directory}
limits: {rates: {client: -1, account: -1}}
`, strings.Join(endpoints, ", "), key))
	return w
}

// echoAs is the echo plugin with another version in its manifest, and so another digest.
func echoAs(t testing.TB, version string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(packtest.Build(t, "plugins/echo"))
	if err != nil {
		t.Fatal(err)
	}
	out := wasm
	for _, form := range []string{`"version":"%s"`, `"version": "%s"`} {
		out = bytes.ReplaceAll(out, fmt.Appendf(nil, form, "0.1.0"), fmt.Appendf(nil, form, version))
	}
	if bytes.Equal(out, wasm) || len(out) != len(wasm) {
		t.Fatal("the manifest of echo is not version 0.1.0 any more")
	}
	return out
}

// admin asks a host's administration over its socket.
func (w *world) admin(t testing.TB, method, path string, body io.Reader, out any) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost/api/admin"+path, body)
	if err != nil {
		return err
	}
	resp, err := w.local(t).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	if out != nil {
		return json.Unmarshal(text, out)
	}
	return nil
}

// install makes a module what is desired, with the consent that it needs.
func (w *world) install(t testing.TB, name string, wasm []byte, revision int64) {
	t.Helper()
	var u struct{ Digest string }
	if err := w.admin(t, "POST", "/uploads", bytes.NewReader(wasm), &u); err != nil {
		t.Fatal(err)
	}
	q := fleet.Request{Digest: u.Digest, Revision: revision}
	var answer struct{ Report plugin.Report }
	for _, query := range []string{"?dryRun=true", ""} {
		text, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.admin(t, "PUT", "/plugins/"+name+query, bytes.NewReader(text), &answer); err != nil {
			t.Fatal(err)
		}
		if c := answer.Report.Comparison; c != nil {
			q.Consent = c.Digest
		}
	}
}

func (w *world) plugin(t testing.TB, name string) (p fleet.Plugin, err error) {
	t.Helper()
	return p, w.admin(t, "GET", "/plugins/"+name, nil, &p)
}

// activeOn waits until the host says that version is active everywhere.
func (w *world) activeOn(t testing.TB, name, version string, n int) fleet.Plugin {
	t.Helper()
	var p fleet.Plugin
	eventually(t, fmt.Sprintf("%s %s to be active on %d", name, version, n), func() bool {
		var err error
		if p, err = w.plugin(t, name); err != nil || p.State != fleet.Active || p.Serve == nil || p.Serve.Version != version {
			return false
		}
		fresh := 0
		for _, r := range p.Replicas {
			if r.Fresh {
				fresh++
			}
		}
		return fresh == n
	})
	return p
}

// TestReplicasSwapTogether installs and replaces a plugin on three hosts with one store,
// while users call it. One host is killed in the middle, one is cut off: it admits
// nobody then, and has what is desired when it is back. Once "active" was said, no
// fresh host ever answers 404, nothing, or with a version that is not desired.
func TestReplicasSwapTogether(t *testing.T) {
	t.Parallel()
	cluster, key := statetest.Start(t, 1), statetest.Key(t)
	link := cluster.Link(t)
	one, killed, cut := replica(t, cluster.Endpoints, key), replica(t, cluster.Endpoints, key), replica(t, link.Endpoints, key)
	one.open(t)
	cut.open(t)
	process := killed.startProcess(t)
	eve := one.as(t, "eve")
	on := map[string]*actor{"one": eve, "killed": killed.withJar(t, eve.http.Jar), "cut": cut.withJar(t, eve.http.Jar)}
	for name, a := range on {
		eventually(t, "the login to be known at "+name, func() bool { return a.get("/auth/me").status == 200 })
	}

	one.install(t, "echo", echoAs(t, "0.1.1"), 0)
	first := one.activeOn(t, "echo", "0.1.1", 3)
	// A loaded machine may fence a host for a moment, which then answers 503 to everything.
	whole := func(got answer) bool { return got.status == 200 && got.body != "" || got.status == 503 }
	probes, served := 0, 0
	rounds := 50
	if os.Getenv("BULKHEAD_SOAK") != "" {
		rounds = 1112 // 10,000 probes in all
	}
	probe := func(names ...string) {
		t.Helper()
		for range rounds {
			for _, name := range names {
				got := on[name].get("/api/echo/echo")
				if probes++; got.status == 200 {
					served++
				}
				if !whole(got) {
					t.Fatalf("%s was said to be active, and answers %v", name, got)
				}
			}
		}
	}
	probe("one", "killed", "cut")

	// Users call while the version is replaced: every answer is whole.
	stop, calling := make(chan struct{}), sync.WaitGroup{}
	for _, name := range []string{"one", "cut"} {
		calling.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := on[name].get("/api/echo/echo"); !whole(got) {
					t.Errorf("%s answers %v while it is replaced", name, got)
					return
				}
			}
		})
	}
	one.install(t, "echo", echoAs(t, "0.1.2"), first.Revision)
	if err := process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := one.activeOn(t, "echo", "0.1.2", 2)
	close(stop)
	calling.Wait()
	probe("one", "cut")

	// What is cut off admits nobody before the others go on without it.
	link.Cut()
	one.install(t, "echo", echoAs(t, "0.1.3"), second.Revision)
	third := one.activeOn(t, "echo", "0.1.3", 1)
	if got := on["cut"].get("/api/echo/echo"); got.status != 503 {
		t.Errorf("active was said, and the host that is cut off answers %v", got)
	}
	probe("one")
	link.Heal()
	eventually(t, "the host that was cut off to serve", func() bool {
		got := on["cut"].get("/api/echo/echo")
		if runs := cut.server.plugins.Get("echo"); got.status != 503 && (got.status != 200 || runs.Info().Digest != third.Serve.Digest) {
			t.Fatalf("the host that was cut off answers %v, and runs %s", got, runs.Info().Version)
		}
		return got.status == 200
	})
	third = one.activeOn(t, "echo", "0.1.3", 2)
	eventually(t, "the host that was cut off to admit users", func() bool { return on["cut"].get("/auth/me").status == 200 })
	probe("one", "cut")

	// A new host has it before it answers anything.
	late := replica(t, cluster.Endpoints, key)
	late.open(t)
	on["late"] = late.withJar(t, eve.http.Jar)
	probe("late")
	for _, r := range third.Replicas {
		if r.Fresh && r.Digest != third.Serve.Digest {
			t.Errorf("active, and replica %s runs %s", r.Replica, r.Digest)
		}
	}
	if t.Logf("%d probes, %d of them served", probes, served); served < probes/2 {
		t.Error("most probes were not served")
	}

	// The name is the API's now, and a host whose file has it says so.
	odd := replica(t, cluster.Endpoints, key)
	file := filepath.Join(odd.dir, "bulkhead.yaml")
	odd.write(t, "bulkhead.yaml", read(t, file)+fmt.Sprintf("plugins: [{name: echo, source: %q}]\n", packtest.Build(t, "plugins/echo")))
	odd.open(t)
	eventually(t, "the refusal", func() bool {
		p, err := one.plugin(t, "echo")
		return err == nil && p.State == fleet.Failed && strings.Contains(p.Because, "configuration file")
	})
}

// What was installed is there after a restart, without the network and without the
// file that was uploaded.
func TestAnInstalledPluginSurvivesARestart(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "bulkhead.yaml", "listen: 127.0.0.1:0\ndata: ./data\nauth: {dev: {}}\ndirectory: {files: ./directory}\n")
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	unbound(c)
	shareCompiled(t, c.Data)
	for i, version := range []string{"0.1.1", ""} {
		var log logtest.Log
		end, err := w.serve(c, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if version != "" {
			w.install(t, "echo", echoAs(t, version), 0)
			w.activeOn(t, "echo", version, 1)
		}
		if got := w.as(t, "eve").get("/api/echo/echo"); got.status != 200 {
			t.Errorf("start %d: %v; %s", i+1, got, log.String())
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}
