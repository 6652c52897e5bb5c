package scaffold

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
)

const root = "../../../.."

func plugin(t *testing.T, language string) string {
	t.Helper()
	dir, err := New(Options{Name: "greeter", Dir: filepath.Join(t.TempDir(), "greeter"), Language: language, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An author has no clone, and may have no network.
func TestANewGoPluginBuildsAndPassesItsTestOffline(t *testing.T) {
	dir := plugin(t, "go")
	offline := []string{"GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off"}
	for in, verb := range map[string]string{dir: "test", filepath.Join(dir, SDKDir): "build"} {
		command := exec.CommandContext(t.Context(), "go", verb, "./...")
		command.Dir, command.Env = in, append(os.Environ(), offline...)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("go %s in %s: %v\n%s", verb, in, err, out)
		}
	}
	wasm := filepath.Join(dir, "greeter.wasm")
	if err := pack.Build(t.Context(), dir, wasm, pack.Options{Env: offline}); err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "all")
	list.Dir, list.Env = dir, append(os.Environ(), offline...)
	if out, err := list.Output(); err != nil || strings.Count(string(out), "\n") != 2 {
		t.Errorf("the plugin needs more modules than its own and the SDK: %s, %v", out, err)
	}
}

func TestThePluginHasItsName(t *testing.T) {
	for _, language := range Languages() {
		dir := plugin(t, language)
		m, err := manifest.Parse([]byte(read(t, dir, "manifest.json")))
		if err != nil || m.Name != "greeter" {
			t.Errorf("%s: manifest.json: %+v, %v", language, m, err)
		}
		for name, want := range map[string]string{
			"README.md": "/api/greeter/hello", "dev/bulkhead.yaml": "- name: greeter", "dev/people/people.yaml": `"greeter:hello.read"`,
			".gitignore": "*.wasm", SDKDir + "/VERSION": "bulkhead test", SDKDir + "/manifest.schema.json": `"$schema"`,
		} {
			if text := read(t, dir, name); !strings.Contains(text, want) || strings.Contains(text, "{{") || strings.Contains(text, "<no value>") {
				t.Errorf("%s: %s lacks %q:\n%s", language, name, want, text)
			}
		}
	}
}

func TestTheHandlerOfTheGoTemplateIsShort(t *testing.T) {
	if n := strings.Count(read(t, plugin(t, "go"), "main.go"), "\n"); n > 12 {
		t.Errorf("main.go has %d lines, more than 12", n)
	}
}

func TestNothingIsWrittenForABadNameOrOverFiles(t *testing.T) {
	parent := t.TempDir()
	taken := filepath.Join(parent, "taken")
	if err := os.MkdirAll(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(taken, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Name: "Hello", Dir: filepath.Join(parent, "a")}, "lower-case"},
		{Options{Name: "admin", Dir: filepath.Join(parent, "a")}, "reserved"},
		{Options{Name: "../x", Dir: filepath.Join(parent, "a")}, "lower-case"},
		{Options{Name: "hello", Dir: filepath.Join(parent, "a"), Language: "cobol"}, "assemblyscript, c, go, rust"},
		{Options{Name: "hello", Dir: taken}, "is not empty"},
		{Options{Name: "hello", Dir: filepath.Join(taken, "mine")}, "not a directory"},
	} {
		_, err := New(c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want %q on one line", c.o, err, c.want)
		}
	}
	if entries, _ := os.ReadDir(parent); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if entries, _ := os.ReadDir(taken); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestAnEmptyDirectoryIsFilled(t *testing.T) {
	dir := t.TempDir()
	if _, err := New(Options{Name: "hello", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
}

// A package that is added to the SDK must reach authors.
func TestTheCopyHasEveryPackageThatPluginsImport(t *testing.T) {
	dir := plugin(t, "go")
	entries, err := os.ReadDir(filepath.Join(root, "sdk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || slices.Contains(tools, e.Name()) || languages["go"].foreign(e.Name()) {
			continue
		}
		err := fs.WalkDir(os.DirFS(filepath.Join(root, "sdk", e.Name())), ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			if _, err := os.Stat(filepath.Join(dir, SDKDir, "sdk", e.Name(), name)); err != nil {
				t.Errorf("sources.go does not embed sdk/%s/%s", e.Name(), name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := 0
	_ = filepath.WalkDir(filepath.Join(dir, SDKDir), func(name string, _ fs.DirEntry, _ error) error {
		if strings.HasSuffix(name, "_test.go") {
			tests++
		}
		return nil
	})
	if tests > 0 {
		t.Errorf("the copy has %d test files", tests)
	}
}

func TestTheCopyNeedsTheGoOfTheModule(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mod)
	if found == nil || string(found[1]) != goVersion {
		t.Errorf("go.mod has %q, the copy %q", found, goVersion)
	}
	if text := read(t, plugin(t, "go"), "go.mod"); !strings.Contains(text, "\ngo "+goVersion+"\n") {
		t.Errorf("the template has another version:\n%s", text)
	}
}

func TestTheSDKsCopyIsReplaced(t *testing.T) {
	for _, language := range Languages() {
		dir := plugin(t, language)
		stale := filepath.Join(dir, SDKDir, "stale")
		if err := os.WriteFile(stale, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := UpdateSDK(dir, "next"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a file of the old copy stayed: %v", language, err)
		}
		if text := read(t, dir, SDKDir+"/VERSION"); !strings.Contains(text, "bulkhead next") {
			t.Errorf("%s: %s", language, text)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "."+SDKDir+"*"))
		if len(left) > 0 {
			t.Errorf("%s: left behind: %v", language, left)
		}
	}
	if err := UpdateSDK(t.TempDir(), "next"); err == nil || !strings.Contains(err.Error(), "no plugin") {
		t.Errorf("a directory without a plugin: %v", err)
	}
}

func TestTheSourcesAreThoseOfTheRepository(t *testing.T) {
	for _, name := range []string{"sdk/handle.go", "sdk/c/bulkhead.h", "sdk/rust/src/lib.rs"} {
		want, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := bulkhead.SDK.ReadFile(name); err != nil || string(got) != string(want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}
