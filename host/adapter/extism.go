package adapter

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

const moduleExtism = "extism:host/env"

const (
	maxExtismMemory  = 16 << 20 // of all blocks of a call
	maxExtismVars    = 1 << 20  // names and values, as in Extism
	maxExtismBlocks  = 1 << 16
	maxExtismRequest = 256 << 10 // of an HTTP request, without its body
)

// extism is an Extism plug-in (version 1).
type extism struct {
	entries map[string]string // the function of each route
	config  map[string]string
}

func newExtism(m *manifest.Manifest, config []byte) (*extism, error) {
	x := &extism{entries: map[string]string{}}
	if len(config) > 0 {
		if err := json.Unmarshal(config, &x.config); err != nil {
			return nil, fmt.Errorf("config: must be an object of texts, which the plug-in reads by name: %w", err)
		}
	}
	for _, r := range m.Routes {
		x.entries[r.Name] = r.Entry
	}
	return x, nil
}

// extismCall is what the imports of a call share.
type extismCall struct {
	*call
	kernel
	config  map[string]string
	input   uint64
	output  []byte // of the kernel's memory, once it is set
	err     uint64
	vars    map[string][]byte
	varSize int
	status  int    // of the last HTTP response
	header  []byte // of it, as JSON
}

func (x *extism) Link(spec *sandbox.Spec) {
	spec.Optional = map[string]sandbox.Signature{"_initialize": {}, "__wasm_call_ctors": {}, "hs_init": signature(0, i32, i32)}
	spec.Either = map[string][]sandbox.Signature{}
	begin(spec, func() *call { return x.begin(noEnv{}).call })
	for _, entry := range x.entries {
		spec.Either[entry] = []sandbox.Signature{signature(i32), signature(0)}
		delete(spec.Optional, entry)
	}
	type function = func(ctx context.Context, c *extismCall, s []uint64) uint64
	add := func(name string, s sandbox.Signature, f function) {
		spec.Imports = append(spec.Imports, sandbox.Import{Module: moduleExtism, Name: name, Signature: s,
			Call: func(ctx context.Context, _ sandbox.Memory, stack []uint64) {
				result := f(ctx, callOf(ctx).state.(*extismCall), stack)
				if len(s.Results) > 0 {
					stack[0] = result
				}
			}})
	}
	for name, f := range extismKernel {
		add(name, f.signature, func(_ context.Context, c *extismCall, s []uint64) uint64 { return f.call(c, s) })
	}
	add("http_request", signature(i64, i64, i64), func(ctx context.Context, c *extismCall, s []uint64) uint64 { return c.http(ctx, s[0], s[1]) })
	spec.Imports[len(spec.Imports)-1].Cost = fetchCost
	for name, level := range map[string]slog.Level{
		"log_trace": slog.LevelDebug, "log_debug": slog.LevelDebug, "log_info": slog.LevelInfo, "log_warn": slog.LevelWarn, "log_error": slog.LevelError,
	} {
		add(name, signature(0, i64), func(ctx context.Context, c *extismCall, s []uint64) uint64 {
			line := c.block(s[0])
			c.env.Log(ctx, level, string(line[:min(len(line), maxLogLine)]))
			c.free(s[0])
			return 0
		})
	}
}

// extismKernel are the imports that need nothing but the state of the call.
var extismKernel = map[string]struct {
	signature sandbox.Signature
	call      func(c *extismCall, s []uint64) uint64
}{
	"alloc":          {signature(i64, i64), func(c *extismCall, s []uint64) uint64 { return c.alloc(s[0]) }},
	"free":           {signature(0, i64), func(c *extismCall, s []uint64) uint64 { c.free(s[0]); return 0 }},
	"length":         {signature(i64, i64), func(c *extismCall, s []uint64) uint64 { return c.length(s[0]) }},
	"length_unsafe":  {signature(i64, i64), func(c *extismCall, s []uint64) uint64 { return c.length(s[0]) }},
	"load_u8":        {signature(i32, i64), func(c *extismCall, s []uint64) uint64 { return c.load(s[0], 1) }},
	"load_u64":       {signature(i64, i64), func(c *extismCall, s []uint64) uint64 { return c.load(s[0], 8) }},
	"store_u8":       {signature(0, i64, i32), func(c *extismCall, s []uint64) uint64 { c.store(s[0], 1, s[1]); return 0 }},
	"store_u64":      {signature(0, i64, i64), func(c *extismCall, s []uint64) uint64 { c.store(s[0], 8, s[1]); return 0 }},
	"memory_bytes":   {signature(i64), func(c *extismCall, _ []uint64) uint64 { return uint64(len(c.data)) }},
	"input_length":   {signature(i64), func(c *extismCall, _ []uint64) uint64 { return c.length(c.input) }},
	"input_offset":   {signature(i64), func(c *extismCall, _ []uint64) uint64 { return c.input }},
	"input_load_u8":  {signature(i32, i64), func(c *extismCall, s []uint64) uint64 { return c.load(c.input+s[0], 1) }},
	"input_load_u64": {signature(i64, i64), func(c *extismCall, s []uint64) uint64 { return c.load(c.input+s[0], 8) }},
	"output_set":     {signature(0, i64, i64), func(c *extismCall, s []uint64) uint64 { c.setOutput(s[0], s[1]); return 0 }},
	"error_set":      {signature(0, i64), func(c *extismCall, s []uint64) uint64 { c.err = s[0]; return 0 }},
	"error_get":      {signature(i64), func(c *extismCall, _ []uint64) uint64 { return c.err }},
	"config_get": {signature(i64, i64), func(c *extismCall, s []uint64) uint64 {
		value, ok := c.config[string(c.block(s[0]))]
		if !ok {
			return 0
		}
		return c.put([]byte(value))
	}},
	"var_get": {signature(i64, i64), func(c *extismCall, s []uint64) uint64 {
		value, ok := c.vars[string(c.block(s[0]))]
		if !ok {
			return 0
		}
		return c.put(value)
	}},
	"var_set":          {signature(0, i64, i64), func(c *extismCall, s []uint64) uint64 { c.setVar(s[0], s[1]); return 0 }},
	"http_status_code": {signature(i32), func(c *extismCall, _ []uint64) uint64 { return uint64(c.status) }},
	"http_headers": {signature(i64), func(c *extismCall, _ []uint64) uint64 {
		if c.header == nil {
			return 0
		}
		return c.put(c.header)
	}},
	"get_log_level": {signature(i32), func(*extismCall, []uint64) uint64 { return extismDebug }},
}

// extismDebug is the level below which a plug-in need not log: trace is not kept apart.
const extismDebug = 1

func (x *extism) begin(env Env) *extismCall {
	c := &extismCall{call: &call{env: env}, config: x.config}
	c.call.state, c.kernel.call = c, c.call
	return c
}

func (x *extism) Start(ctx context.Context, i *sandbox.Instance, env Env) error {
	c := x.begin(env)
	first := "_initialize"
	if !i.Has(first) {
		first = "__wasm_call_ctors"
	}
	if err := initialize(ctx, i, c.call, first); err != nil {
		return err
	}
	if i.Has("hs_init") { // Haskell's runtime
		_, err := enter(ctx, i, c.call, "hs_init", 0, 0)
		return err
	}
	return nil
}

// Check does nothing: the ABI has no question for it.
func (x *extism) Check(context.Context, *sandbox.Instance, Env) error { return nil }

func (x *extism) Handle(ctx context.Context, i *sandbox.Instance, env Env, r *abi.Request) (*abi.Response, error) {
	if r.Host == nil || x.entries[r.Host.Route] == "" {
		return nil, host.E(host.Internal, "", "the route has no function")
	}
	c := x.begin(env)
	input := r.Body
	if r.Method == http.MethodGet && len(input) == 0 {
		_, query, _ := strings.Cut(r.URL, "?")
		values, err := url.ParseQuery(query)
		if err != nil {
			return nil, host.E(host.Invalid, "", "the query is malformed")
		}
		input = []byte(values.Get("input"))
	}
	if err := c.setInput(input); err != nil {
		return nil, err
	}
	rc, err := enter(ctx, i, c.call, x.entries[r.Host.Route])
	if code, exited := exitCode(err); exited && code == 0 {
		err = nil
	}
	switch {
	case err != nil:
		return nil, err
	case c.err != 0:
		return nil, failed(string(c.block(c.err)))
	case uint32(rc) != 0:
		return nil, failed(fmt.Sprintf("the function returned %d", int32(uint32(rc))))
	case len(c.output) > abi.MaxBody:
		return nil, host.E(host.Upstream, "", "the plug-in's output is over %d bytes", abi.MaxBody)
	}
	return &abi.Response{Status: http.StatusOK, Body: c.output,
		Header: []abi.Pair{{Name: "Content-Type", Value: contentType(c.output)}}}, nil
}

// setInput puts the input into the kernel's memory before the guest runs, where hold must
// not end it.
func (c *extismCall) setInput(input []byte) error {
	n := firstBlock + align(uint64(len(input)))
	if n > maxExtismMemory {
		return host.E(host.TooLarge, "", "the request is larger than a plug-in can take")
	}
	if err := c.env.Hold(int(n)); err != nil {
		return err
	}
	c.data = make([]byte, firstBlock, n)
	c.input = c.put(input)
	return nil
}

func (c *extismCall) setOutput(at, n uint64) {
	out, ok := c.view(at, n)
	if !ok {
		broken("output_set: the output lies outside its memory")
	}
	c.output = out
}

func (c *extismCall) setVar(name, value uint64) {
	key := string(c.block(name))
	size := c.varSize - len(c.vars[key])
	if old, ok := c.vars[key]; ok {
		size = c.varSize - len(key) - len(old)
	}
	delete(c.vars, key)
	c.varSize = size
	if value == 0 {
		return
	}
	text := c.block(value)
	if c.varSize += len(key) + len(text); c.varSize > maxExtismVars {
		stop(host.E(host.Upstream, "", "the plug-in's variables are over %d bytes", maxExtismVars))
	}
	c.hold(len(key) + len(text))
	if c.vars == nil {
		c.vars = map[string][]byte{}
	}
	c.vars[key] = slices.Clone(text)
}

// http makes the request that a block describes, and returns the block of the answer's
// body. The plug-in cannot tell a refusal from an answer, so a refusal ends it.
func (c *extismCall) http(ctx context.Context, request, body uint64) uint64 {
	c.status, c.header = 0, nil
	var q struct {
		URL     string            `json:"url"`
		Method  string            `json:"method"`
		Headers map[string]string `json:"headers"`
	}
	text := c.block(request)
	if len(text) > maxExtismRequest { // decoding takes many times as much, which nothing counts
		broken("http_request: the request has %d bytes without its body, the limit is %d", len(text), maxExtismRequest)
	}
	if err := json.Unmarshal(text, &q); err != nil {
		broken("http_request: %w", err)
	}
	if len(q.Headers) > abi.MaxHeaders {
		broken("http_request: the request has %d headers, the limit is %d", len(q.Headers), abi.MaxHeaders)
	}
	r := &abi.Request{Method: strings.ToUpper(cmp.Or(q.Method, http.MethodGet)), URL: q.URL, Body: slices.Clone(c.block(body))}
	c.hold(len(r.Body))
	for _, name := range slices.Sorted(maps.Keys(q.Headers)) {
		r.Header = append(r.Header, abi.Pair{Name: name, Value: q.Headers[name]})
	}
	c.free(request)
	c.free(body)
	resp, err := c.env.Fetch(ctx, "http", r)
	if err != nil {
		stop(err)
	}
	c.status = resp.Status
	header := map[string]string{}
	for _, h := range resp.Header {
		name := strings.ToLower(h.Name)
		if old, ok := header[name]; ok {
			header[name] = old + "," + h.Value
		} else {
			header[name] = h.Value
		}
	}
	if c.header, err = json.Marshal(header); err != nil {
		stop(err)
	}
	return c.put(resp.Body)
}

// kernel is Extism's memory of one call: blocks that guest and host exchange, apart from
// the guest's own memory. An address is an offset into data; 0 is no block.
type kernel struct {
	call   *call
	data   []byte
	blocks map[uint64]uint64   // length of each block
	freed  map[uint64][]uint64 // blocks that were freed, by their aligned length
}

const firstBlock = 8

func align(n uint64) uint64 { return (n + 7) &^ 7 }

// alloc returns a block of n bytes, 0 for none, or ends the guest.
func (k *kernel) alloc(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	if n > maxExtismMemory || len(k.blocks) >= maxExtismBlocks {
		stop(errExtismMemory)
	}
	size := align(n)
	if list := k.freed[size]; len(list) > 0 {
		at := list[len(list)-1]
		k.freed[size] = list[:len(list)-1]
		k.blocks[at] = n
		return at
	}
	at := uint64(max(len(k.data), firstBlock))
	end := at + size
	if end > maxExtismMemory {
		stop(errExtismMemory)
	}
	if end > uint64(cap(k.data)) {
		grown := min(max(2*uint64(cap(k.data)), end, 4<<10), maxExtismMemory)
		k.call.hold(int(grown)) // the old one is counted until the call ends
		k.data = append(make([]byte, 0, grown), k.data...)
	}
	k.data = k.data[:end]
	if k.blocks == nil {
		k.blocks, k.freed = map[uint64]uint64{}, map[uint64][]uint64{}
	}
	k.blocks[at] = n
	return at
}

var errExtismMemory = host.E(host.Upstream, "", "the plug-in needs over %d bytes or %d blocks of Extism's memory", maxExtismMemory, maxExtismBlocks)

func (k *kernel) free(at uint64) {
	n, ok := k.blocks[at]
	if !ok {
		return
	}
	delete(k.blocks, at)
	size := align(n)
	k.freed[size] = append(k.freed[size], at)
}

func (k *kernel) length(at uint64) uint64 { return k.blocks[at] }

// block returns the bytes of a block, nil if there is none.
func (k *kernel) block(at uint64) []byte {
	b, _ := k.view(at, k.blocks[at])
	return b
}

// put makes a block of data.
func (k *kernel) put(data []byte) uint64 {
	at := k.alloc(uint64(len(data)))
	if at != 0 {
		copy(k.data[at:], data)
	}
	return at
}

func (k *kernel) view(at, n uint64) ([]byte, bool) {
	if at > uint64(len(k.data)) || n > uint64(len(k.data))-at {
		return nil, false
	}
	return k.data[at : at+n : at+n], true
}

// load reads a number of 1 or 8 bytes; it is 0 outside the memory, as in Extism's kernel.
func (k *kernel) load(at, n uint64) uint64 {
	b, ok := k.view(at, n)
	switch {
	case !ok:
		return 0
	case n == 1:
		return uint64(b[0])
	}
	return binary.LittleEndian.Uint64(b)
}

// store writes a number of 1 or 8 bytes; outside the memory it does nothing, as in
// Extism's kernel.
func (k *kernel) store(at, n, value uint64) {
	b, ok := k.view(at, n)
	switch {
	case !ok || at < firstBlock:
	case n == 1:
		b[0] = byte(value)
	default:
		binary.LittleEndian.PutUint64(b, value)
	}
}
