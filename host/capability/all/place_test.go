package all

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the module's root.
const root = "../../.."

// exceptions are the files that name a capability although they are not its own:
// a path, or the directory above it, the capability and the reason.
var exceptions = []struct{ path, capability, reason string }{
	{"cmd/bulkhead/policy_explain.go", "helm", "examples of questions in --help"},
	{"cmd/bulkhead/policy_explain.go", "azure", "examples of questions in --help"},
	{"cmd/bulkhead/directory.go", "exec", "what becomes of another console's permission for pods/exec, in --help"},
	{"host/directory/kobs", "exec", "another console's permission for pods/exec"},
	{"host/authz/health.go", "kube", "a question that the rules must be able to decide"},
	{"host/authn", "git", "GitHub, a login method"},
	{"host/internal/mutants/list.go", "git", "the directory of a work tree's history, which has no packages"},
	{"host/capability/git/gittest", "exec", "the option of git that names the directory of its programs"},
	{"host/cluster/examine.go", "git", "a field of the API server's answer about its version"},
	{"host/cluster", "exec", "the API server's subresource of pods, and its protocol"},
	{"host/cluster", "kube", "client-go's words, such as KubeConfig"},
	{"host/capability/helm", "kube", "helm's requests of the API server are put to policy as kube's, and helm has a package of that name"},
	{"host/capability/pods", "exec", "its alias, and the API server's subresource of pods"},
	{"host/capability/pods", "kube", "what a selection of pods reads is put to policy as kube's"},
	{"cmd/bulkhead/internal/support/support.go", "azure", "environment variables that a support bundle names"},
	{"host/cluster", "helm", "releases, which are Secrets that one shared watch follows"},
	{"host/refusal.go", "exec", "the texts of refusals and their cures, for people"},
	{"host/refusal.go", "helm", "the texts of refusals and their cures, for people"},
	{"host/refusal.go", "kube", "the texts of refusals and their cures, for people"},
	{"host/internal/child/pair_unix.go", "exec", "close on exec, of the operating system"},
}

// A capability is described in its own folder and listed in all.go. Other code of
// the host and of its command learns of it from the catalog: whoever adds one edits
// nothing else.
func TestACapabilityIsDescribedInOnePlace(t *testing.T) {
	// "http" is the word for the protocol, the scheme and the standard library's package
	// everywhere: for it, the imports alone are looked at, by TestImportsPointDownwards. "pods" is Kubernetes' own word for its resource.
	names := slices.DeleteFunc(new(Config).Catalog().Names(), func(name string) bool { return name == "http" || name == "pods" })
	used := make([]bool, len(exceptions))
	files := 0
	for _, dir := range []string{"cmd", "host", "policies"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			file, _ := filepath.Rel(root, path)
			file = filepath.ToSlash(file)
			if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || file == "host/capability/all/all.go" {
				return nil
			}
			files++
			found := words(t, path)
			for _, name := range names {
				if !found[name] || strings.HasPrefix(file, "host/capability/"+name+"/") {
					continue
				}
				excepted := false
				for i, e := range exceptions {
					if e.capability == name && (file == e.path || strings.HasPrefix(file, e.path+"/")) {
						excepted, used[i] = true, true
					}
				}
				if !excepted {
					t.Errorf("%s names the capability %q; its kind (host/capability/%s) can say what is needed here", file, name, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range exceptions {
		if !used[i] {
			t.Errorf("%s does not name the capability %q: remove the exception", e.path, e.capability)
		}
	}
	if files < 100 {
		t.Errorf("%d files were read, which is not the host", files)
	}
}

var (
	letters = regexp.MustCompile(`[A-Za-z]+`)
	camel   = regexp.MustCompile(`[A-Z]?[a-z]+|[A-Z]+`)
)

// words are those of the file's string literals and identifiers, in lower case. Of
// its imports only the host's capabilities count, and what is called exec because
// it is of os/exec does not.
func words(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found, ofOS := map[string]bool{}, false
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		ofOS = ofOS || p == "os/exec"
		if _, name, ok := strings.Cut(p, "/host/capability/"); ok {
			found[strings.Split(name, "/")[0]] = true
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "exec" && ofOS {
				return false
			}
		case *ast.Ident:
			for _, w := range camel.FindAllString(n.Name, -1) {
				found[strings.ToLower(w)] = true
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				for _, w := range letters.FindAllString(n.Value, -1) {
					found[strings.ToLower(w)] = true
				}
			}
		}
		return true
	})
	return found
}
