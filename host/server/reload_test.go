package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// light is a host with the echo plugin alone, whose configuration a test changes.
func light(t testing.TB, more string) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.write(t, "directory/people.yaml", "")
	for role, names := range people {
		for _, name := range strings.Fields(names) {
			w.person(t, name, role)
		}
	}
	w.write(t, "bulkhead.yaml", lightConfig(t)+more)
	w.open(t)
	return w
}

func lightConfig(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("listen: 127.0.0.1:0\nauth: {dev: {}}\ndirectory: {files: ./directory}\nplugins: [{name: echo, source: %q}]\n"+
		"limits: {rates: {client: -1, account: -1}}\n", packtest.Build(t, "plugins/echo"))
}

func (w *world) person(t testing.TB, name, role string) {
	t.Helper()
	w.write(t, "directory/"+name+".yaml", fmt.Sprintf("apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: %s}\nspec: {id: %s@example.com, roles: [%s]}\n", name, name, role))
}

// rewrite replaces a part of the configuration on disk.
func (w *world) rewrite(t testing.TB, old, new string) {
	t.Helper()
	text := read(t, filepath.Join(w.dir, "bulkhead.yaml"))
	if !strings.Contains(text, old) {
		t.Fatalf("the configuration has no %q", old)
	}
	w.write(t, "bulkhead.yaml", strings.Replace(text, old, new, 1))
}

// reload has the host read its file, which it may have done by itself already.
func (w *world) reload(t testing.TB) {
	t.Helper()
	if _, err := w.server.Reload(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

// What people have open survives the reload of everything that is not theirs, and what
// is new serves at once.
func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	w := light(t, "")
	vic := w.as(t, "vic")
	socket, refused := vic.dial("/ws/echo")
	if socket == nil {
		t.Fatal(refused)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/echo/ticks", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := vic.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	events := bufio.NewScanner(stream.Body)
	next := func(what string) {
		t.Helper()
		if !events.Scan() || !events.Scan() {
			t.Fatalf("the event stream ended: %s: %v", what, events.Err())
		}
		if err := socket.WriteMessage(websocket.TextMessage, []byte(what)); err != nil {
			t.Fatalf("the socket ended: %s: %v", what, err)
		}
		if _, got, err := socket.ReadMessage(); err != nil || string(got) != what {
			t.Fatalf("the socket ended: %s: %q, %v", what, got, err)
		}
	}
	next("at first")
	long := make(chan answer, 1)
	go func() {
		got, _ := vic.try(t.Context(), "GET", "/api/echo/sleep?ms=3000", nil, nil)
		long <- got
	}()
	before := w.server.current.Load()
	absent := filepath.Join(w.dir, "absent.kubeconfig")
	for _, change := range []struct{ old, new string }{
		{"auth: {dev: {}}", "auth: {dev: {}, lifetimes: {idle: 20m}}"},
		{"rates: {client: -1", "sessionsPerUser: 50, rates: {client: -2"},
		{"listen:", fmt.Sprintf("clusters: [{name: dev, kubeconfig: %q, waitForKubeconfig: true}]\nlisten:", absent)},
		{"listen:", "policy: {log: {file: {path: ./decisions.log}}}\nlisten:"},
		{"listen:", "recordings: {maxMiB: 5}\nlisten:"},
		{"listen:", "log: {level: debug, format: json}\nlisten:"},
		{"listen:", "azure: [{name: prod, subscription: 00000000-0000-0000-0000-000000000000, credential: cli}]\nlisten:"},
		{"plugins: [", fmt.Sprintf("plugins: [{name: other, source: %q}, ", packtest.Build(t, "plugins/echo"))},
		{"directory: {files: ./directory}", "directory: {files: ./people}"},
	} {
		if strings.Contains(change.new, "./people") {
			if err := os.CopyFS(filepath.Join(w.dir, "people"), os.DirFS(filepath.Join(w.dir, "directory"))); err != nil {
				t.Fatal(err)
			}
		}
		w.rewrite(t, change.old, change.new)
		w.reload(t)
		next(change.new)
	}
	if got := <-long; got.status != 200 {
		t.Errorf("the long call: %v", got)
	}
	expect(t, vic.get("/api/other/echo"), 200, "a plugin that is new")
	now := w.server.current.Load()
	if now.clusters.Ready()[0].Name != "dev" || now.part("clusters") == before.part("clusters") {
		t.Error("the new cluster is not there")
	}
	if now.part("tls") != nil || now.part("recordings") == before.part("recordings") {
		t.Error("the parts are not those of the configuration")
	}
	if read(t, filepath.Join(w.dir, "decisions.log")) == "" {
		t.Error("no decision is logged")
	}
	serving := w.server.plugins.Status()
	if i := slices.IndexFunc(serving, func(s plugin.Status) bool { return s.Name == "echo" }); len(serving[i].Generations) != 1 {
		t.Errorf("the plugin was replaced: %+v", serving[i])
	}
	w.rewrite(t, fmt.Sprintf("{name: other, source: %q}, ", packtest.Build(t, "plugins/echo")), "")
	w.reload(t)
	next("another plugin is removed")
	expect(t, w.as(t, "ada").get("/api/other/echo"), 404, "a plugin that was removed")
}

// A file that cannot be used changes nothing, is named with the line, and does not
// stand in the way of the next attempt.
func TestABrokenFileChangesNothing(t *testing.T) {
	w := light(t, "")
	vic := w.as(t, "vic")
	good := read(t, filepath.Join(w.dir, "bulkhead.yaml"))
	before := w.server.current.Load()
	for _, c := range []struct{ old, new, want string }{
		{"auth:", "auht:", `unknown field "auht"`},
		{"auth: {dev: {}}", "auth: [", "is not YAML"},
		{"auth: {dev: {}}", "auth: {}", "bulkhead.yaml: line 2: auth: has no login method"},
		{"listen: 127.0.0.1:0", "listen: 127.0.0.1:1", "bulkhead.yaml: line 1: listen: a change of listen needs a restart"},
		{"listen:", "data: ./other\nlisten:", "bulkhead.yaml: line 1: data: a change of data needs a restart"},
		{"listen:", "state: {keyRotation: 48h}\nlisten:", "bulkhead.yaml: line 1: state: a change of state needs a restart"},
		{"files: ./directory", "files: ./nowhere", "directory"},
		{"listen:", "clusters: [{name: dev, kubeconfig: ./nowhere}]\nlisten:", "line 1: clusters[0].kubeconfig"},
		{"listen:", "policy: {dir: ./nowhere}\nlisten:", "policy"},
		{"listen:", "helm: {repositories: [{name: demo, path: ./nowhere}]}\nlisten:", "line 1: helm.repositories[0].path"},
		{"plugins: [", "plugins: [{name: other, source: ./nowhere.wasm}, ", "line 4: plugins[0]"},
		{"plugins: [{", "plugins: [{limits: {module: {functions: 10}}, ", "line 4: plugins[0]"},
		{"listen:", "tls: {cert: ./nowhere, key: ./nowhere}\nlisten:", "line 1: tls"},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatalf("the configuration has no %q", c.old)
		}
		w.write(t, "bulkhead.yaml", strings.Replace(good, c.old, c.new, 1))
		_, err := w.server.Reload(t.Context(), false)
		if err == nil || !strings.Contains(err.Error(), c.want) || host.KindOf(err) != host.Unprocessable {
			t.Errorf("%s: error is %v, want %q", c.new, err, c.want)
		}
		if problem := w.server.degraded()["configuration"]; problem == nil || !strings.Contains(problem.Error(), c.want) {
			t.Errorf("%s: readiness says %v", c.new, problem)
		}
		if w.server.current.Load() != before {
			t.Fatalf("%s: another configuration serves", c.new)
		}
		expect(t, vic.get("/api/echo/echo"), 200, c.new)
	}
	if got := w.anonymous(t).get("/readyz"); got.status != 200 || !strings.Contains(got.body, `"configuration":"degraded"`) {
		t.Errorf("readiness: %v", got)
	}
	w.write(t, "bulkhead.yaml", good)
	w.reload(t)
	if problem := w.server.degraded()["configuration"]; problem != nil {
		t.Errorf("readiness after the file was mended: %v", problem)
	}
	if w.server.current.Load() != before {
		t.Error("a reload that changes nothing published something")
	}
	if list := w.server.plugins.Status(); len(list) != 1 {
		t.Errorf("plugins that were refused are left: %+v", list)
	}
}

// The host reads the file when it changes, without being asked.
func TestAChangedFileIsRead(t *testing.T) {
	w := light(t, "")
	w.rewrite(t, "dev: {}", "dev: {}, lifetimes: {idle: 20m}")
	eventually(t, "the file to be read", func() bool { return w.server.current.Load().config.Auth.Lifetimes.Idle != 0 })
	w.write(t, "bulkhead.yaml", "auth: {}")
	eventually(t, "readiness to say that the file is refused", func() bool { return w.server.degraded()["configuration"] != nil })
}

// What the new configuration no longer permits ends, and only that.
func TestAReloadEndsWhatIsNoLongerPermitted(t *testing.T) {
	w := light(t, "")
	vic, eve := w.as(t, "vic"), w.as(t, "eve")
	sockets := map[string]*websocket.Conn{}
	for name, a := range map[string]*actor{"vic": vic, "eve": eve} {
		conn, refused := a.dial("/ws/echo")
		if conn == nil {
			t.Fatal(refused)
		}
		sockets[name] = conn
	}
	closed := func(conn *websocket.Conn) int {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
					return ce.Code
				}
				t.Fatal(err)
			}
		}
	}
	// vic is not in the new directory.
	if err := os.CopyFS(filepath.Join(w.dir, "fewer"), os.DirFS(filepath.Join(w.dir, "directory"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, "fewer", "vic.yaml")); err != nil {
		t.Fatal(err)
	}
	w.rewrite(t, "./directory", "./fewer")
	w.reload(t)
	if code := closed(sockets["vic"]); code == websocket.CloseNormalClosure {
		t.Errorf("a user who is gone: closed with %d", code)
	}
	expect(t, eve.get("/api/echo/echo"), 200, "a user who is not concerned")
	if err := sockets["eve"].WriteMessage(websocket.TextMessage, []byte("still here")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := sockets["eve"].ReadMessage(); err != nil || string(got) != "still here" {
		t.Fatalf("%q, %v", got, err)
	}
	// The method by which eve signed in is not configured any more.
	w.rewrite(t, "auth: {dev: {}}", "auth: {proxy: {from: [127.0.0.2/32]}}")
	w.reload(t)
	if code := closed(sockets["eve"]); code == websocket.CloseNormalClosure {
		t.Errorf("a login method that is gone: closed with %d", code)
	}
	expect(t, eve.get("/api/echo/echo"), 401, "a login method that is gone")
}

// Reloads take turns, and what each says is true of one configuration.
func TestManyReloadsAtOnce(t *testing.T) {
	w := light(t, "")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if i%4 == 0 {
				w.write(t, "bulkhead.yaml.new", lightConfig(t)+fmt.Sprintf("recordings: {maxMiB: %d}\n", i+1))
				if err := os.Rename(filepath.Join(w.dir, "bulkhead.yaml.new"), filepath.Join(w.dir, "bulkhead.yaml")); err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
			}
			if _, err := w.server.Reload(t.Context(), false); err != nil {
				t.Error(err)
			}
		})
	}
	vic := w.as(t, "vic")
	for range 50 {
		expect(t, vic.get("/api/echo/echo"), 200, "while the host reloads")
	}
	all.Wait()
	w.reload(t)
	rt := w.server.current.Load()
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil || rt.digest != config.Digest(config.Sections(c)) || rt.holds.Load() != 1 {
		t.Errorf("the host runs %s, held %d times; %v", rt.digest, rt.holds.Load(), err)
	}
}

// A host that shuts down takes no other configuration, and waits for none.
func TestAReloadDuringShutdown(t *testing.T) {
	w := light(t, "")
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Data = filepath.Join(w.dir, "second")
	shareCompiled(t, c.Data)
	s, err := Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				if _, err := s.Reload(context.Background(), false); errors.Is(err, host.ErrShutdown) {
					return
				}
			}
		})
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
}

// Many configurations later the host has what it had.
func TestNothingIsLeftOfEarlierConfigurations(t *testing.T) {
	w := light(t, "")
	absent := filepath.Join(w.dir, "absent.kubeconfig")
	variant := func(i int) {
		w.write(t, "policies/rules.rego", "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n")
		w.write(t, "bulkhead.yaml", strings.Replace(lightConfig(t), "{name: echo,", fmt.Sprintf("{name: echo, config: {n: %d},", i), 1)+fmt.Sprintf(
			"clusters: [{name: c%d, kubeconfig: %q, waitForKubeconfig: true}]\npolicy: {dir: ./policies, log: {file: {path: ./log%d}}}\nrecordings: {maxMiB: %d}\n", i%2, absent, i%3, i+1))
		w.reload(t)
	}
	count := func() (goroutines, files int) {
		w.server.retired.Wait()
		eventually(t, "replaced generations to be gone", func() bool {
			for _, s := range w.server.plugins.Status() {
				if len(s.Generations) != 1 {
					return false
				}
			}
			return true
		})
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil && !os.IsNotExist(err) { // other systems have no such directory
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(open)
	}
	for i := range 4 {
		variant(i)
	}
	goroutines, files := count()
	times := 6
	if soaking {
		times = 50
	}
	for i := range times {
		variant(i + 4)
	}
	eventually(t, "earlier configurations to be gone", func() bool {
		g, f := count()
		return g <= goroutines+3 && f <= files+3
	})
}

// Every key can be changed while the host runs, or is named as one that cannot. A key
// that is new has to be put on one side or the other here.
func TestEachKeyIsHotOrNeedsARestart(t *testing.T) {
	hot := []string{"audit", "auth", "azure", "clusters", "directory", "git", "helm", "http", "limits", "log", "packages", "plugins", "policy", "publicURL", "recordings", "tls"}
	var root struct {
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema, &root); err != nil {
		t.Fatal(err)
	}
	keys := root.Defs["server.Config"].Properties
	if len(keys) < 10 {
		t.Fatalf("the schema has the keys %v", keys)
	}
	for key := range keys {
		if slices.Contains(hot, key) == slices.Contains(restart, key) {
			t.Errorf("%s must be hot or need a restart, and not both", key)
		}
	}
	for _, key := range slices.Concat(hot, restart) {
		if keys[key] == nil {
			t.Errorf("%s is not a key", key)
		}
	}
	if want := "`listen`, `metrics`, `data` and `state`. Every other key"; !strings.Contains(referenceHead, want) || !slices.Equal(restart, []string{"listen", "metrics", "data", "state"}) {
		t.Errorf("the reference does not name %v as needing a restart", restart)
	}
}

// What administrators read and do is what the host does.
func TestAdministratorsReload(t *testing.T) {
	w := light(t, "")
	ada, eve := w.as(t, "ada"), w.as(t, "eve")
	var status config.Status
	ada.get("/api/admin/config").json(t, &status)
	if status.Revision == "" || status.Since.IsZero() || status.Refused != nil {
		t.Errorf("%+v", status)
	}
	w.rewrite(t, "{name: echo,", "{name: echo, config: {token: hunter2}, limits: {instances: 7},")
	var report config.Report
	ada.post("/api/admin/config/reload?dryRun=true", "").json(t, &report)
	want := []config.Change{{Path: "plugins[echo].config"}, {Path: "plugins[echo].limits", New: `{"instances":7}`}}
	if report.Outcome != config.Checked || !slices.Equal(report.Changes, want) {
		t.Errorf("%+v", report)
	}
	expect(t, eve.post("/api/admin/config/reload", ""), 403, "an editor")
	expect(t, eve.get("/api/admin/config"), 403, "an editor")
	expect(t, ada.post("/api/admin/config/reload?dryrun=true", ""), 400, "a key that is unknown")
	w.reload(t)
	var after config.Status
	ada.get("/api/admin/config").json(t, &after)
	if after.Revision == status.Revision || after.Refused != nil {
		t.Errorf("%+v", after)
	}
	ada.post("/api/admin/config/reload", "").json(t, &report)
	if report.Outcome != config.Unchanged || report.Revision != after.Revision {
		t.Errorf("%+v", report)
	}
	w.write(t, "bulkhead.yaml", "auth: {}\n")
	got := ada.post("/api/admin/config/reload", "")
	if got.status != 422 || !strings.Contains(got.body, "auth: has no login method") {
		t.Errorf("%v", got)
	}
	ada.get("/api/admin/config").json(t, &after)
	if after.Refused == nil || !strings.Contains(after.Refused.Reason, "auth: has no login method") {
		t.Errorf("%+v", after)
	}
}

// The level and the format of the log change without a restart.
func TestTheLogFollowsTheConfiguration(t *testing.T) {
	var out logtest.Log
	log := Log{Level: "warn"}.Logger(&out)
	below := log.With("plugin", "echo").WithGroup("g")
	below.Info("quiet")
	Log{Level: "debug", Format: "json"}.set(log)
	below.Debug("loud", "x", 1)
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"plugin":"echo","g":{"x":1}`) {
		t.Errorf("%s", got)
	}
	Log{}.set(slog.New(slog.DiscardHandler)) // not one of its own
}

// BenchmarkReloadOfNothing is a reload that finds everything as it was.
func BenchmarkReloadOfNothing(b *testing.B) {
	w := light(b, "")
	b.ResetTimer()
	for b.Loop() {
		if report, err := w.server.Reload(b.Context(), false); err != nil || report.Outcome != config.Unchanged {
			b.Fatal(report, err)
		}
	}
}
