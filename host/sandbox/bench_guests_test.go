package sandbox_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
	"github.com/tetratelabs/wazero/api"
)

// subject is a guest to measure, what prepares it, and one call of it.
type subject struct {
	name, about string
	module      func(testing.TB) []byte
	exports     map[string]sandbox.Signature
	imports     []sandbox.Import
	start, call func(ctx context.Context, g entered) error // start may be nil
}

// entered is an instance, in the sandbox or in wazero as it comes.
type entered interface {
	enter(ctx context.Context, export string, args ...uint64) (uint64, error)
	write(ptr uint64, data []byte) bool
}

type inSandbox struct{ *sandbox.Instance }

func (i inSandbox) enter(ctx context.Context, export string, args ...uint64) (uint64, error) {
	return i.Call(ctx, export, args...)
}
func (i inSandbox) write(ptr uint64, data []byte) bool { return i.Memory().Write(uint32(ptr), data) }

// inWazero keeps its functions, as the sandbox does.
type inWazero struct {
	api.Module
	functions map[string]api.Function
}

func (i inWazero) enter(ctx context.Context, export string, args ...uint64) (uint64, error) {
	f := i.functions[export]
	if f == nil {
		f = i.ExportedFunction(export)
		i.functions[export] = f
	}
	var stack [4]uint64
	n := copy(stack[:], args)
	err := f.CallWithStack(ctx, stack[:max(1, n)])
	return stack[0], err
}
func (i inWazero) write(ptr uint64, data []byte) bool {
	return i.Module.Memory().Write(uint32(ptr), data)
}

// request is a frame for a plugin's route.
func request(route, body string) []byte {
	return abi.AppendRequest(nil, &abi.Request{
		Method: "POST", URL: "/" + route, Header: []abi.Pair{{Name: "Content-Type", Value: "text/plain"}}, Body: []byte(body),
		Host: &abi.HostSection{RequestID: "r1", User: "ann@example.com", Roles: []string{"viewer"}, Route: route, Action: "a:" + route + ".read"},
	})
}

const releases = `[{"name":"web","namespace":"shop","revision":12,"status":"deployed","labels":["a","b"]},
	{"name":"db","namespace":"shop","revision":3,"status":"failed"},
	{"name":"cache","namespace":"infra","revision":107,"status":"deployed"}]`

var i32i32 = []sandbox.Type{sandbox.I32, sandbox.I32}

// subjects are what BenchmarkSandbox measures.
var subjects = []subject{
	plugin("go-json", "Go, SDK, encoding/json: 240 bytes read, 160 written", "host/sandbox/testdata/json", request("releases", releases)),
	plugin("go-frame", "Go, SDK: the echo plugin, a frame read and written", "plugins/echo", request("echo", "hello")),
	{
		name: "c", about: "C, clang -O2: JSON read, sorted, hashed, printed",
		module:  clangGuest,
		exports: map[string]sandbox.Signature{"run": {Params: i32, Results: i32}},
		call: func(ctx context.Context, g entered) error {
			_, err := g.enter(ctx, "run", 5)
			return err
		},
	},
	{
		name: "loops", about: "by hand: a loop of five instructions, 100,000 times",
		module: func(testing.TB) []byte {
			return wattest.Must(`(module (memory (export "memory") 1)
				(func (export "run") (param $n i32) (result i32) (local $v i32)
					(loop $l
						(local.set $v (i32.add (local.get $v) (local.get $n)))
						(br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
					(local.get $v)))`)
		},
		exports: map[string]sandbox.Signature{"run": {Params: i32, Results: i32}},
		call: func(ctx context.Context, g entered) error {
			_, err := g.enter(ctx, "run", 100_000)
			return err
		},
	},
}

// plugin is a subject that is a plugin of the SDK.
func plugin(name, about, dir string, frame []byte) subject {
	entry := sandbox.Signature{Params: i32i32, Results: i64}
	send := func(ctx context.Context, g entered, export string, frame []byte) error {
		ptr, err := g.enter(ctx, abi.ExportAlloc, uint64(len(frame)))
		if err != nil || !g.write(ptr, frame) {
			return fmt.Errorf("alloc: %w", err)
		}
		_, err = g.enter(ctx, export, ptr, uint64(len(frame)))
		return err
	}
	return subject{
		name: name, about: about,
		module: func(t testing.TB) []byte {
			m, err := os.ReadFile(packtest.Build(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			return m
		},
		exports: map[string]sandbox.Signature{
			abi.ExportInitialize: {}, abi.ExportStart: entry, abi.ExportHandle: entry,
			abi.ExportAlloc: {Params: i32, Results: i32},
		},
		imports: pluginImports(),
		start: func(ctx context.Context, g entered) error {
			if _, err := g.enter(ctx, abi.ExportInitialize); err != nil {
				return err
			}
			return send(ctx, g, abi.ExportStart, abi.AppendStart(nil, &abi.Start{ABI: abi.Version, Instance: name, Config: []byte("{}")}))
		},
		call: func(ctx context.Context, g entered) error { return send(ctx, g, abi.ExportHandle, frame) },
	}
}

// pluginImports are what plugins link and these requests do not use.
func pluginImports() (list []sandbox.Import) {
	for name, s := range map[string]sandbox.Signature{
		abi.ModuleABI + " " + abi.ImportTake:      {Params: i32i32, Results: i64},
		abi.ModuleLog + " " + abi.ImportWrite:     {Params: []sandbox.Type{sandbox.I32, sandbox.I32, sandbox.I32}},
		abi.ModuleLog + " " + abi.ImportRecord:    {Params: []sandbox.Type{sandbox.I32, sandbox.I32, sandbox.I32, sandbox.I32, sandbox.I32}},
		abi.ModuleSession + " " + abi.ImportNext:  {Params: []sandbox.Type{sandbox.I32, sandbox.I32, sandbox.I32}, Results: i64},
		abi.ModuleSession + " " + abi.ImportSend:  {Params: i32i32, Results: i32},
		abi.ModuleSession + " " + abi.ImportClose: {Params: []sandbox.Type{sandbox.I32, sandbox.I32, sandbox.I32}, Results: i32},
	} {
		var i sandbox.Import
		if _, err := fmt.Sscan(name, &i.Module, &i.Name); err != nil {
			panic(err)
		}
		i.Signature, i.Call = s, identity
		list = append(list, i)
	}
	return list
}

// clangGuest compiles testdata/c. make bench installs what it needs.
func clangGuest(t testing.TB) []byte {
	t.Helper()
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed; make bench installs clang and lld", tool)
		}
	}
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("clang", "--target=wasm32", "-O2", "-nostdlib", "-ffreestanding", "-Wl,--no-entry", "-o", out, "testdata/c/guest.c")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	m, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
