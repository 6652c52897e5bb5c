package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/adapter"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Generation is one loaded version of a plugin under one instance name. It is
// safe for concurrent use.
type Generation struct {
	name     string
	manifest *manifest.Manifest
	ui       manifest.UIFiles // of its page, nil if it brings none
	digest   string
	routes   *routes
	broker   *capability.Broker
	granted  *capability.Granted
	denied   []string
	adapter  adapter.Adapter // nil: the module has Bulkhead's own ABI
	module   *sandbox.Module
	shares   *shares
	people   *people
	limits   Limits // resolved
	log      *slog.Logger
	start    []byte // the Start frame
	config   Config // that it was made from, replaced by one that differs in rollout and verification; see attempt.stay
	number   uint64
	since    time.Time // when it was published
	counters counters
	called   func(context.Context, Usage)    // nil: nobody is told
	counted  func(context.Context, Measured) // the same
	drain
}

// Info is what may be told about a generation.
type Info struct {
	Name         string   `json:"name"`
	Plugin       string   `json:"plugin"`
	Version      string   `json:"version"`
	Description  string   `json:"description,omitempty"`
	Digest       string   `json:"digest"`
	Capabilities []string `json:"capabilities"`
	Denied       []string `json:"denied,omitempty"`
	Routes       []Match  `json:"-"`
	// UI describes the page that it brings for the console, nil if it brings none.
	UI *manifest.UI `json:"-"`
}

// Info describes g.
func (g *Generation) Info() Info {
	return Info{
		Name: g.name, Plugin: g.manifest.Name, Version: g.manifest.Version,
		Description: g.manifest.Description, Digest: g.digest,
		Capabilities: g.granted.Names(), Denied: g.denied, Routes: g.routes.all(), UI: g.manifest.UI,
	}
}

// Timeout bounds a unary call of g.
func (g *Generation) Timeout() time.Duration { return time.Duration(g.limits.Timeout) }

// BodyBytes bounds a request's body.
func (g *Generation) BodyBytes() int { return g.limits.BodyBytes }

// Match finds the route for a path below the plugin's root ("/" is the root
// itself). socket tells sockets from requests. Without a match, allowed lists
// the methods for which there is one.
func (g *Generation) Match(socket bool, method, path string, query url.Values) (m *Match, allowed []string) {
	return g.routes.match(socket, method, path, query)
}

// open reads a plugin's file and the manifest in it.
func open(path string, l Limits) (wasm []byte, m *manifest.Manifest, err error) {
	if wasm, err = read(path, max(0, l.Module.WithDefaults().ModuleBytes)); err != nil {
		return nil, nil, err
	}
	if m, err = manifestOf(wasm); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return wasm, m, nil
}

// manifestOf reads the manifest in a module.
func manifestOf(wasm []byte) (*manifest.Manifest, error) {
	raw, err := manifest.Extract(wasm)
	if err != nil {
		return nil, err
	}
	return manifest.Parse(raw)
}

// ReadFile is Options.Fetch for a Source that is the path of a file.
func ReadFile(_ context.Context, c *Config, most int) ([]byte, error) { return read(c.Source, most) }

// read reads a module's file of at most so many bytes.
func read(path string, most int) ([]byte, error) {
	wasm, err := readFile(path, most)
	if errors.Is(err, errTooLarge) {
		return nil, tooLarge(path, most)
	}
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	return wasm, nil
}

var errTooLarge = errors.New("the file is too large")

func readFile(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(data) > most {
		err = errTooLarge
	}
	return data, err
}

func tooLarge(source string, most int) error {
	return fmt.Errorf("source: %s is larger than %d bytes (limits.module.moduleBytes)", source, most)
}

// consent compares what the plugin asks for with what the host has and the
// operator grants. Capabilities that it can do without are returned as denied.
func consent(catalog *capability.Catalog, m *manifest.Manifest, grants map[string][]capability.Grant) (denied []string, err error) {
	missing := unknown(catalog, m)
	for _, c := range m.Capabilities {
		switch {
		case len(grants[c.Name]) > 0:
		case c.Optional:
			denied = append(denied, c.Name)
		case slices.Contains(catalog.Names(), c.Name):
			missing = append(missing, fmt.Errorf(
				"needs capability %q (%s), which is not granted; to grant it, add under this plugin's entry in the configuration:\n  grants: {%s: %s}",
				c.Name, c.Reason, c.Name, catalog.Widest(c.Name)))
		}
	}
	return denied, errors.Join(missing...)
}

// unknown are the capabilities that the plugin cannot do without and this host
// does not have.
func unknown(catalog *capability.Catalog, m *manifest.Manifest) (missing []error) {
	for _, c := range m.Capabilities {
		if known := catalog.Names(); !c.Optional && !slices.Contains(known, c.Name) {
			missing = append(missing, fmt.Errorf("needs capability %q (%s), which this host does not have; there are %s",
				c.Name, c.Reason, strings.Join(known, ", ")))
		}
	}
	return missing
}

// asked is the part of the grants that the manifest asks for: another grant gives
// nothing.
func asked(m *manifest.Manifest, grants map[string][]capability.Grant) map[string][]capability.Grant {
	out := map[string][]capability.Grant{}
	for _, c := range m.Capabilities {
		if g, ok := grants[c.Name]; ok {
			out[c.Name] = g
		}
	}
	return out
}

// explain adds to a failed link what the plugin's author should change.
func explain(err error, m *manifest.Manifest) error {
	if refused, ok := errors.AsType[*sandbox.Refused](err); ok {
		return named(err, refused)
	}
	missing, ok := errors.AsType[*sandbox.MissingImport](err)
	if !ok {
		return err
	}
	name, ok := capabilityOf(missing.Module)
	if ok && !slices.ContainsFunc(m.Capabilities, func(c manifest.Capability) bool { return c.Name == name }) {
		return fmt.Errorf("imports %s, but its manifest does not ask for capability %q", missing.Module, name)
	}
	return err
}

// named adds to a refusal for a limit the key under which an operator sets it.
func named(err error, refused *sandbox.Refused) error {
	switch refused.Limit {
	case "":
		return err
	case "memory":
		return fmt.Errorf("%w (limits.memoryMiB)", err)
	}
	return fmt.Errorf("%w (limits.module.%s)", err, refused.Limit)
}

func capabilityOf(module string) (string, bool) {
	name, ok := strings.CutPrefix(module, abi.ModulePrefix)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(name, abi.ModuleSuffix)
}

var (
	i32 = sandbox.I32
	i64 = sandbox.I64
)

func (g *Generation) spec() sandbox.Spec {
	spec := sandbox.Spec{
		Context: func(ctx context.Context) context.Context { return withCall(ctx, &call{log: g.log}) },
		Init:    func(ctx context.Context, i *sandbox.Instance) error { return g.initialize(ctx, i) },
		Log:     func(ctx context.Context, line string) { g.output(ctx, line) },
	}
	if g.adapter != nil {
		g.adapter.Link(&spec)
		return spec
	}
	entry := sandbox.Signature{Params: []sandbox.Type{i32, i32}, Results: []sandbox.Type{i64}}
	spec.Imports = g.imports()
	spec.Exports = map[string]sandbox.Signature{
		abi.ExportAlloc: {Params: []sandbox.Type{i32}, Results: []sandbox.Type{i32}},
		abi.ExportStart: entry, abi.ExportHandle: entry,
	}
	spec.Optional = map[string]sandbox.Signature{
		abi.ExportInitialize: {}, abi.ExportSession: entry, abi.ExportHealth: {Results: entry.Results},
		abi.ExportRoutes: {Results: entry.Results}, abi.ExportAllocations: {Results: entry.Results},
	}
	return spec
}

// initialize runs the plugin's own initialization. Capabilities answer that they
// are not available then: there is no user to act for.
func (g *Generation) initialize(ctx context.Context, i *sandbox.Instance) error {
	if g.adapter != nil {
		return g.aside(ctx, i, func(ctx context.Context, i *sandbox.Instance, env *foreign) error {
			return g.adapter.Start(ctx, i, env)
		})
	}
	if err := g.register(ctx, i); err != nil {
		return err
	}
	for _, r := range g.manifest.Routes {
		if r.Kind != manifest.Unary && !i.Has(abi.ExportSession) {
			return fmt.Errorf("has the %s route %q but does not export %s", r.Kind, r.Name, abi.ExportSession)
		}
	}
	resp, free, err := enter(ctx, i, abi.ExportStart, g.start)
	if err == nil {
		if free(); resp == nil {
			err = broken("%s returned no frame", abi.ExportStart)
		}
	}
	if refused, ok := errors.AsType[*abi.Error](err); ok {
		return fmt.Errorf("refused to start: %s", refused.Message)
	}
	return err
}

// failure turns what an entry returned into the error that the user gets.
// What the plugin or a capability refused keeps its status; a plugin that
// failed is 502, one that took too long 504; one that was refused memory is 429 if the
// user has too much of it and 503 if the plugin has; a session that ended has its cause. How
// a guest failed, and where in its code, is for the log, under the request's id.
func (g *Generation) failure(ctx context.Context, c *Call, err error) error {
	route := c.Match.Route.Name
	op := g.name + "." + route
	if e, ok := errors.AsType[*abi.Error](err); ok {
		return &host.Error{
			Kind: kindOf(e), Status: e.Status, Op: op, Message: e.Message, Detail: e.Detail, RetryAfter: c.Caller.RetryAfter(e.Status),
		}
	}
	fault, ok := errors.AsType[*sandbox.Error](err)
	level := slog.LevelWarn
	out := &host.Error{Kind: host.Upstream, Op: op, Message: "the plugin failed", Err: err}
	switch {
	case !ok:
		if cause, ok := errors.AsType[*host.Error](err); ok {
			return cause
		}
		if e := g.short(op, err); e != nil {
			return e
		}
	case fault.Fault == sandbox.Canceled:
		level = slog.LevelDebug
		out = host.ErrClientGone
		if cause, ok := errors.AsType[*host.Error](fault.Cause); ok {
			out = cause
		}
	case fault.Fault == sandbox.Deadline:
		out.Kind, out.Message = host.Timeout, "the plugin took too long"
	case fault.Fault == sandbox.Exhausted:
		out.Message = "the plugin computed too much"
	default:
		if e := g.short(op, err); e != nil {
			out = e
		}
	}
	attrs := []any{"plugin", g.name, "route", route, "error", err}
	if ok && fault.Stack != "" {
		attrs = append(attrs, "stack", fault.Stack)
	}
	c.Caller.Logger.Log(ctx, level, "plugin failed", attrs...)
	return out
}

// short is the error of a call that got too little memory, nil if it did not
// fail for that.
func (g *Generation) short(op string, err error) *host.Error {
	switch {
	case errors.Is(err, sandbox.ErrHolder):
		return &host.Error{Kind: host.Limited, Op: op, Err: err,
			Message: fmt.Sprintf("your calls and sessions use %d MiB, which is the limit", g.people.resolved().MemoryMiB)}
	case errors.Is(err, sandbox.ErrMemory):
		return &host.Error{Kind: host.Unavailable, Op: op, Message: "the plugin uses all the memory it may; try again later", Err: err}
	}
	return nil
}

func kindOf(e *abi.Error) host.Kind {
	if e.Status >= 500 {
		for _, k := range []host.Kind{host.Upstream, host.Unavailable, host.Timeout} {
			if k.HTTPStatus() == e.Status {
				return k
			}
		}
		return host.Upstream
	}
	return host.KindOfStatus(e.Status)
}
