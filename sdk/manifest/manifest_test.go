package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

const good = `{
  "name": "gitops",
  "version": "1.2.3-rc.1",
  "description": "helm",
  "routes": [
    {"name": "releases", "method": "GET", "path": "/releases/{cluster}", "action": "helm.read",
     "resource": {"cluster": "path:cluster", "namespace": "query:ns"}, "required": ["cluster"]},
    {"name": "upgrade", "method": "POST", "path": "/upgrade", "action": "helm.upgrade", "mutates": true},
    {"name": "shell", "kind": "socket", "method": "GET", "path": "/", "action": "shell", "mutates": true},
    {"name": "watch", "kind": "events", "method": "GET", "path": "/", "action": "read"}
  ],
  "capabilities": [{"name": "helm", "reason": "reads releases"}, {"name": "kube", "reason": "shows pods", "optional": true}],
  "limits": {"memoryMiB": 64, "timeout": "1m30s", "bodyBytes": 65536}
}`

func TestAGoodManifestKeepsEveryField(t *testing.T) {
	m, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if m.Routes[0].Kind != Unary {
		t.Errorf("the default kind is %q, want unary", m.Routes[0].Kind)
	}
	if got := time.Duration(m.Limits.Timeout); got != 90*time.Second {
		t.Errorf("timeout is %v", got)
	}
	again, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(again); err != nil {
		t.Errorf("written and parsed again: %v", err)
	}
	if !m.Capabilities[1].Optional || m.Routes[0].Resource["namespace"] != "query:ns" {
		t.Errorf("fields were lost: %+v", m)
	}
}

// route makes a manifest whose one route has the fields given, in place of
// sound ones.
func route(fields string) string {
	r := map[string]any{"name": "a", "method": "GET", "path": "/a", "action": "read"}
	var over map[string]any
	if err := json.Unmarshal([]byte("{"+fields+"}"), &over); err != nil {
		panic(err)
	}
	for k, v := range over {
		r[k] = v
	}
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return `{"name":"x","version":"1.0.0","routes":[` + string(text) + `]}`
}

func capabilities(list string) string {
	return strings.TrimSuffix(route(""), "}") + `,"capabilities":` + list + `}`
}

// foreign is a manifest of an ABI, with further fields.
func foreign(abi, fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return strings.TrimSuffix(route(""), "}") + `,"abi":"` + abi + `"` + fields + `}`
}

func limits(fields string) string {
	return strings.TrimSuffix(route(""), "}") + `,"limits":{` + fields + `}}`
}

func TestABadManifestIsRefusedNamingTheFieldOrLine(t *testing.T) {
	tooMany := make([]string, MaxRoutes+1)
	for i := range tooMany {
		tooMany[i] = fmt.Sprintf(`{"name":"r%d","method":"GET","path":"/%d","action":"read"}`, i, i)
	}
	two := func(a, b string) string {
		return `{"name":"x","version":"1.0.0","routes":[` + a + `,` + b + `]}`
	}
	for _, c := range []struct{ why, text, want string }{
		{"empty", ``, "EOF"},
		{"no object", `[]`, "line 1"},
		{"syntax", "{\n\"name\": oops}", "line 2"},
		{"wrong type", "{\n\n\"name\": 7}", "line 3"},
		{"cut off", "{\n\"name\":", "EOF"},
		{"unknown key", `{"nmae":"x"}`, `"nmae"`},
		{"something follows", route("") + "{}", "follows"},
		{"too large", strings.Repeat(" ", MaxSize+1), "limit"},
		{"name", strings.Replace(route(""), `"name":"x"`, `"name":"X"`, 1), "manifest: name: "},
		{"name ends in dash", strings.Replace(route(""), `"name":"x"`, `"name":"x-"`, 1), "manifest: name: "},
		{"version", strings.Replace(route(""), `1.0.0`, `v1.0`, 1), "manifest: version: "},
		{"no routes", `{"name":"x","version":"1.0.0"}`, "manifest: routes: "},
		{"many routes", `{"name":"x","version":"1.0.0","routes":[` + strings.Join(tooMany, ",") + `]}`, "manifest: routes: are more than 256"},
		{"route name", route(`"name":"A b"`), "routes[0].name"},
		{"route name twice", two(`{"name":"a","method":"GET","path":"/a","action":"read"}`, `{"name":"a","method":"GET","path":"/b","action":"read"}`), "routes[1].name"},
		{"kind", route(`"kind":"stream"`), "routes[0].kind"},
		{"method", route(`"method":"get"`), "routes[0].method"},
		{"socket by POST", route(`"kind":"socket","method":"POST"`), "routes[0].method"},
		{"mutating GET", route(`"action":"write","mutates":true`), "routes[0].method"},
		{"action form", route(`"action":"Helm.read"`), "routes[0].action"},
		{"read that mutates", route(`"method":"POST","mutates":true`), "routes[0].action"},
		{"write that does not", route(`"action":"upgrade"`), "routes[0].action"},
		{"action that only looks like read", route(`"action":"spread"`), "routes[0].action"},
		{"path without slash", route(`"path":"a"`), "routes[0].path"},
		{"empty path", route(`"path":""`), "routes[0].path"},
		{"dots", route(`"path":"/a/../b"`), "routes[0].path"},
		{"empty segment", route(`"path":"/a//b"`), "routes[0].path"},
		{"encoded slash", route(`"path":"/a%2fb"`), "routes[0].path"},
		{"half a parameter", route(`"path":"/{id"`), "routes[0].path"},
		{"parameter twice", route(`"path":"/{id}/{id}"`), "routes[0].path"},
		{"same entry", two(`{"name":"a","method":"GET","path":"/{x}","action":"read"}`, `{"name":"b","method":"GET","path":"/{y}","action":"read"}`), "routes[1].path"},
		{"dimension", route(`"resource":{"colour":"query:c"}`), "routes[0].resource.colour"},
		{"source", route(`"resource":{"cluster":"header:x"}`), "routes[0].resource.cluster"},
		{"parameter not in path", route(`"resource":{"cluster":"path:id"}`), "routes[0].resource.cluster"},
		{"required", route(`"required":["cluster"]`), "routes[0].required"},
		{"capability name", capabilities(`[{"name":"Helm","reason":"r"}]`), "capabilities[0].name"},
		{"capability twice", capabilities(`[{"name":"helm","reason":"r"},{"name":"helm","reason":"r"}]`), "capabilities[1].name"},
		{"no reason", capabilities(`[{"name":"helm"}]`), "capabilities[0].reason"},
		{"memory", limits(`"memoryMiB":5000`), "limits.memoryMiB"},
		{"negative time", limits(`"timeout":"-1s"`), "limits.timeout"},
		{"time form", limits(`"timeout":"soon"`), "soon"},
		{"body", limits(`"bodyBytes":-1`), "limits.bodyBytes"},
		{"abi", foreign("wasm", ``), "manifest: abi: "},
		{"abi with health", foreign("wasi-command", `"health":"a"`), "manifest: health: "},
		{"abi with a capability", foreign("wasi-command", `"capabilities":[{"name":"http","reason":"r"}]`), "capabilities[0].name"},
		{"abi with another capability", foreign("http-wasm", `"capabilities":[{"name":"kube","reason":"r"}]`), "capabilities[0].name"},
		{"extism without entry", foreign("extism", ``), "routes[0].entry"},
		{"entry elsewhere", route(`"entry":"f"`), "routes[0].entry"},
	} {
		t.Run(c.why, func(t *testing.T) {
			m, err := Parse([]byte(c.text))
			if err == nil {
				t.Fatalf("was accepted: %+v", m)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "manifest: ") {
				t.Errorf("error is %q, want it to name %q", err, c.want)
			}
		})
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	_, err := Parse([]byte(`{"name":"X","version":"1","routes":[{"name":"a","method":"GET","path":"a","action":"write"}]}`))
	for _, field := range []string{"name", "version", "routes[0].path", "routes[0].action"} {
		if !strings.Contains(fmt.Sprint(err), "manifest: "+field+": ") {
			t.Errorf("%q is missing in:\n%v", field, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(route("")))
	f.Add([]byte(capabilities(`[{"name":"helm","reason":"r"}]`)))
	f.Add([]byte(`{"routes":[{"path":"/{a}/{b}"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(text); err != nil && len(text) <= MaxSize {
			t.Fatalf("accepted once, then refused: %v\n%s", err, text)
		}
	})
}
