package artifact

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// source is a source of the fixture's registry.
func (f *fixture) source(below string, v Verification, names ...string) PackageSource {
	return PackageSource{Place: "oci://" + f.host + below, Plugins: names, Verification: v}
}

// What a tag meant when it was resolved is what every later fetch returns, and nothing
// comes from another place, under another name or by another signer than the
// configuration says.
func TestAReferenceIsInstalledAsTheConfigurationSays(t *testing.T) {
	f := newFixture(t)
	ops, other := f.key("ops"), f.key("other")
	s, _ := stored(t, f.path("store"), 0)
	first := module(t, "echo", "1.0.0")
	tag := f.push(first, "plugins/echo:v1")
	f.sign(tag, ops)
	f.sign(f.push(module(t, "echo", "6.6.6"), "plugins/foreign:v1"), other)
	f.push(first, "elsewhere/echo:v1")
	p := &Packages{Sources: []PackageSource{f.source("/plugins", f.by("ops"), "echo", "greeter"), {Place: "oci-layout:/srv/carried", Plugins: []string{"*"}, Verification: f.by("ops")}}}
	p.Problems(func(field, text string) { t.Errorf("%s %s", field, text) })

	source := "oci://" + f.host + "/plugins/echo:v1"
	a, err := s.Resolve(t.Context(), p, "echo", source, "")
	if err != nil || a.Digest != digest.FromBytes(first).String() || a.Reference.String() != source+"@"+string(tag.digest) || len(a.Identities) != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	f.sign(f.push(module(t, "echo", "1.0.1"), "plugins/echo:v1"), ops) // the tag is moved
	replica, _ := stored(t, f.path("replica"), 0)
	again, err := replica.Resolve(t.Context(), p, "echo", a.Reference.String(), a.Digest)
	if err != nil || again.Digest != a.Digest || again.Cached {
		t.Errorf("on another replica: %+v, %v", again, err)
	}
	f.down.Store(true)
	if again, err = replica.Resolve(t.Context(), p, "echo", a.Reference.String(), a.Digest); err != nil || !again.Cached {
		t.Errorf("without the registry: %+v, %v", again, err)
	}
	f.down.Store(false)

	refused := map[string]error{}
	for what, c := range map[string]struct{ name, reference, digest string }{
		"another place":                   {"echo", "oci://" + f.host + "/elsewhere/echo:v1", ""},
		"a place that begins alike":       {"echo", "oci://" + f.host + "/plugins-of-others/echo:v1", ""},
		"another registry":                {"echo", "oci://registry.example.com/plugins/echo:v1", ""},
		"another name":                    {"gitops", source, ""},
		"another signer":                  {"echo", "oci://" + f.host + "/plugins/foreign:v1", ""},
		"a tag that moved from a digest":  {"echo", source, a.Digest},
		"a file":                          {"echo", "/etc/passwd", ""},
		"a layout by a relative path":     {"echo", "oci-layout:carried:v1", ""},
		"a layout by a path that climbs":  {"echo", "oci-layout:/srv/carried/../other:v1", ""},
		"no reference":                    {"echo", "", ""},
		"an unknown scheme":               {"echo", "ftp://example.com/echo.wasm", ""},
		"no catalogue":                    {"echo", "catalog:echo", ""},
		"a name that no catalogue can be": {"echo", "catalog:../echo", ""},
	} {
		if _, refused[what] = s.Resolve(t.Context(), p, c.name, c.reference, c.digest); refused[what] == nil {
			t.Errorf("%s was accepted", what)
			delete(refused, what)
		}
	}
	web := &Packages{Sources: []PackageSource{{Place: "https://example.com/plugins", Plugins: []string{"*"}, Verification: Verification{Unsigned: true}}}}
	for what, reference := range map[string]string{
		"a URL with a query":         "https://example.com/plugins/echo.wasm?token=sesame",
		"a URL that climbs":          "https://example.com/plugins/../echo.wasm",
		"a URL that climbs, escaped": "https://example.com/plugins/%2e%2e/echo.wasm",
		"a URL with %2f":             "https://example.com/plugins%2f../echo.wasm",
		"a URL with a backslash":     `https://example.com/plugins/..%5c../echo.wasm`,
		"a URL of another port":      "https://example.com:8443/plugins/echo.wasm",
		"a URL of plain http":        "http://127.0.0.1/plugins/echo.wasm",
	} {
		if _, refused[what] = web.Package("echo", reference); refused[what] == nil {
			t.Errorf("%s was accepted", what)
			delete(refused, what)
		}
	}
	for _, reference := range []string{"https://example.com/plugins/echo.wasm", "https://EXAMPLE.com:443/plugins/v1/echo.wasm"} {
		if got, err := web.Package("echo", reference); err != nil || got.Source != reference || !got.Verification.Unsigned {
			t.Errorf("%s: %+v, %v", reference, got, err)
		}
	}
	golden(t, "packages", refused, f.dir)
}

// A name is looked up in all catalogues, and taken from the only one that has it.
func TestAPluginIsFoundInTheCatalogues(t *testing.T) {
	f := newFixture(t)
	ops := f.key("ops")
	s, _ := stored(t, f.path("store"), 0)
	add := func(catalog, name, version string) {
		t.Helper()
		f.sign(f.push(module(t, name, version), "plugins/"+name+":v"+version), ops)
		plugin := Package{Source: "oci://" + f.host + "/plugins/" + name + ":v" + version, Verification: f.by("ops")}
		if _, _, err := f.client.AddToCatalog(t.Context(), plugin, f.ref(catalog+":latest"), Access{}); err != nil {
			t.Fatal(err)
		}
		f.sign(f.ref(catalog+":latest"), ops)
	}
	add("ours", "echo", "1.0.0")
	add("ours", "echo", "1.2.0")
	add("ours", "both", "1.0.0")
	add("theirs", "both", "2.0.0")
	p := &Packages{
		Sources:  []PackageSource{f.source("", f.by("ops"), "*")},
		Catalogs: []Package{{Source: f.ref("ours:latest").String(), Verification: f.by("ops")}, {Source: f.ref("theirs:latest").String(), Verification: f.by("ops")}},
	}
	p.Problems(func(field, text string) { t.Errorf("%s %s", field, text) })
	if list := s.Catalogs(t.Context(), p); len(list) != 2 || len(list[0].Entries) != 3 || len(list[1].Entries) != 1 || list[0].Problem+list[1].Problem != "" {
		t.Fatalf("%+v", list)
	}
	for text, version := range map[string]string{"echo": "1.2.0", "echo@1.0.0": "1.0.0"} {
		a, err := s.Resolve(t.Context(), p, "echo", "catalog:"+text, "")
		if err != nil || a.Digest != digest.FromBytes(module(t, "echo", version)).String() || !strings.Contains(a.Reference.String(), "/ours@sha256:") {
			t.Errorf("%s: %+v, %v", text, a, err)
		}
	}
	refused := map[string]error{}
	for what, text := range map[string]string{"two catalogues of one name": "both", "no such plugin": "absent", "no such version": "echo@3.0.0"} {
		_, refused[what] = s.Resolve(t.Context(), p, "echo", "catalog:"+text, "")
	}
	p.Catalogs[1].Verification = Verification{AnyOf: []Identity{{Key: f.path("foreign.pub")}}}
	f.key("foreign")
	_, refused["a catalogue by another signer"] = s.Resolve(t.Context(), p, "echo", "catalog:echo", "")
	if list := s.Catalogs(t.Context(), p); len(list[0].Entries) != 3 || list[1].Problem == "" || len(list[1].Entries) != 0 {
		t.Errorf("%+v", list)
	}
	p.Catalogs, p.Sources = p.Catalogs[:1], nil
	_, refused["a catalogue without a source of its plugins"] = s.Resolve(t.Context(), p, "echo", "catalog:echo", "")
	for what, err := range refused {
		if err == nil {
			t.Fatalf("%s was accepted", what)
		}
	}
	golden(t, "lookup", refused, f.dir)
}

func TestAMistakeInPackagesNamesItsField(t *testing.T) {
	signed := Verification{AnyOf: []Identity{{Key: "ops.pub"}}}
	good := PackageSource{Place: "oci://registry.example.com/plugins", Plugins: []string{"echo"}, Verification: signed}
	with := func(edit func(*PackageSource)) PackageSource { s := good; edit(&s); return s }
	catalog := Package{Source: "oci://registry.example.com/catalog:latest", Verification: signed}
	for want, p := range map[string]Packages{
		".sources[0].place ":                                    {Sources: []PackageSource{with(func(s *PackageSource) { s.Place = "registry.example.com" })}},
		".sources[0].place":                                     {Sources: []PackageSource{with(func(s *PackageSource) { s.Place = "https://ann:sesame@example.com/" })}},
		".sources[0].plugins lists no name":                     {Sources: []PackageSource{with(func(s *PackageSource) { s.Plugins = nil })}},
		".sources[0].plugins[0]":                                {Sources: []PackageSource{with(func(s *PackageSource) { s.Plugins = []string{"Echo"} })}},
		".sources[0].user needs tokenFile":                      {Sources: []PackageSource{with(func(s *PackageSource) { s.User = "ann" })}},
		".sources[0].verification lists no identity":            {Sources: []PackageSource{with(func(s *PackageSource) { s.Verification = Verification{} })}},
		".sources[0].verification.plugin is for signed":         {Sources: []PackageSource{with(func(s *PackageSource) { s.Verification = Verification{Unsigned: true, Plugin: "echo"} })}},
		".sources[1] is for a place and a name that sources[0]": {Sources: []PackageSource{good, with(func(s *PackageSource) { s.Place, s.Plugins = "oci://registry.example.com", []string{"*"} })}},
		".catalogs[0].source is not a catalogue":                {Catalogs: []Package{{Source: "https://example.com/catalog", Verification: signed}}},
		".catalogs[0].verification lists no identity":           {Catalogs: []Package{{Source: catalog.Source}}},
		".catalogs[1].source is that of catalogs[0]":            {Catalogs: []Package{catalog, catalog}},
		".catalogs[0].verification.plugin":                      {Catalogs: []Package{{Source: catalog.Source, Verification: Verification{AnyOf: signed.AnyOf, Plugin: "echo"}}}},
	} {
		var got []string
		p.Problems(func(field, text string) { got = append(got, field+" "+text) })
		if len(got) != 1 || !strings.HasPrefix(got[0], strings.TrimSpace(want)) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, ok := range [][]PackageSource{
		{good, with(func(s *PackageSource) { s.Plugins = []string{"gitops"} })},                     // one place, two names
		{good, with(func(s *PackageSource) { s.Place = "oci://registry.example.com/plugins-two" })}, // two places, one name
		{good, with(func(s *PackageSource) { s.Place = "https://registry.example.com/plugins" })},   // another scheme
		{with(func(s *PackageSource) { s.Place = "oci-layout:carried" }), with(func(s *PackageSource) { s.Place = "oci-layout:other" })},
	} {
		p := Packages{Sources: ok}
		p.Problems(func(field, text string) { t.Errorf("%v: %s %s", ok, field, text) })
	}
}

// However a reference is written, a source allows it only if it is in the source's place.
func FuzzPlace(f *testing.F) {
	for _, s := range []string{"https://example.com/plugins/a", "https://example.com/plugins/../a", "https://example.com/plugins%2f..%2fa", "oci://example.com/plugins/a:v1", "oci-layout:/plugins/a", "//plugins"} {
		f.Add(s)
	}
	p := &Packages{Sources: []PackageSource{
		{Place: "https://example.com/plugins", Plugins: []string{"*"}, Verification: Verification{Unsigned: true}},
		{Place: "oci://example.com/plugins", Plugins: []string{"*"}, Verification: Verification{Unsigned: true}},
		{Place: "oci-layout:/plugins", Plugins: []string{"*"}, Verification: Verification{Unsigned: true}},
	}}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := p.Package("echo", text)
		if err != nil {
			return
		}
		lower := strings.ToLower(got.Source)
		below := false
		for _, place := range []string{"https://example.com/plugins", "https://example.com:443/plugins", "oci://example.com/plugins", "oci-layout:/plugins"} {
			rest, ok := strings.CutPrefix(lower, place)
			below = below || ok && (rest == "" || strings.ContainsAny(rest[:1], "/:@"))
		}
		for _, climbs := range []string{"/../", "/./", "%2f", "%5c", `\`, "?"} {
			below = below && !strings.Contains(lower, climbs)
		}
		if !below {
			t.Error(fmt.Sprintf("%q is allowed as %q", text, got.Source))
		}
	})
}
