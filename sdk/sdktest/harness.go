// Package sdktest runs a plugin under plain `go test`, without wasm: an
// in-process host that matches routes, encodes and decodes every frame, gives
// the plugin the capabilities that the test provides and refuses all others
// with the frames that the host would send.
//
//	//go:embed manifest.json
//	var manifest string
//
//	func TestHello(t *testing.T) {
//		h := sdktest.New(t, manifest)
//		resp := h.Do(sdktest.Request{Method: "GET", Path: "/hello", User: "ann@example.com"})
//		if resp.Status != 200 || resp.Text() != "hello ann@example.com" {
//			t.Errorf("got %d %s", resp.Status, resp.Text())
//		}
//	}
//
// The harness does not ask policy: every request counts as authenticated and allowed. It
// does not bound processor time or memory. The local time zone is UTC, as in the sandbox,
// but files and named time zones of the machine, which the sandbox does not have, remain
// available. Tests may run in parallel; since a plugin's state is its package variables,
// one request runs at a time, and the plugin is started again after another harness was
// used.
package sdktest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// entryMu is held while an entry runs; running is the harness whose config is in the
// plugin's package variables.
var (
	entryMu sync.Mutex
	running *Harness
)

// A plugin runs in UTC, whatever the author's time zone.
func init() { time.Local = time.UTC }

// Capability answers a plugin's calls of one capability. An error of type *abi.Error
// reaches the plugin unchanged; any other becomes the host's 502.
type Capability func(*abi.Request) (*abi.Response, error)

// Harness is a host with one plugin: the one whose package the test is in.
type Harness struct {
	t            testing.TB
	manifest     *manifest.Manifest
	instance     string
	config       []byte
	capabilities map[string]Capability
}

// New makes a host for the plugin with the given manifest.json. It fails the test if the
// manifest is invalid, or if its routes and the registered handlers differ.
func New[T string | []byte](t testing.TB, manifestJSON T) *Harness {
	t.Helper()
	m, err := manifest.Parse([]byte(manifestJSON))
	if err != nil {
		t.Fatal(err)
	}
	h := &Harness{t: t, manifest: m, instance: m.Name, config: []byte("{}"), capabilities: map[string]Capability{}}
	h.checkRoutes()
	return h
}

func (h *Harness) checkRoutes() {
	h.t.Helper()
	if err := h.manifest.CheckHandlers(manifest.Handlers{Unary: guest.Routes(), Sessions: guest.Sessions()}); err != nil {
		h.t.Errorf("sdktest: manifest and handlers differ: %v", err)
	}
}

// Capability grants a capability and defines its answers. Call it before the first
// request. A capability that the manifest does not list fails the test.
func (h *Harness) Capability(name string, answer Capability) {
	h.t.Helper()
	if !h.asks(name) {
		h.t.Errorf("sdktest: the manifest does not request capability %q", name)
	}
	h.capabilities[name] = answer
}

func (h *Harness) asks(capability string) bool {
	return slices.ContainsFunc(h.manifest.Capabilities, func(c manifest.Capability) bool { return c.Name == capability })
}

// Config sets the operator's config, any value that encodes to JSON. Call it before the
// first request.
func (h *Harness) Config(v any) {
	h.t.Helper()
	config, err := json.Marshal(v)
	if err != nil {
		h.t.Fatal(err)
	}
	h.config = config
}

// Start starts the plugin and returns the error of its start functions, with which the host
// would not load it. Requests start the plugin by themselves.
func (h *Harness) Start() error {
	entryMu.Lock()
	defer entryMu.Unlock()
	running = nil
	return h.start()
}

// start starts the plugin for this harness. The caller holds entryMu.
func (h *Harness) start() error {
	if running == h {
		return nil
	}
	running = nil
	frame := abi.AppendStart(nil, &abi.Start{ABI: abi.Version, Instance: h.instance, Config: h.config, Denied: h.denied()})
	c := &host{h: h, starting: true}
	out, trap := c.enter(guest.Start, frame)
	if trap != nil {
		return trap
	}
	if _, err := abi.DecodeReply(out); err != nil {
		return err
	}
	running = h
	return nil
}

func (h *Harness) denied() []string {
	var names []string
	for _, c := range h.manifest.Capabilities {
		if c.Optional && h.capabilities[c.Name] == nil {
			names = append(names, c.Name)
		}
	}
	return names
}

// run runs one entry as a host does. The caller decodes the answer.
func (h *Harness) run(entry func([]byte) []byte, r *abi.Request, s *script) *Response {
	entryMu.Lock()
	defer entryMu.Unlock()
	if err := h.start(); err != nil {
		h.t.Helper()
		h.t.Fatalf("sdktest: the plugin did not start: %v", err)
	}
	c := &host{h: h, script: s}
	out, trap := c.enter(entry, abi.AppendRequest(nil, r))
	if trap != nil {
		running = nil
		return fromError(trap)
	}
	resp, err := abi.DecodeReply(out)
	if err != nil {
		return fromError(err)
	}
	return fromResponse(resp)
}

func notGranted(plugin, capability string) *abi.Error {
	return &abi.Error{
		Code: abi.CodeNotGranted, Origin: abi.OriginGrant, Status: 403,
		Message: fmt.Sprintf("plugin %q is not granted %s", plugin, capability),
	}
}
