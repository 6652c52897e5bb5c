package dev

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/devhost"
	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/scaffold"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	all.Child()
	policytool.Child()
	goleak.VerifyTestMain(m)
}

// terminal is what an author sees.
type terminal struct {
	mu      sync.Mutex
	text    bytes.Buffer
	seen    int
	written chan struct{}
}

func (w *terminal) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.written)
	w.written = make(chan struct{})
	return w.text.Write(p)
}

// wait returns what matches first in what was printed since the last match.
func (w *terminal) wait(t *testing.T, ended <-chan error, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		w.mu.Lock()
		rest := w.text.String()[w.seen:]
		at := re.FindStringSubmatchIndex(rest)
		if at != nil {
			w.seen += at[1]
			w.mu.Unlock()
			return re.FindStringSubmatch(rest)
		}
		written := w.written
		w.mu.Unlock()
		select {
		case <-written:
		case err := <-ended:
			t.Fatalf("it ended with %v, without %q:\n%s", err, pattern, rest)
		case <-t.Context().Done():
			t.Fatalf("nothing matches %q:\n%s", pattern, rest)
		}
	}
}

func get(t *testing.T, url, user string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.Header.Set(devhost.UserHeader, user)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func edit(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s lacks %q", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, new)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start runs dev in a directory; end interrupts it.
func start(t *testing.T, dir string) (w *terminal, ended chan error, end func()) {
	t.Helper()
	w = &terminal{written: make(chan struct{})}
	ctx, interrupt := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Dir: dir, Listen: "127.0.0.1:0", Kinds: new(all.Config).Catalog(), Out: w})
	}()
	return w, ended, func() {
		t.Helper()
		interrupt()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}

// A new author has a plugin with three commands: `bulkhead plugin new hello`, `cd hello` and
// `bulkhead plugin dev`. What is saved is seen without a restart, and what is wrong is said.
func TestFromAnEmptyDirectoryToALiveHelloAndASeenChange(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	dir := filepath.Join(t.TempDir(), "hello")
	if _, err := scaffold.New(scaffold.Options{Name: "hello", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	w, ended, end := start(t, dir)
	url := w.wait(t, ended, `hello 0\.1\.0 serves.*\n\s+GET\s+(http://\S+/api/hello/hello)\n`)[1]
	if status, body := get(t, url, ""); status != 200 || body != "hello dev@example.com" {
		t.Errorf("%d %s", status, body)
	}
	w.wait(t, ended, `GET /api/hello/hello  200  \S+ ms  fuel \d+k  memory \S+ MiB, \d+ KiB changed  dev@example.com\n`)
	if status, _ := get(t, url, "guest@example.com"); status != 403 {
		t.Errorf("a user without permissions: %d", status)
	}
	w.wait(t, ended, `> add to permissions of a role of guest@example.com:\n.*actions: \["hello:hello.read"\]\n.*plugins: \[\{name: hello\}\]\n`)

	main := filepath.Join(dir, "main.go")
	edit(t, main, `"hello "`, `"good morning "`)
	w.wait(t, ended, `hello 0\.1\.0 serves`)
	if _, body := get(t, url, ""); body != "good morning dev@example.com" {
		t.Errorf("after a save: %s", body)
	}
	edit(t, main, "sdk.Text", "sdk.Txet")
	w.wait(t, ended, `not built: [^$]*main\.go:\d+:\d+: undefined: sdk\.Txet\nthe earlier version serves on\n`)
	if _, body := get(t, url, ""); body != "good morning dev@example.com" {
		t.Errorf("after a mistake: %s", body)
	}
	edit(t, main, "sdk.Txet", "sdk.Text")
	w.wait(t, ended, `hello 0\.1\.0 serves`)

	// Roles apply without a build.
	edit(t, filepath.Join(dir, "dev/people/people.yaml"), "spec: {id: guest@example.com}", "spec: {id: guest@example.com, roles: [hello-user]}")
	for status := 403; status != 200; {
		status, _ = get(t, url, "guest@example.com")
	}
	end()
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The same in the other languages. What differs is the compiler, which must be there.
func TestFromAnEmptyDirectoryToASeenChangeInOtherLanguages(t *testing.T) {
	for _, c := range []struct{ language, file, old, new string }{
		{"rust", "src/lib.rs", `"hello {}"`, `"good morning {}"`},
		{"c", "hello.c", `BH("hello ")`, `BH("good morning ")`},
		{"assemblyscript", "index.ts", `"hello "`, `"good morning "`},
	} {
		t.Run(c.language, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hello")
			if _, err := scaffold.New(scaffold.Options{Name: "hello", Dir: dir, Language: c.language}); err != nil {
				t.Fatal(err)
			}
			w, ended, end := start(t, dir)
			defer end()
			got := w.wait(t, ended, `serves.*\n\s+GET\s+(http://\S+)\n|not built: build.sh in \S+: exit status ([34])\n(.*)\n`)
			if missing := got[2]; missing != "" {
				// A Node.js that is too old is not for this test to replace.
				if os.Getenv("CI") != "" && missing == "3" {
					t.Fatal(got[3])
				}
				t.Skip("left out: " + got[3])
			}
			if status, body := get(t, got[1], ""); status != 200 || body != "hello dev@example.com" {
				t.Errorf("%d %s", status, body)
			}
			file := filepath.Join(dir, c.file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: 3 commands, %d lines of code", c.language, strings.Count(string(text), "\n"))
			edit(t, file, c.old, c.new)
			w.wait(t, ended, `serves`)
			if _, body := get(t, got[1], ""); body != "good morning dev@example.com" {
				t.Errorf("after a save: %s", body)
			}
			// Every SDK reports its handlers.
			edit(t, filepath.Join(dir, "manifest.json"), `{"name": "hello", "method"`, `{"name": "hallo", "method"`)
			w.wait(t, ended, `not served: [^$]*manifest and handlers differ: route "hallo" \(GET /hello\) of the manifest has no handler\n[^$]*the handler "hello" has no route`)
		})
	}
}

// A plugin that requests more needs a grant, and saving the configuration is enough.
func TestAGrantThatIsMissingIsNamedAndMendedWhileItRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hello")
	if _, err := scaffold.New(scaffold.Options{Name: "hello", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(dir, "manifest.json"), `"action": "hello.read"}]`, `"action": "hello.read"}], "capabilities": [{"name": "kube", "reason": "test"}]`)
	w, ended, end := start(t, dir)
	w.wait(t, ended, `not served: [^$]*needs capability "kube"[^$]*grants: \{kube: `)
	edit(t, filepath.Join(dir, "dev/bulkhead.yaml"), "grants: {}", "grants: {kube: [{clusters: [dev], namespaces: [shop], resources: [pods], verbs: [list]}]}")
	url := w.wait(t, ended, `serves.*\n\s+GET\s+(http://\S+)\n`)[1]
	if status, _ := get(t, url, ""); status != 200 {
		t.Errorf("with the grant: %d", status)
	}
	end()
}

func TestWithoutAPluginItSaysSo(t *testing.T) {
	if err := Run(t.Context(), Options{Dir: t.TempDir(), Kinds: new(all.Config).Catalog(), Out: io.Discard}); err == nil || !strings.Contains(err.Error(), "manifest.json") {
		t.Error(err)
	}
}

func TestWhatIsNotBuiltIsNotWatched(t *testing.T) {
	w := &watcher{dir: "/p", serving: true}
	for path, want := range map[string]bool{
		"/p": false, "/p/main.go": false, "/p/manifest.json": false, "/p/src/lib.rs": false, "/p/developers.go": false,
		"/p/hello.wasm": true, "/p/.git/index": true, "/p/node_modules/a/b.js": true, "/p/target/x": true, "/p/main.go~": true,
		"/p/cases/a.yaml": true, "/p/README.md": true, "/p/dev/bulkhead.yaml": true,
	} {
		if got := w.ignored(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if w.serving = false; w.ignored("/p/dev/bulkhead.yaml") {
		t.Error("a configuration that keeps the host from starting is not watched")
	}
}
