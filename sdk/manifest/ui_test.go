package manifest

import (
	"bytes"
	"maps"
	"strings"
	"testing"
)

func withPage(t testing.TB, files UIFiles) []byte {
	t.Helper()
	packed, err := EmbedUI(module([]byte{5, 3, 1, 0, 1}, custom("other", "kept")), files)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func TestAPageIsExtractedAsItWasEmbedded(t *testing.T) {
	m := &Manifest{UI: &UI{Title: "Shops", Icon: "icon.svg"}}
	files := UIFiles{"index.js": []byte("let a"), "index.css": {}, "icon.svg": []byte("<svg/>"), "lib/table.min.js": []byte("let b")}
	packed := withPage(t, files)
	if again := withPage(t, files); !bytes.Equal(packed, again) {
		t.Error("the same page is packed in two ways")
	}
	got, err := ExtractUI(packed, m)
	if err != nil || !maps.EqualFunc(got, files, bytes.Equal) {
		t.Fatalf("%v, %v", got, err)
	}
	if bare, err := EmbedUI(packed, nil); err != nil || bytes.Contains(bare, []byte("bui1")) || !bytes.Contains(bare, []byte("kept")) {
		t.Errorf("without its page the module is %q, %v", bare, err)
	}
	clear(packed)
	if string(got["index.js"]) != "let a" {
		t.Error("the files share memory with the module")
	}
	if got, err := ExtractUI(module(), &Manifest{}); got != nil || err != nil {
		t.Errorf("a plugin without a page has %v, %v", got, err)
	}
}

func TestAPageThatIsNotAsItsManifestSaysIsRefused(t *testing.T) {
	script := []byte("let a")
	many := UIFiles{"index.js": script}
	for i := range MaxUIFiles {
		many["a/"+strings.Repeat("b", i+1)+".js"] = nil
	}
	for _, c := range []struct {
		why   string
		ui    *UI
		files UIFiles
		want  string
	}{
		{"no entry in the manifest", nil, UIFiles{"index.js": script}, "ui: is missing"},
		{"no files", &UI{}, nil, "has no files of a page"},
		{"no script", &UI{}, UIFiles{"other.js": script}, "no index.js"},
		{"an empty script", &UI{}, UIFiles{"index.js": nil}, "no index.js"},
		{"a document", &UI{}, UIFiles{"index.js": script, "index.html": script}, "index.html: the kinds of files"},
		{"a path upwards", &UI{}, UIFiles{"index.js": script, "../a.js": script}, "is not the name of a file"},
		{"capitals", &UI{}, UIFiles{"index.js": script, "A.js": script}, "is not the name of a file"},
		{"a hidden file", &UI{}, UIFiles{"index.js": script, ".a.js": script}, "is not the name of a file"},
		{"a name of the host's", &UI{}, UIFiles{"index.js": script, "bulkhead.js": script}, "the names bulkhead.*"},
		{"too much", &UI{}, UIFiles{"index.js": make([]byte, MaxUIBytes)}, "the limit is 4194304"},
		{"too many", &UI{}, many, "129 files"},
		{"no icon", &UI{Icon: "icon.svg"}, UIFiles{"index.js": script}, `no file "icon.svg"`},
	} {
		if err := c.files.Check(c.ui); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.why, err, c.want)
		}
	}
}

func TestASectionThatIsNoPageIsRefused(t *testing.T) {
	m := &Manifest{UI: &UI{Title: "a"}}
	file := func(name, body string) string {
		return string([]byte{byte(len(name)), 0, byte(len(body)), 0, 0, 0}) + name + body
	}
	for why, section := range map[string]string{
		"nothing":              "",
		"another form":         "bui2" + file("index.js", "a"),
		"half a header":        "bui1\x01\x00\x01",
		"past the end":         "bui1\x05\x00\xff\xff\xff\xffindex",
		"a name past the end":  "bui1\xff\xff\x00\x00\x00\x00index",
		"twice":                "bui1" + file("index.js", "a") + file("index.js", "b"),
		"not in order":         "bui1" + file("index.js", "a") + file("a.js", "b"),
		"a file without name":  "bui1" + file("", "a"),
		"something at the end": "bui1" + file("index.js", "a") + "x",
	} {
		if got, err := ExtractUI(module(custom(UISection, section)), m); err == nil {
			t.Errorf("%s: %v", why, got)
		}
	}
	one := custom(UISection, "bui1"+file("index.js", "a"))
	if _, err := ExtractUI(module(one, one), m); err == nil || !strings.Contains(err.Error(), "2 custom sections") {
		t.Error(err)
	}
}

func TestAManifestsPageIsChecked(t *testing.T) {
	routes := []Route{{Name: "list"}, {Name: "chat", Kind: Socket}}
	for want, u := range map[string]UI{
		`ui.title: ""`:                     {},
		`ui.title: "a\nb"`:                 {Title: "a\nb"},
		`ui.icon: "../a.svg"`:              {Title: "a", Icon: "../a.svg"},
		`ui.icon: "a.js"`:                  {Title: "a", Icon: "a.js"},
		`ui.routes[0]: there is no`:        {Title: "a", Routes: []string{"absent"}},
		`ui.routes[0]: "chat" is a socket`: {Title: "a", Routes: []string{"chat"}},
		`ui.routes[1]: "list" is listed`:   {Title: "a", Routes: []string{"list", "list"}},
	} {
		var p problems
		u.validate(&p, routes)
		if len(p) != 1 || !strings.Contains(p[0].Error(), want) {
			t.Errorf("%v, want %q", p, want)
		}
	}
	var p problems
	u := UI{Title: "Läden", Icon: "a/icon.svg", Routes: []string{"list"}}
	if u.validate(&p, routes); len(p) > 0 {
		t.Error(p)
	}
}

func FuzzPage(f *testing.F) {
	f.Add([]byte("bui1\x08\x00\x01\x00\x00\x00index.jsa"))
	f.Add([]byte("bui1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := decodeUI(data)
		if err == nil && !bytes.Equal(files.encode(), data) {
			t.Errorf("%q is read as %v", data, files)
		}
	})
}
