package adapter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/http-wasm/http-wasm-host-go/tck"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/sandboxtest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// env is a host without bounds whose capability "http" asks a handler.
type env struct {
	t    testing.TB
	next http.Handler
}

func (e *env) Hold(int) error { return nil }

func (e *env) Log(_ context.Context, level slog.Level, line string) { e.t.Log(level, line) }

func (e *env) Fetch(ctx context.Context, _ string, r *abi.Request) (*abi.Response, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	// The URI as it is on the wire: httptest would refuse none of the kit's.
	req := httptest.NewRequestWithContext(ctx, r.Method, u.RequestURI(), bytes.NewReader(r.Body))
	for _, h := range r.Header {
		req.Header.Add(h.Name, h.Value)
	}
	w := httptest.NewRecorder()
	e.next.ServeHTTP(w, req)
	resp := &abi.Response{Status: w.Code, Body: w.Body.Bytes()}
	for name, values := range w.Header() {
		for _, v := range values {
			resp.Header = append(resp.Header, abi.Pair{Name: name, Value: v})
		}
	}
	return resp, nil
}

// load links a module by its adapter, as host/plugin does.
func load(t testing.TB, wasm []byte, m *manifest.Manifest, config string, e Env) (Adapter, *sandbox.Module) {
	t.Helper()
	a, err := New(m, "adopted", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	spec := sandbox.Spec{Name: "adopted", Init: func(ctx context.Context, i *sandbox.Instance) error { return a.Start(ctx, i, e) }}
	a.Link(&spec)
	module, err := box.Load(t.Context(), wasm, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := module.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return a, module
}

// serve makes a handler of a module, without the rest of the host: any method, and all
// headers in both directions.
func serve(t testing.TB, a Adapter, module *sandbox.Module, e Env) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		in := &abi.Request{Method: r.Method, URL: r.URL.RequestURI(), Body: body, Host: &abi.HostSection{}}
		for name, values := range r.Header {
			for _, v := range values {
				in.Header = append(in.Header, abi.Pair{Name: name, Value: v})
			}
		}
		i, err := module.Acquire(r.Context(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer module.Release(i)
		resp, err := a.Handle(r.Context(), i, e, in)
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		for _, h := range resp.Header {
			w.Header().Add(h.Name, h.Value)
		}
		w.WriteHeader(resp.Status)
		_, _ = w.Write(resp.Body)
	})
}

// The kit of http-wasm for hosts passes, with the guest that it brings.
func TestTheTechnologyCompatibilityKitOfHTTPWasmPasses(t *testing.T) {
	e := &env{t, tck.BackendHandler()}
	a, module := load(t, tck.GuestWASM, &manifest.Manifest{ABI: manifest.HTTPWasm}, `{"next": "http://backend.example"}`, e)
	srv := httptest.NewServer(serve(t, a, module, e))
	t.Cleanup(srv.Close) // the kit runs when this function has returned
	t.Run("kit", func(t *testing.T) { tck.Run(t, srv.Client(), srv.URL) })
}

func TestAMiddlewareThatBreaksItsABIIsStopped(t *testing.T) {
	e := &env{t, tck.BackendHandler()}
	for _, c := range []struct{ why, imports, request, response, want string }{
		{"a status that is none", `(import "http_handler" "set_status_code" (func $f (param i32)))`, `(call $f (i32.const 99)) (i64.const 0)`, "", "99 is not a status"},
		{"an empty method", `(import "http_handler" "set_method" (func $f (param i32 i32)))`, `(call $f (i32.const 0) (i32.const 0)) (i64.const 0)`, "", "is not a method"},
		{"a URI outside its memory", `(import "http_handler" "set_uri" (func $f (param i32 i32)))`, `(call $f (i32.const 65530) (i32.const 99)) (i64.const 0)`, "", "the URI lies outside its memory"},
		{"a huge URI", `(import "http_handler" "set_uri" (func $f (param i32 i32)))`, `(call $f (i32.const 0) (i32.const -1)) (i64.const 0)`, "", "the limit is"},
		{"the request, too late", `(import "http_handler" "set_uri" (func $f (param i32 i32)))`, `(i64.const 1)`, `(call $f (i32.const 0) (i32.const 1))`, "cannot be changed after the next handler"},
		{"the response without the feature", `(import "http_handler" "set_status_code" (func $f (param i32)))`, `(i64.const 1)`, `(call $f (i32.const 200))`, "without the feature buffer_response"},
		{"a body without a limit", `(import "http_handler" "read_body" (func $f (param i32 i32 i32) (result i64)))`, `(call $f (i32.const 0) (i32.const 0) (i32.const 0))`, "", "the limit is 0"},
		{"trailers", `(import "http_handler" "remove_header" (func $f (param i32 i32 i32)))`, `(call $f (i32.const 2) (i32.const 0) (i32.const 1)) (i64.const 0)`, "", "trailers are not supported"},
		{"a kind that there is not", `(import "http_handler" "get_header_names" (func $f (param i32 i32 i32) (result i64)))`, `(call $f (i32.const 7) (i32.const 0) (i32.const 0))`, "", "no header kind 7"},
		{"a body without end", `(import "http_handler" "write_body" (func $f (param i32 i32 i32)))`, `(loop $l (call $f (i32.const 1) (i32.const 0) (i32.const 65536)) (br $l)) (i64.const 0)`, "", "a body that the module writes is over"},
	} {
		wasm := sandboxtest.AssembleText(fmt.Sprintf(`(module %s (memory (export "memory") 1) (data (i32.const 0) "a")
			(func (export "handle_request") (result i64) %s) (func (export "handle_response") (param i32 i32) %s))`, c.imports, c.request, c.response))
		a, module := load(t, wasm, &manifest.Manifest{ABI: manifest.HTTPWasm}, `{"next": "http://backend.example"}`, e)
		i, err := module.Acquire(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := a.Handle(t.Context(), i, e, &abi.Request{Method: "GET", URL: "/"})
		module.Release(i)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", c.why, resp, err)
		}
	}
}

func TestAPluginsMemoryOfExtismIsBounded(t *testing.T) {
	e := &env{t: t}
	m := &manifest.Manifest{ABI: manifest.Extism, Routes: []manifest.Route{{Name: "run", Entry: "run"}}}
	for _, c := range []struct{ why, body, want string }{
		{"one huge block", `(drop (call $alloc (i64.const -1)))`, "Extism's memory"},
		{"many blocks", `(loop $l (drop (call $alloc (i64.const 65536))) (br $l))`, "Extism's memory"},
		{"many small blocks", `(loop $l (drop (call $alloc (i64.const 1))) (br $l))`, "Extism's memory"},
		{"output outside", `(call $output (i64.const 8) (i64.const -1))`, "lies outside its memory"},
		{"variables", `(local $b i64) (local.set $b (call $alloc (i64.const 600000)))
			(call $var (call $alloc (i64.const 1)) (local.get $b)) (call $var (call $alloc (i64.const 2)) (local.get $b))`, "variables are over"},
		{"a request that is none", `(drop (call $http (call $alloc (i64.const 3)) (i64.const 0)))`, "http_request"},
	} {
		wasm := sandboxtest.AssembleText(fmt.Sprintf(`(module (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
			(import "extism:host/env" "output_set" (func $output (param i64 i64))) (import "extism:host/env" "var_set" (func $var (param i64 i64)))
			(import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
			(memory (export "memory") 1) (func (export "run") %s))`, c.body))
		a, module := load(t, wasm, m, "", e)
		i, err := module.Acquire(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := a.Handle(t.Context(), i, e, &abi.Request{Method: "POST", URL: "/", Host: &abi.HostSection{Route: "run"}})
		module.Release(i)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", c.why, resp, err)
		}
	}
}
