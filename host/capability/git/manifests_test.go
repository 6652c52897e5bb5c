package git

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/git/gittest"
)

// shown writes what a path declares as FILE:LINE KIND/NAME.
func (g *gotManifests) shown() string {
	var all []string
	for _, d := range g.Objects {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if json.Unmarshal(d.Object, &o) != nil {
			return "not JSON"
		}
		all = append(all, fmt.Sprintf("%s:%d %s/%s", d.File, d.Line, o.Kind, o.Metadata.Name))
	}
	for _, p := range g.Problems {
		all = append(all, fmt.Sprintf("%s:%d ! %s", p.File, p.Line, p.Text))
	}
	return strings.Join(all, "\n")
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n"
}

func TestManifestsAreDocumentsAndLists(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{
		"deploy/a.yaml":          "# first\n---\n" + configMap("one") + "---\n\n# comment\n" + configMap("two") + "---\n",
		"deploy/sub/list.yml":    "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n- {apiVersion: v1, kind: Service, metadata: {name: t}}\n",
		"deploy/sub/one.json":    `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"n": 9007199254740993}}`,
		"deploy/README.md":       "no manifest: [",
		"broken/a.yaml":          configMap("fine"),
		"broken/b.yaml":          configMap("fine") + "---\na: [\n",
		"broken/c.yaml":          "kind: ConfigMap\n---\n- a\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x}\n",
		"broken/d.yaml":          lfsText,
		"broken/e.yaml":          configMap("x") + "data: {a: 1, a: 2}\n",
		"chart/Chart.yaml":       "name: x\n",
		"chart/templates/a.yaml": "{{ broken }}",
	})
	r := open(t, sourceAt(gittest.Serve(t, repo.Root), "shop", "/shop.git"))
	got := get[gotManifests](r, "git://shop?path=deploy&as=manifests")
	want := "deploy/a.yaml:3 ConfigMap/one\ndeploy/a.yaml:9 ConfigMap/two\ndeploy/sub/list.yml:1 Secret/s\ndeploy/sub/list.yml:1 Service/t\ndeploy/sub/one.json:1 Pod/p"
	if got.shown() != want || got.Form != formManifests || len(got.Commit) != 40 {
		t.Errorf("got %s\n%s", got.Form, got.shown())
	}
	if !strings.Contains(string(got.Objects[4].Object), "9007199254740993") {
		t.Errorf("a number changed: %s", got.Objects[4].Object)
	}
	one := get[gotManifests](r, "git://shop?path=deploy/sub/one.json&as=manifests")
	if one.shown() != "deploy/sub/one.json:1 Pod/p" {
		t.Errorf("got %s", one.shown())
	}
	broken := get[gotManifests](r, "git://shop?path=broken&as=manifests")
	for _, line := range []string{
		"broken/b.yaml:5 ! is not YAML", "broken/c.yaml:1 ! has no apiVersion", "broken/c.yaml:3 ! is not a mapping", "broken/c.yaml:5 ! ConfigMap has no metadata.name",
		"broken/d.yaml:0 ! is a pointer to a file in Git LFS", "broken/e.yaml:4 ! ",
	} {
		if !strings.Contains(broken.shown(), line) {
			t.Errorf("%q is not in\n%s", line, broken.shown())
		}
	}
	if len(broken.Objects) != 0 {
		t.Errorf("objects beside problems: %s", broken.shown())
	}
	if chart := get[gotManifests](r, "git://shop?path=chart&as=manifests"); chart.Form != formChart || len(chart.Objects) != 0 {
		t.Errorf("got %+v", chart)
	}
	r.refused("git://shop?path=gone&as=manifests", host.NotFound, "gone")
}

func TestAKustomizationIsBuilt(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{
		"base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": configMap("web"),
		"overlays/prod/kustomization.yaml": "resources: [../../base]\nnamePrefix: prod-\nnamespace: shop\nconfigMapGenerator:\n- name: more\n  files: [settings.txt]\n  options: {disableNameSuffixHash: true}\n",
		"overlays/prod/settings.txt":       "a=b",
	})
	r := open(t, sourceAt(gittest.Serve(t, repo.Root), "shop", "/shop.git"))
	got := get[gotManifests](r, "git://shop?path=overlays/prod&as=manifests")
	if got.Form != formKustomization || got.shown() != "overlays/prod/kustomization.yaml:0 ConfigMap/prod-web\noverlays/prod/kustomization.yaml:0 ConfigMap/prod-more" {
		t.Errorf("got %s\n%s", got.Form, got.shown())
	}
	if text := string(got.Objects[1].Object); !strings.Contains(text, `"settings.txt":"a=b"`) || !strings.Contains(text, `"namespace":"shop"`) {
		t.Errorf("got %s", text)
	}
}

func TestAKustomizationStaysInTheRepository(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	w := gittest.Serve(t, repo.Root)
	var reached atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		_, _ = rw.Write([]byte(configMap("remote")))
	}))
	t.Cleanup(plain.Close)
	files := map[string]string{"plain/a.yaml": configMap("a")}
	for name, text := range map[string]string{
		"http":   "resources: [\"" + plain.URL + "/a.yaml\"]",
		"https":  "resources: [\"" + w.URL + "/shop.git/a.yaml\"]",
		"git":    "resources: [\"" + w.URL + "/shop.git//plain?ref=main\"]",
		"github": "resources: [github.com/example/x]",
		"scp":    "resources: [\"git@example.com:shop/x.git\"]",
		"file":   "resources: [/etc/passwd]",
		"above":  "resources: [../../../../etc/passwd]",
		"read":   "configMapGenerator: [{name: x, files: [../plain/a.yaml]}]",
		"chart":  "helmCharts: [{name: x, repo: \"" + w.URL + "\"}]",
		"exec":   "generators: [g.yaml]",
		"broken": "resources: [",
	} {
		files[name+"/kustomization.yaml"] = text + "\n"
	}
	files["exec/g.yaml"] = "apiVersion: x/v1\nkind: X\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: /bin/true}\n"
	repo.Commit(files)
	r := open(t, sourceAt(w, "shop", "/shop.git"))
	for name := range files {
		name, ok := strings.CutSuffix(name, "/kustomization.yaml")
		if !ok {
			continue
		}
		before := w.Lists.Load()
		got := get[gotManifests](r, "git://shop?path="+name+"&as=manifests")
		if len(got.Problems) != 1 || len(got.Objects) != 0 || got.Problems[0].File != name+"/kustomization.yaml" {
			t.Errorf("%s: got %s", name, got.shown())
		} else if remote := strings.HasPrefix(name, "http") || name == "git" || name == "github" || name == "scp"; remote != strings.Contains(got.shown(), "names something outside the repository") {
			t.Errorf("%s: got %s", name, got.shown())
		}
		if w.Lists.Load() != before+1 {
			t.Errorf("%s: the server was asked %d times", name, w.Lists.Load()-before)
		}
	}
	if reached.Load() != 0 {
		t.Errorf("%d downloads", reached.Load())
	}
}
