package plugin_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/sandboxtest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// module is a small plugin that tests make as they need it. It answers GET /run with its
// version, and its socket at / sends every message back.
type module struct {
	version string // default 1.0.0
	status  int    // of the answer; default 200
	loop    int    // turns of a loop before the answer
	fetch   bool   // asks the helm capability before the answer
	start   string // instead of starting, in the text format; "unreachable" traps
	handle  string // instead of answering
	health  string // the result of bulkhead_health; empty: it is not exported
	change  func(*manifest.Manifest)
	page    manifest.UIFiles
}

// bytes assembles m.
func (m module) bytes(t testing.TB) []byte {
	t.Helper()
	if m.version == "" {
		m.version = "1.0.0"
	}
	if m.status == 0 {
		m.status = 200
	}
	answer := abi.AppendResponse(nil, &abi.Response{Status: m.status, Header: []abi.Pair{{Name: "Version", Value: m.version}}, Body: []byte(m.version)})
	refusal := abi.AppendError(nil, &abi.Error{Code: "sick", Status: 503, Message: "the disk\nis full"})
	ok, ask := abi.AppendResponse(nil, &abi.Response{Status: 200}), abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "//dev/"})
	at := func(ptr, n int) string { return fmt.Sprintf("(i64.const %d)", uint64(ptr)<<32|uint64(n)) }
	handle, start := at(4096, len(answer)), at(64, len(ok))
	if m.loop > 0 {
		handle = fmt.Sprintf("(local.set $n (i32.const %d)) (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) %s", m.loop, handle)
	}
	imports := `(import "bulkhead:session/v1" "next" (func $next (param i32 i32 i32) (result i64)))
		(import "bulkhead:session/v1" "send" (func $send (param i32 i32) (result i32)))`
	if m.fetch {
		imports += `(import "bulkhead:helm/v1" "fetch" (func $fetch (param i32 i32 i32 i32) (result i64)))`
		handle = fmt.Sprintf("(drop (call $fetch (i32.const 8192) (i32.const %d) (i32.const 16384) (i32.const 4096))) %s", len(ask), handle)
	}
	if m.handle != "" {
		handle = m.handle
	}
	if m.start != "" {
		start = m.start
	}
	health := ""
	switch m.health {
	case "":
	case "fine":
		health = at(64, len(ok))
	case "refuses":
		health = at(2048, len(refusal))
	default:
		health = m.health
	}
	if health != "" {
		health = fmt.Sprintf("(func (export %q) (result i64) %s)", abi.ExportHealth, health)
	}
	wasm := sandboxtest.AssembleText(fmt.Sprintf(`(module %s (memory (export "memory") 2)
		(data (i32.const 64) %s) (data (i32.const 2048) %s) (data (i32.const 4096) %s) (data (i32.const 8192) %s)
		(func (export "bulkhead_alloc") (param i32) (result i32) (i32.const 65536))
		(func (export "bulkhead_start") (param i32 i32) (result i64) %s)
		(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $n i32) %s)
		(func (export "bulkhead_session") (param i32 i32) (result i64) (local $n i32)
			(loop $more
				(local.set $n (i32.wrap_i64 (call $next (i32.const 24576) (i32.const 4096) (i32.const 60000))))
				(drop (call $send (i32.const 24576) (local.get $n)))
				(br_if $more (i32.ne (i32.load8_u (i32.const 24584)) (i32.const 3))))
			(i64.const 0))
		%s)`, imports, quoted(ok), quoted(refusal), quoted(answer), quoted(ask), start, handle, health))
	about := manifest.Manifest{Name: "module", Version: m.version, Routes: []manifest.Route{
		{Name: "run", Method: "GET", Path: "/run", Action: "run.read"},
		{Name: "wait", Kind: manifest.Socket, Method: "GET", Path: "/", Action: "wait.read"},
	}}
	if m.fetch {
		about.Capabilities = []manifest.Capability{{Name: "helm", Reason: "To ask."}}
	}
	if m.change != nil {
		m.change(&about)
	}
	raw, err := json.Marshal(about)
	if err != nil {
		t.Fatal(err)
	}
	if wasm, err = manifest.EmbedUI(wasm, m.page); err != nil {
		t.Fatal(err)
	}
	if wasm, err = manifest.Embed(wasm, raw); err != nil {
		t.Fatal(err)
	}
	return wasm
}

func quoted(data []byte) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range data {
		fmt.Fprintf(&b, `\%02x`, c)
	}
	return b.String() + `"`
}

// config is m in a file, under the name module.
func (m module) config(t testing.TB) plugin.Config {
	t.Helper()
	source := filepath.Join(t.TempDir(), "module.wasm")
	if err := os.WriteFile(source, m.bytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	c := plugin.Config{Name: "module", Source: source}
	if m.fetch {
		c.Grants = map[string][]capability.Grant{"helm": everything["helm"]}
	}
	return c
}
