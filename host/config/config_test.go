package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type sample struct {
	Listen string `json:"listen"`
	Inner
	Store *store `json:"store,omitempty"`
	Parts []part `json:"parts,omitempty"`
	Note  string `json:"-"`
}

type Inner struct {
	Helm store `json:"helm,omitzero"`
}

type store struct {
	Dir string `json:"dir,omitempty"`
	Max int    `json:"max,omitempty"`
}

type part struct {
	Name string            `json:"name"`
	Tags []string          `json:"tags,omitempty"`
	Free map[string]string `json:"free,omitempty"`
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each problem is a line that begins with where its field was given.
func TestProblemsNameTheirPlace(t *testing.T) {
	path := file(t, "listen: x\nhelm:\n  dir: z\nparts:\n  - {name: a}\n  - name: b\n    tags: [one,\n      two]\n")
	var c sample
	f, err := Read(path, []string{"BULKHEAD_STORE_MAX=3"}, &c)
	if err != nil || c.Store == nil || c.Store.Max != 3 || c.Helm.Dir != "z" {
		t.Fatalf("%+v, %v", c, err)
	}
	err = f.Locate(Check("", func(bad *Problems) {
		bad.Add("listen", "%q is taken", c.Listen)
		bad.At("helm").Add("", "is closed: %w", fs.ErrNotExist)
		parts := bad.At("parts")
		parts.Index("", 1).At("tags").Index("", 1).Add("", "is unknown")
		parts.Index("", 0).Add("free.x", "is missing")
		bad.At("store").Add("max", "is too small")
		bad.Add("", "does not fit")
	}))
	want := []string{
		path + `: line 1: listen: "x" is taken`,
		path + ": line 2: helm: is closed: file does not exist",
		path + ": line 8: parts[1].tags[1]: is unknown",
		path + ": line 5: parts[0].free.x: is missing",
		"BULKHEAD_STORE_MAX: store.max: is too small",
		path + ": does not fit",
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("%s", err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the error that a problem wraps is lost")
	}
	if err := Check("parts", func(*Problems) {}); err != nil {
		t.Error(err)
	}
	if At("x", nil) != nil || At("x", fs.ErrExist).Error() != "x: file already exists" || f.Locate(nil) != nil {
		t.Error("no error has a place, or one has none")
	}
}

// What is read is what was written, and nothing is passed over.
func TestWhatIsNoKeyIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"lissten: x":              `unknown field "lissten"`,
		"store: {mox: 1}":         `unknown field "store.mox"`,
		"listen: x\nlisten: y":    `line 2: has the key "listen" twice`,
		"listen: x\n---\nlist: y": "line 3: a second document begins",
		"store: [":                "line 1",
		"note: x":                 `unknown field "note"`,
	} {
		if _, err := Read(file(t, text), nil, &sample{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	path := file(t, "listen: x")
	for _, variable := range []string{"BULKHEAD_STORE={", "BULKHEAD_STORE_MAX=many", "BULKHEAD_PARTS=[{nam: x}]"} {
		name, _, _ := strings.Cut(variable, "=")
		if _, err := Read(path, []string{variable}, &sample{}); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", variable, err)
		}
	}
	f, err := Read(path, []string{"BULKHEAD_NOTE=x", "BULKHEAD_=x", "BULKHEAD_SERVICE_HOST=10.0.0.1", "BULKHEAD_LISTEN=y"}, &sample{})
	if err != nil || !slices.Equal(f.Ignored, []string{"BULKHEAD_", "BULKHEAD_NOTE"}) {
		t.Errorf("%+v, %v", f, err)
	}
	if !f.Has("listen") || f.Has("store.dir") {
		t.Error("Has does not know what was given")
	}
	if _, err := Read(path+"x", nil, &sample{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestDifferencesAreFieldsByName(t *testing.T) {
	from := sample{Listen: "x", Parts: []part{{Name: "a", Tags: []string{"1"}, Free: map[string]string{"k": "secret"}}, {Name: "b"}}}
	to := sample{Listen: "x", Store: &store{Max: 1}, Parts: []part{{Name: "c", Free: map[string]string{"k": "secret"}}, {Name: "a", Tags: []string{"1", "2"}, Free: map[string]string{"k": "other"}}}}
	hide := func(path string) bool { return strings.HasSuffix(path, ".free") }
	want := []Change{
		{"parts[a].free", "", ""},
		{"parts[a].tags", `["1"]`, `["1","2"]`},
		{"parts[b]", `{"name":"b"}`, ""},
		{"parts[c]", "", `{"free":"…","name":"c"}`},
		{"store", "", `{"max":1}`},
	}
	if got := Difference(from, to, hide); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := Difference(from, from, hide); len(got) != 0 {
		t.Errorf("a configuration differs from itself in %q", got)
	}
	if got := Difference(sample{}, from, hide); len(got) != 3 || got[1].Path != "parts[a]" || strings.Contains(got[1].New, "secret") {
		t.Errorf("a list that is new is %q", got)
	}
	swapped := sample{Listen: "x", Parts: []part{from.Parts[1], from.Parts[0]}}
	if got := Difference(from, swapped, nil); !slices.Equal(got, []Change{{"parts", "a, b", "b, a"}}) {
		t.Errorf("another order is %q", got)
	}
}

func TestSectionsHaveDigests(t *testing.T) {
	a, b := Sections(sample{Listen: "x", Store: &store{Max: 1}}), Sections(sample{Listen: "y", Store: &store{Max: 1}})
	if a["store"] == "" || a["store"] != b["store"] || a["listen"] == b["listen"] || a["parts"] != "" {
		t.Errorf("%v, %v", a, b)
	}
	if Digest("a", "b") == Digest("ab") || Digest(store{Max: 1}) != Digest(store{Max: 1}) {
		t.Error("digests do not tell values apart")
	}
}
