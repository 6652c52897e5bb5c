package pack

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// What an author copies from the README has to work as it stands.
func TestThePluginsInTheReadmePassTheirTestsAndBuild(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	home, plugins := t.TempDir(), map[string]bool{}
	write := func(name, text string) {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range regexp.MustCompile("`([a-z]+)/([a-z_]+\\.(?:go|json))`[^\n]*:\n\n```[a-z]+\n(?s:(.*?))```").FindAllStringSubmatch(string(text), -1) {
		plugins[file[1]] = true
		write(file[1]+"/"+file[2], file[3])
	}
	if len(plugins) != 2 {
		t.Fatalf("the README has the plugins %v", plugins)
	}
	const module = "github.com/seed-a3fb47d6/bulkhead"
	for name := range plugins {
		dir := filepath.Join(home, name)
		for _, args := range [][]string{
			{"mod", "init", "example.com/" + name}, {"mod", "edit", "-require", module + "@v0.0.0", "-replace", module + "=" + root}, {"mod", "tidy"}, {"test"},
		} {
			command := exec.CommandContext(t.Context(), "go", args...)
			command.Dir = dir
			if out, err := command.CombinedOutput(); err != nil {
				t.Fatalf("%s: go %v: %v\n%s", name, args, err, out)
			}
		}
		if err := Build(t.Context(), dir, filepath.Join(home, name+".wasm"), Options{}); err != nil {
			t.Error(err)
		}
	}
}
