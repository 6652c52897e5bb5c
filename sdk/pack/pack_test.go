package pack

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

func build(t *testing.T, dir string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "plugin.wasm")
	if err := Build(t.Context(), dir, out, Options{}); err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// A plugin's import section is its list of capabilities, so what it does not
// use must not be there.
func TestAPluginImportsOnlyWhatItUses(t *testing.T) {
	for dir, want := range map[string][]string{
		"testdata/hello":       {"bulkhead:log/v1"},
		"../../plugins/echo":   {"bulkhead:abi/v1", "bulkhead:log/v1", "bulkhead:session/v1"},
		"../../plugins/gitops": {"bulkhead:abi/v1", "bulkhead:git/v1", "bulkhead:helm/v1", "bulkhead:kube/v1", "bulkhead:log/v1", "bulkhead:session/v1"},
		"../../plugins/pods":   {"bulkhead:abi/v1", "bulkhead:log/v1", "bulkhead:pods/v1", "bulkhead:session/v1"},
		"../../plugins/exec":   {"bulkhead:abi/v1", "bulkhead:exec/v1", "bulkhead:log/v1", "bulkhead:session/v1"},
	} {
		m, err := readModule(build(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.importModules(); !slices.Equal(got, append(want, "wasi_snapshot_preview1")) {
			t.Errorf("%s imports %q", dir, got)
		}
	}
}

func TestThePackedFileHoldsItsManifest(t *testing.T) {
	want, err := os.ReadFile("testdata/hello/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.Extract(build(t, "testdata/hello"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTheSameSourcesMakeTheSameBytes(t *testing.T) {
	if !bytes.Equal(build(t, "testdata/hello"), build(t, "testdata/hello")) {
		t.Error("two builds differ")
	}
}

func TestAFailedBuildSaysWhyAndLeavesTheFileAlone(t *testing.T) {
	empty, bad := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, ManifestFile), []byte("{\n\"name\": 7}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ why, dir, want string }{
		{"no manifest", empty, "manifest.json"},
		{"bad manifest", bad, "line 2"},
		{"compiler error", "testdata/broken", "main.go:3:15: undefined: thisIsNotDefined"},
		{"no program", "testdata/library", "testdata/library"},
		{"capability not asked for", "testdata/greedy", `"capabilities": [{"name": "kube"`},
		{"socket without session", "testdata/mute", `route "talk" is of kind socket and needs a session handler, in Go one of package sdk/session`},
	} {
		t.Run(c.why, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "plugin.wasm")
			if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := Build(t.Context(), c.dir, out, Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got, _ := os.ReadFile(out); string(got) != "old" {
				t.Errorf("the old file now holds %d bytes", len(got))
			}
			if files, _ := os.ReadDir(dir); len(files) != 1 {
				t.Errorf("files were left behind: %v", files)
			}
		})
	}
}

func TestACapabilityThatNoHostHasDoesNotBuildUnlessItIsOptional(t *testing.T) {
	dir := t.TempDir()
	text := `{"name": "x", "version": "1.0.0", "routes": [{"name": "x", "method": "GET", "path": "/x", "action": "x.read"}],
		"capabilities": [{"name": "later", "reason": "r", "optional": true}, {"name": "telepathy", "reason": "r"}]}`
	if err := os.WriteFile(filepath.Join(dir, ManifestFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Build(t.Context(), dir, filepath.Join(dir, "out.wasm"), Options{Capabilities: []string{"helm", "kube"}})
	const want = `capabilities[1].name: the capability "telepathy" does not exist; the capabilities are helm, kube`
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "later") {
		t.Errorf("error is %v, want %q", err, want)
	}
}

// What another compiler made is a module too. It is packed again without a trace of
// the manifest that it had.
func TestAModuleIsPackedWithAManifestWhateverMadeIt(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	module := file("hello.wasm", string(build(t, "testdata/hello")))
	other := `{"name": "other", "version": "1.0.0", "routes": [{"name": "hello", "method": "GET", "path": "/", "action": "hello.read"}]}`
	out := filepath.Join(dir, "out.wasm")
	for range 2 {
		if written, err := Pack(t.Context(), module, file("other.json", other), out, Options{}); err != nil || written != out {
			t.Fatalf("wrote %q: %v", written, err)
		}
		packed, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := manifest.Extract(packed); err != nil || string(got) != other {
			t.Errorf("the manifest is %s: %v", got, err)
		}
		module = out
	}
	t.Chdir(dir)
	if written, err := Pack(t.Context(), module, "other.json", "", Options{}); err != nil || written != "other.wasm" {
		t.Errorf("without a name it wrote %q: %v", written, err)
	}
	talk := strings.Replace(other, `"name": "hello",`, `"name": "talk", "kind": "socket",`, 1)
	for name, c := range map[string]struct{ module, manifest, want string }{
		"no module":         {"nowhere.wasm", "other.json", "nowhere.wasm"},
		"not a module":      {file("text", "hello"), "other.json", "text: not a WebAssembly 1 core module"},
		"bad manifest":      {"hello.wasm", file("bad.json", "{\n\"name\": 7}"), "bad.json: manifest: line 2"},
		"socket, no export": {"hello.wasm", file("talk.json", talk), `hello.wasm: the module does not export bulkhead_session; route "talk" is of kind socket`},
	} {
		if _, err := Pack(t.Context(), c.module, c.manifest, file("kept.wasm", "old"), Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if kept, _ := os.ReadFile("kept.wasm"); string(kept) != "old" {
			t.Errorf("%s: the old file now holds %d bytes", name, len(kept))
		}
	}
}

func TestAPageIsPackedFromTheFolderBesideTheManifest(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const plain = `{"name": "hello", "version": "1.0.0", "routes": [{"name": "hello", "method": "GET", "path": "/", "action": "hello.read"}]`
	module, out := file("hello.wasm", string(build(t, "testdata/hello"))), filepath.Join(dir, "out.wasm")
	with := file("manifest.json", plain+`, "ui": {"title": "Hello", "routes": ["hello"]}}`)
	try := func(module, manifestFile, want string) []byte {
		t.Helper()
		_, err := Pack(t.Context(), module, manifestFile, out, Options{})
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		packed, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	try(module, with, "manifest: ui: the plugin has no files of a page; the folder ui")
	file("ui/index.js", "import './lib/a.js'")
	file("ui/lib/a.js", "let a")
	got, err := manifest.ExtractUI(try(module, with, ""), &manifest.Manifest{UI: &manifest.UI{}})
	if err != nil || len(got) != 2 || string(got["lib/a.js"]) != "let a" {
		t.Errorf("%v, %v", got, err)
	}
	try(module, file("plain.json", plain+"}"), "manifest: ui: is missing, but the plugin has files")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "ui", "passwd.json")); err != nil {
		t.Fatal(err)
	}
	try(module, with, "passwd.json: is not a regular file")
	if err := os.RemoveAll(filepath.Join(dir, "ui")); err != nil {
		t.Fatal(err)
	}
	// A module that was packed with a page is packed without one.
	if got, err := manifest.ExtractUI(try(out, file("plain.json", plain+"}"), ""), &manifest.Manifest{}); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestBuildCanBeCancelledAndNeedsTheGoCommand(t *testing.T) {
	out := filepath.Join(t.TempDir(), "plugin.wasm")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Build(ctx, "testdata/hello", out, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := Build(t.Context(), "testdata/hello", out, Options{Go: "/nowhere/go"}); err == nil || !strings.Contains(err.Error(), "/nowhere/go") {
		t.Errorf("got %v", err)
	}
}

func TestAScriptCompilesAPluginThatIsNotGo(t *testing.T) {
	module := build(t, "testdata/hello")
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "module")
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, module, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/hello/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	write(ManifestFile, string(text), 0o600)
	out := filepath.Join(dir, "plugin.wasm")
	for _, c := range []struct{ script, want string }{
		{"cp '" + file + "' \"$1\"", ""},
		{"echo line 3: no such function >&2; exit 1", "build.sh in " + dir + ": exit status 1\nline 3: no such function"},
		{"exit 0", "build.sh made no module"},
	} {
		write(ScriptFile, "#!/bin/sh\n"+c.script+"\n", 0o700)
		err := Build(t.Context(), dir, out, Options{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.script, err, c.want)
		}
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, module) {
		t.Errorf("the script's module was not packed: %d bytes, %v", len(got), err)
	}
}
