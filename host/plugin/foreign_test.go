package plugin_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
)

// public is a module that others have published, at a version.
type public struct {
	module  string // of Go's module proxy, with its version
	file    string // in it; empty: built from source
	digest  string // of file, sha256 in hexadecimal
	command string // the package that is compiled for wasip1, unless there is a file
}

// bytes fetches or builds the module. What cannot be fetched is left out, and in CI that
// is a failure.
func (p public) bytes(t testing.TB) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", p.module)
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	var got struct{ Dir, Error string }
	if json.Unmarshal(out, &got) != nil || got.Dir == "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s cannot be fetched: %v %s", p.module, err, got.Error)
		}
		t.Skipf("LEFT OUT: %s cannot be fetched: %v %s", p.module, err, got.Error)
	}
	file := filepath.Join(got.Dir, p.file)
	if p.file == "" {
		file = filepath.Join(t.TempDir(), "command.wasm")
		build := exec.CommandContext(t.Context(), "go", "build", "-o", file, p.command)
		build.Dir, build.Env = got.Dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-mod=mod -trimpath -buildvcs=false", "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", p.command, err, out)
		}
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(wasm); p.file != "" && hex.EncodeToString(sum[:]) != p.digest {
		t.Fatalf("%s in %s has the digest %x", p.file, p.module, sum)
	}
	return wasm
}

// adopt packs a module with the manifest that adopt drafts for it, in a new file.
func adopt(t testing.TB, wasm []byte, change func(*manifest.Manifest)) (file string) {
	t.Helper()
	found, err := pack.Recognize(wasm)
	if err != nil {
		t.Fatal(err)
	}
	m := found.Draft("adopted")
	if change != nil {
		change(m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file = filepath.Join(dir, "adopted.wasm")
	for name, data := range map[string][]byte{"module.wasm": wasm, "manifest.json": text} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pack.Pack(t.Context(), filepath.Join(dir, "module.wasm"), filepath.Join(dir, "manifest.json"), file, pack.Options{}); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestForeignModules runs modules that others have published for other hosts, unmodified:
// each starts, answers, and answers the next caller from the same fresh state.
func TestForeignModules(t *testing.T) {
	f := newFixtureWith(t, plugin.Limits{MemoryMiB: 128, Fuel: 4e9}, plugin.UserLimits{}, sites{})
	for k, c := range foreignModules {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("adopted-%d", k)
			config := plugin.Config{Name: name, Source: adopt(t, c.public.bytes(t), c.manifest), Config: json.RawMessage(c.config)}
			if c.http {
				config.Grants = everyHost
			}
			err := f.swap(config)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("loaded, or refused with %v; want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			g := f.registry.Get(name)
			for range 2 { // the second one finds nothing of the first
				call := call(t, g, &authority{}, c.method, c.target)
				call.Body, call.Header = []byte(c.body), []abi.Pair{{Name: "Accept", Value: "text/plain"}}
				resp, err := g.Handle(t.Context(), call)
				c.check(t, resp, err)
				call.Release()
			}
		})
	}
}

type foreignModule struct {
	name     string
	public   public
	manifest func(*manifest.Manifest)
	config   string
	http     bool // granted
	refused  string
	method   string
	target   string
	body     string
	check    func(*testing.T, *abi.Response, error)
}

// answers checks that the answer's body contains each of want.
func answers(want ...string) func(*testing.T, *abi.Response, error) {
	return func(t *testing.T, resp *abi.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if resp.Status != 200 || !strings.Contains(string(resp.Body), w) {
				t.Errorf("status %d, body %q, headers %v; want %q", resp.Status, resp.Body, resp.Header, w)
			}
		}
	}
}

// fails checks that the call fails with a status, and an error that contains want.
func fails(status int, want string) func(*testing.T, *abi.Response, error) {
	return func(t *testing.T, resp *abi.Response, err error) {
		t.Helper()
		e, ok := errors.AsType[*host.Error](err)
		if !ok || e.HTTPStatus() != status || !strings.Contains(e.Error(), want) {
			t.Errorf("got %+v, %v; want status %d and %q", resp, err, status, want)
		}
	}
}

const wazero = "github.com/tetratelabs/wazero@v1.12.0"

var foreignModules = []foreignModule{
	{
		name: "WASI: gojq", public: public{module: "github.com/itchyny/gojq@v0.12.17", command: "./cmd/gojq"},
		config: `{"args": ["-c", "{total: (map(.price) | add)}"], "output": "body"}`,
		method: "POST", target: "/", body: `[{"price": 3}, {"price": 4}]`, check: answers(`{"total":7}`),
	}, {
		name: "WASI: gojq with a false program", public: public{module: "github.com/itchyny/gojq@v0.12.17", command: "./cmd/gojq"},
		config: `{"args": [".a."], "output": "body"}`,
		method: "POST", target: "/", body: `{}`, check: fails(502, "exit code 3"),
	}, {
		name: "WASI: shfmt", public: public{module: "mvdan.cc/sh/v3@v3.11.0", command: "./cmd/shfmt"},
		config: `{"args": ["-i", "2"], "output": "body", "contentType": "text/x-shellscript"}`,
		method: "POST", target: "/", body: "if true\nthen echo   a;fi", check: answers("if true; then echo a; fi"),
	}, {
		name: "WASI: jsonnet", public: public{module: "github.com/google/go-jsonnet@v0.21.0", command: "./cmd/jsonnet"},
		config: `{"args": ["-"], "output": "body"}`,
		method: "POST", target: "/", body: `local x = 3; {twice: 2 * x}`, check: answers(`"twice": 6`),
	}, {
		name:   "WASI: arguments (WAT)",
		public: public{module: wazero, file: "cmd/wazero/testdata/wasi_arg.wasm", digest: "e3119a54e2accfe614be9306867a442e34f354cc684b39a70e6cb1896dff6802"},
		config: `{"args": ["hello world"], "output": "body"}`,
		method: "GET", target: "/", check: answers("\x00hello world\x00"),
	}, {
		name:   "WASI: environment (WAT)",
		public: public{module: wazero, file: "cmd/wazero/testdata/wasi_env.wasm", digest: "a11f1d81d8846ba8ae8dc692807f15f24c4b0fd1193220fb802b714dc0720c72"},
		config: `{"env": {"ANIMAL": "bear"}, "output": "body"}`,
		method: "GET", target: "/?q=a%20b", check: answers("ANIMAL=bear\x00", "QUERY_STRING=q=a%20b\x00", "REMOTE_USER=ann@example.com\x00", "REQUEST_METHOD=GET\x00", "HTTP_ACCEPT=text/plain\x00"),
	}, {
		name:   "WASI: cat finds no file (Rust)",
		public: public{module: wazero, file: "imports/wasi_snapshot_preview1/example/testdata/cargo-wasi/cat.wasm", digest: "302f6c5bf63d29c0eb0f894a241e7f373dc277adc0ae97359edb0fbab0746176"},
		config: `{"args": ["/etc/passwd"], "output": "body"}`,
		method: "GET", target: "/", check: fails(502, "exit code"),
	}, {
		name:   "WASI: what does not write a CGI header",
		public: public{module: wazero, file: "cmd/wazero/testdata/wasi_env.wasm", digest: "a11f1d81d8846ba8ae8dc692807f15f24c4b0fd1193220fb802b714dc0720c72"},
		method: "GET", target: "/", check: fails(502, "CGI header"),
	},
	{
		name: "Extism: count_vowels (Go)", public: extism("count_vowels", "0c1779c48f56f94b3e3624d76f55e38215870c59ccb3d41f6ba8b2bc22f218f5"),
		method: "POST", target: "/count-vowels", body: "this is a test", check: answers(`"count":4`),
	}, {
		name: "Extism: count_vowels by GET", public: extism("count_vowels", "0c1779c48f56f94b3e3624d76f55e38215870c59ccb3d41f6ba8b2bc22f218f5"),
		manifest: func(m *manifest.Manifest) {
			m.Routes[0].Method, m.Routes[0].Action, m.Routes[0].Mutates = "GET", "count.read", false
		},
		method: "GET", target: "/count-vowels?input=hello%20there", check: answers(`"count":4`),
	}, {
		name: "Extism: config (Go)", public: extism("config", "1b9431006e9ce1032fcccf9ca56696c4fee38229439e9a15e540bd5eeddea8bb"),
		config: `{"thing": "hello"}`,
		method: "POST", target: "/run-test", check: answers("hello"),
	}, {
		name: "Extism: variables (Go)", public: extism("var", "2fe4f4ee4f6594bc78f3112e23498505420c561838feacd69864bbdf88470af1"),
		method: "POST", target: "/run-test", check: answers("0"),
	}, {
		name: "Extism: HTTP (Go)", public: extism("http", "0a8e9650c495e6fc1aaf6b9630cbb193ecf4f47f4a78650a400b2246d6fc7fec"), http: true,
		method: "POST", target: "/run-test", check: answers(`"method": "GET"`, `"url": "https://`),
	}, {
		name: "Extism: HTTP without a grant (Go)", public: extism("http", "0a8e9650c495e6fc1aaf6b9630cbb193ecf4f47f4a78650a400b2246d6fc7fec"),
		method: "POST", target: "/run-test", check: fails(403, "is not granted"),
	}, {
		name: "Extism: HTTP headers (Rust)", public: extism("http_headers", "682aecd1b907d47bf0aa11c2aac2c2d5b95a498706a29cd3d496eeb3ac9b9078"), http: true,
		method: "POST", target: "/http-get", body: `{"url": "https://example.com/"}`, check: answers(`"x-total-count":"7"`),
	}, {
		name: "Extism: blocks (WAT)", public: extism("alloc", "3561467ca9c05ecc1ec082294ad3228a54cee0a3e61276f47b1a961d05dd33a9"),
		method: "POST", target: "/run-test", check: answers(""),
	}, {
		name: "Extism: an error (WAT)", public: extism("fail", "8e95c4762db18bc8d2c9b6c8e28586ee274e7253b5c5bc300b8a7cfc34de31e4"),
		method: "POST", target: "/run-test", check: fails(502, "Some error message"),
	}, {
		name: "Extism: Haskell", public: extism("hello_haskell", "efea4be59668d8155a72631eba0b87931c5c62749afe3ad9af72950848d17ef9"),
		config: `{"greeting": "Howdy"}`,
		method: "POST", target: "/testing", body: "John", check: answers("Howdy, John"),
	}, {
		name: "Extism: a function of another host", public: extism("host", "c1d8c83b78a96c80194c499f31ea0b5fe87083940a837422956ccbda064972b5"),
		refused: "imports extism:host/user.mult, which is not available to it",
	}, {
		name: "http-wasm: router answers itself (WAT)", public: middlewareOf("router", "5cce397c65d5beef3f8d519ddecf66602877259a0b6d5193a3d811f5ea90893a"),
		config: `{"next": "https://shop.example.com/api"}`, http: true,
		method: "GET", target: "/", check: answers("hello world"),
	}, {
		name: "http-wasm: router sends on (WAT)", public: middlewareOf("router", "5cce397c65d5beef3f8d519ddecf66602877259a0b6d5193a3d811f5ea90893a"),
		manifest: func(m *manifest.Manifest) { m.Routes[0].Path = "/host/a" },
		config:   `{"next": "https://shop.example.com/api"}`, http: true,
		method: "GET", target: "/host/a", check: answers(`"url": "https://shop.example.com/api/a"`),
	}, {
		name: "http-wasm: router without a grant (WAT)", public: middlewareOf("router", "5cce397c65d5beef3f8d519ddecf66602877259a0b6d5193a3d811f5ea90893a"),
		manifest: func(m *manifest.Manifest) { m.Routes[0].Path = "/host/a" },
		config:   `{"next": "https://shop.example.com/api"}`,
		method:   "GET", target: "/host/a", check: fails(403, "is not granted"),
	}, {
		name: "http-wasm: auth (WAT)", public: middlewareOf("auth", "1aee3ddc3d89c24f232fd944baacf89c8cbbb4b5a17a800457945d1df55ab918"),
		method: "GET", target: "/", check: func(t *testing.T, resp *abi.Response, err error) {
			if err != nil || resp.Status != 401 || len(resp.Header) != 1 || resp.Header[0].Name != "WWW-Authenticate" {
				t.Errorf("%+v, %v", resp, err)
			}
		},
	}, {
		name: "http-wasm: redact (WAT)", public: middlewareOf("redact", "5cd6d836b8374983ae3229ffad1dca5a9105bcd3227201dca356e9d41358b8da"),
		config: `{"next": "https://shop.example.com/api", "config": "api"}`, http: true,
		method: "POST", target: "/", body: "the api key", check: answers(`"url": "https://shop.example.com/###/"`, "the ### key"),
	}, {
		name: "http-wasm: log and WASI (WAT)", public: middlewareOf("wasi", "574e1aa7547259bdd88262a3c3d7279db8c1695748905df8f4dbc7f8ecbf36cf"),
		config: `{"next": "https://shop.example.com"}`, http: true,
		method: "GET", target: "/", check: answers(`"method": "GET"`),
	}, {
		name: "http-wasm: nothing behind (WAT)", public: middlewareOf("log", "0b0210444de0e8828076c8aca50e5230eba53d704e77d1c01e5b97d4869d005c"),
		method: "GET", target: "/", check: func(t *testing.T, resp *abi.Response, err error) {
			if err != nil || resp.Status != 404 {
				t.Errorf("%+v, %v", resp, err)
			}
		},
	},
}

func extism(name, digest string) public {
	return public{module: "github.com/extism/go-sdk@v1.7.1", file: "wasm/" + name + ".wasm", digest: digest}
}

func middlewareOf(name, digest string) public {
	return public{module: "github.com/http-wasm/http-wasm-host-go@v0.7.0", file: "examples/" + name + ".wasm", digest: digest}
}

// sites stands where the http capability does: it answers with the request. The path /moved
// is one that policy would not permit.
type sites struct{}

func (sites) Kind() *capability.Kind {
	return &capability.Kind{
		Name: "http", Dimensions: []capability.Dimension{{Name: capability.Instances}, {Name: capability.Verbs}},
		Classify: func(r *abi.Request) (capability.Prepared, error) {
			u, err := url.Parse(r.URL)
			if err != nil {
				return capability.Prepared{}, host.E(host.Invalid, "http", "bad URL")
			}
			return capability.Prepared{Call: host.CapabilityCall{Name: "http", Verb: strings.ToLower(r.Method), Instance: u.Hostname(), Effect: host.EffectRead}, Payload: r}, nil
		},
	}
}

func (sites) Fetch(_ context.Context, p *capability.Permit) (*abi.Response, error) {
	r := p.Payload.(*abi.Request)
	return &abi.Response{Status: 200, Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}, {Name: "X-Total-Count", Value: "7"}},
		Body: fmt.Appendf(nil, `{"method": %q, "url": %q, "body": %q}`, r.Method, r.URL, r.Body)}, nil
}

var everyHost = map[string][]capability.Grant{"http": {{Instances: []string{"*"}, Verbs: []string{"*"}}}}

// TestForeignModulesAreHeldToTheLimits runs public modules in limits that they exceed.
func TestForeignModulesAreHeldToTheLimits(t *testing.T) {
	gojq := public{module: "github.com/itchyny/gojq@v0.12.17", command: "./cmd/gojq"}.bytes(t)
	for _, c := range []struct {
		name   string
		limits plugin.Limits
		config string
		status int
		fault  sandbox.Fault
	}{
		{"fuel", plugin.Limits{MemoryMiB: 64, Fuel: 30e6}, `{"args": ["-n", "[range(1000000)] | add"], "output": "body"}`, 502, sandbox.Exhausted},
		{"memory", plugin.Limits{MemoryMiB: 16}, `{"args": ["-n", "[range(10000000)] | length"], "output": "body"}`, 502, sandbox.Exited},
		{"output", plugin.Limits{MemoryMiB: 128}, `{"args": ["-n", "range(100000) | \"a\" * 1000"], "output": "body"}`, 502, sandbox.Stopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixtureWith(t, c.limits, plugin.UserLimits{})
			g := f.load(t, plugin.Config{Name: "adopted", Source: adopt(t, gojq, nil), Config: json.RawMessage(c.config)})
			used := g.Used()
			call := call(t, g, &authority{}, "GET", "/")
			_, err := g.Handle(t.Context(), call)
			e, ok := errors.AsType[*host.Error](err)
			if !ok || e.HTTPStatus() != c.status {
				t.Fatalf("got %v", err)
			}
			if fault, ok := errors.AsType[*sandbox.Error](err); ok && fault.Fault != c.fault {
				t.Errorf("ended by %v", fault)
			}
			call.Release()
			if left := g.Used(); left > used {
				t.Errorf("the call has left %d bytes counted", left-used)
			}
		})
	}
}
