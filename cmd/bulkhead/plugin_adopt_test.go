package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/sandboxtest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// From a module for another host to a plugin that would be accepted, and what adopt refuses.
func TestAModuleOfAnotherHostIsAdopted(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	put := func(name string, data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("Hello_World.wasm", sandboxtest.AssembleText(`(module
		(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
		(memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 0))))`))
	put("unknown.wasm", sandboxtest.AssembleText(`(module
		(import "wasi_snapshot_preview1" "sock_open" (func $open (result i32)))
		(memory (export "memory") 1) (func (export "_start") (drop (call $open))))`))
	put("component.wasm", []byte("\x00asm\x0d\x00\x01\x00"))
	put("library.wasm", sandboxtest.AssembleText(`(module (memory (export "memory") 1) (func (export "add")))`))
	put("other.wasm", sandboxtest.AssembleText(`(module (import "env" "thing" (func)) (memory (export "memory") 1) (func (export "_start")))`))
	put("taken.json", nil)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"Hello_World.wasm"}, 0, `"abi": "wasi-command"`},
		{[]string{"Hello_World.wasm", "--name", "Hello"}, 2, `--name: "Hello" must be lower-case letters`},
		{[]string{"absent.wasm"}, 2, "absent.wasm: no such file"},
		{[]string{"Hello_World.wasm", "--name", "taken", "--write"}, 1, "taken.json exists; nothing was written"},
		{[]string{"Hello_World.wasm", "--write"}, 0, "hello-world.json"},
		{[]string{"Hello_World.wasm", "--write"}, 1, "hello-world.wasm exists; nothing was written"},
		{[]string{"unknown.wasm", "--name", "unlinked", "--write"}, 1, "imports wasi_snapshot_preview1.sock_open, which is not available to it"},
		{[]string{"component.wasm"}, 1, "component.wasm: the file is a WebAssembly component"},
		{[]string{"library.wasm"}, 1, "is it a library?"},
		{[]string{"other.wasm"}, 1, "the module imports env, which no host of Bulkhead provides"},
		{[]string{"taken.json"}, 1, "not a WebAssembly"},
	} {
		stdout, stderr, code := bulkhead(t, append([]string{"plugin", "adopt"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%v: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
	}
	for _, left := range []string{"unlinked.json", "unlinked.wasm", "taken.wasm"} {
		if _, err := os.Stat(left); !os.IsNotExist(err) {
			t.Errorf("%s was written: %v", left, err)
		}
	}
	stdout, stderr, code := bulkhead(t, "plugin", "adopt", "--json", "Hello_World.wasm")
	var a struct {
		ABI      manifest.ABI
		Digest   string
		Manifest manifest.Manifest
	}
	if err := json.Unmarshal([]byte(stdout), &a); err != nil || code != 0 || a.ABI != manifest.WASICommand || a.Manifest.Name != "hello-world" || !strings.HasPrefix(a.Digest, "sha256:") {
		t.Errorf("--json: %v, %s%s", err, stdout, stderr)
	}
	if stdout, stderr, code := bulkhead(t, "plugin", "inspect", "hello-world.wasm"); code != 0 || !strings.Contains(stdout, "wasi-command: a WASI preview 1 command") {
		t.Errorf("inspect: %d %s%s", code, stdout, stderr)
	}
	if stdout, _, code := bulkhead(t, "plugin", "inspect", "Hello_World.wasm"); code != 1 || !strings.Contains(stdout, `one of abi "wasi-command"; "bulkhead plugin adopt" makes a plugin of it`) {
		t.Errorf("inspect of the module: %d %s", code, stdout)
	}
	// What was written is the module as it was, and the manifest behind it.
	plain, err := os.ReadFile("Hello_World.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if packed, err := os.ReadFile(filepath.Join(dir, "hello-world.wasm")); err != nil || !strings.HasPrefix(string(packed), string(plain)) {
		t.Errorf("the module was changed: %v", err)
	}
}
