package scaffold

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead"
)

// SDKDir is the SDK's copy in the directory of a plugin.
const SDKDir = "bulkhead-sdk"

// goVersion is the oldest Go release that builds the SDK. TestTheCopyNeedsTheGoOfTheModule
// compares it with go.mod.
const goVersion = "1.26.0"

// module is the path under which Go plugins import the SDK.
const module = "github.com/seed-a3fb47d6/bulkhead"

// language is how a plugin in it is made.
type language struct {
	mark string            // a file that only plugins in this language have
	root string            // the SDK's directory; in Go it is the module
	code map[string]string // files of the plugin, by those of the SDK's own hello
	// imports are replaced in the code, since the SDK is in another place there.
	imports [2]string
}

var languages = map[string]*language{
	"go":   {mark: "go.mod", root: "sdk"},
	"rust": {mark: "Cargo.toml", root: "sdk/rust", code: map[string]string{"src/lib.rs": "hello/src/lib.rs"}},
	"c":    {mark: "*.c", root: "sdk/c", code: map[string]string{"hello.c": "hello/hello.c"}},
	"assemblyscript": {mark: "index.ts", root: "sdk/assemblyscript", code: map[string]string{"index.ts": "hello/index.ts"},
		imports: [2]string{`"../assembly`, `"./` + SDKDir + `/assembly`}},
}

// Languages are the languages of New, sorted.
func Languages() []string { return slices.Sorted(maps.Keys(languages)) }

// languageOf returns the language of the plugin in dir, or nil.
func languageOf(dir string) *language {
	for _, name := range Languages() {
		if found, err := filepath.Glob(filepath.Join(dir, languages[name].mark)); err == nil && len(found) > 0 {
			return languages[name]
		}
	}
	return nil
}

func (l *language) read(name string) ([]byte, error) {
	return bulkhead.SDK.ReadFile(path.Join(l.root, name))
}

func (l *language) adapt(code []byte) []byte {
	if l.imports[0] == "" {
		return code
	}
	return bytes.ReplaceAll(code, []byte(l.imports[0]), []byte(l.imports[1]))
}

// sdk are the files of the SDK's copy.
func (l *language) sdk(version string) files {
	out := files{}
	isGo := l.root == "sdk"
	// Walking what is embedded cannot fail.
	_ = fs.WalkDir(bulkhead.SDK, l.root, func(name string, d fs.DirEntry, err error) error {
		rest := strings.TrimPrefix(strings.TrimPrefix(name, l.root), "/")
		switch {
		case err != nil:
			return err
		case d.IsDir() && (isGo && (l.foreign(rest) || slices.Contains(tools, rest)) || rest == "hello"):
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		data, err := bulkhead.SDK.ReadFile(name)
		if rest == "Cargo.toml" {
			data = withoutMembers(data)
		}
		if isGo {
			rest = "sdk/" + rest
		}
		out.add(rest, data)
		return err
	})
	for target, source := range map[string]string{"LICENSE": "LICENSE", "manifest.schema.json": "sdk/manifest/schema.json"} {
		data, _ := bulkhead.SDK.ReadFile(source) // which is embedded
		out.add(target, data)
	}
	out.add("VERSION", fmt.Appendf(nil, "The SDK of bulkhead %s. Do not change it: `bulkhead plugin sdk` replaces this directory.\n", version))
	if isGo {
		out.add("go.mod", fmt.Appendf(nil, "module %s\n\ngo %s\n", module, goVersion))
	}
	return out
}

// tools are directories of the Go SDK that plugins do not import.
var tools = []string{"conformance", "pack"}

// foreign reports whether a directory of the Go SDK is the SDK of another language.
func (l *language) foreign(dir string) bool {
	return slices.ContainsFunc(Languages(), func(name string) bool { return languages[name] != l && languages[name].root == l.root+"/"+dir })
}

// withoutMembers removes the workspace's members, which are not in the copy.
func withoutMembers(cargo []byte) []byte {
	lines := strings.Split(string(cargo), "\n")
	return []byte(strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "members ") }), "\n"))
}

// UpdateSDK replaces the SDK's copy in the plugin's directory by that of this program. After
// an error the old copy is there, or its name says where.
func UpdateSDK(dir, version string) error {
	l := languageOf(dir)
	if l == nil {
		return fmt.Errorf("%s has no plugin: there is neither go.mod, Cargo.toml, index.ts nor a .c file", dir)
	}
	target := filepath.Join(dir, SDKDir)
	made, err := write(target, l.sdk(version))
	if err != nil {
		return err
	}
	old := made + ".old"
	switch err := os.Rename(target, old); {
	case err == nil:
	case os.IsNotExist(err):
		old = ""
	default:
		_ = os.RemoveAll(made) // err says what went wrong
		return err
	}
	if err := os.Rename(made, target); err != nil {
		return fmt.Errorf("%w; the earlier copy is %s", err, old)
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(old)
}
