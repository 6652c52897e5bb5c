package adapter

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Env is what one call of a module has of the host. Its methods are called by the
// goroutine of the call.
type Env interface {
	// Fetch makes a capability call for the caller, within grants and policy. The answer
	// is counted until the call ends.
	Fetch(ctx context.Context, capability string, r *abi.Request) (*abi.Response, error)
	// Hold counts n bytes that the host keeps for the guest, until the call ends. The
	// error means that module or user have no room for them.
	Hold(n int) error
	// Log writes a line of the guest, with a level of log/slog.
	Log(ctx context.Context, level slog.Level, line string)
}

// Adapter is a module's ABI, with the configuration of one plugin. It is safe for
// concurrent use.
type Adapter interface {
	// Link adds the ABI's imports and exports to spec.
	Link(spec *sandbox.Spec)
	// Start runs the module's own initialization in the instance that becomes the template.
	Start(ctx context.Context, i *sandbox.Instance, env Env) error
	// Check calls what the ABI has for finding out whether the module works with its
	// configuration, on an instance of its own.
	Check(ctx context.Context, i *sandbox.Instance, env Env) error
	// Handle answers a request, on an instance of its own. A refusal that a person should
	// see is a *host.Error or *abi.Error, and a fault of the guest a *sandbox.Error.
	Handle(ctx context.Context, i *sandbox.Instance, env Env, r *abi.Request) (*abi.Response, error)
}

// New returns the adapter for a manifest with an ABI. name is the plugin's name, and
// config its configuration, whose errors name the key.
func New(m *manifest.Manifest, name string, config []byte) (Adapter, error) {
	switch m.ABI {
	case manifest.WASICommand:
		return newCommand(name, config)
	case manifest.Extism:
		return newExtism(m, config)
	case manifest.HTTPWasm:
		return newMiddleware(config)
	case manifest.Kubewarden:
		return newKubewarden(config)
	}
	return nil, fmt.Errorf("this host cannot run modules of abi %q", m.ABI)
}

// call is the state of one call that the imports of a module share.
type call struct {
	env     Env
	program *sandbox.Program // nil: output is logged
	state   any              // of the ABI
}

// begin makes spec give a module's start section the state of a call, which Start does not
// reach: it runs before.
func begin(spec *sandbox.Spec, state func() *call) {
	before := spec.Context
	spec.Context = func(ctx context.Context) context.Context {
		if before != nil {
			ctx = before(ctx)
		}
		return withCall(ctx, state())
	}
}

// noEnv is the Env of a start section.
type noEnv struct{}

func (noEnv) Fetch(context.Context, string, *abi.Request) (*abi.Response, error) {
	return nil, host.E(host.Unavailable, "", "capabilities are not available outside a request")
}
func (noEnv) Hold(int) error                          { return nil } // Extism's memory has its own bound
func (noEnv) Log(context.Context, slog.Level, string) {}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// refused is the cause of a guest that a host function ended; err is for the person.
type refused struct{ err error }

func (r *refused) Error() string { return r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

// stop ends the guest with the error of the call.
func stop(err error) { sandbox.Stop(&refused{err}) }

// broken ends a guest that violated its ABI.
func broken(format string, args ...any) {
	stop(fmt.Errorf("broke the ABI: "+format, args...))
}

// hold counts n bytes, or ends the guest.
func (c *call) hold(n int) {
	if err := c.env.Hold(n); err != nil {
		sandbox.Stop(err)
	}
}

// enter calls an export. The error of a guest that stop ended is the one given to stop.
func enter(ctx context.Context, i *sandbox.Instance, c *call, export string, args ...uint64) (uint64, error) {
	result, err := i.Call(withCall(ctx, c), export, args...)
	if fault, ok := errors.AsType[*sandbox.Error](err); ok && fault.Fault == sandbox.Stopped {
		if r, ok := errors.AsType[*refused](fault.Cause); ok {
			return 0, r.err
		}
	}
	return result, err
}

// exitCode returns the code with which a guest exited.
func exitCode(err error) (code sandbox.ExitCode, ok bool) {
	if fault, failed := errors.AsType[*sandbox.Error](err); failed && fault.Fault == sandbox.Exited {
		return errors.AsType[sandbox.ExitCode](fault.Cause)
	}
	return 0, false
}

// initialize calls those of the exports that the module has, in their order.
func initialize(ctx context.Context, i *sandbox.Instance, c *call, exports ...string) error {
	for _, name := range exports {
		if !i.Has(name) {
			continue
		}
		if _, err := enter(ctx, i, c, name); err != nil {
			return err
		}
	}
	return nil
}

// buffer collects what a guest writes, up to a limit.
type buffer struct {
	call *call
	most int
	what string
	data []byte
}

// write appends p, or ends the guest.
func (b *buffer) write(p []byte) {
	n := len(b.data) + len(p)
	if n > b.most {
		stop(host.E(host.Upstream, "", "%s is over %d bytes", b.what, b.most))
	}
	if n > cap(b.data) {
		grown := min(max(2*cap(b.data), n, 4<<10), b.most)
		b.call.hold(grown) // the old one is counted until the call ends
		b.data = append(make([]byte, 0, grown), b.data...)
	}
	b.data = append(b.data, p...)
}

// text returns the guest's bytes as a string, or ends a guest whose length is out of bounds.
func guestText(m sandbox.Memory, ptr, n uint64, most int, what string) string {
	if n > uint64(most) {
		broken("%s has %d bytes, the limit is %d", what, n, most)
	}
	view, ok := m.View(uint32(ptr), uint32(n))
	if !ok {
		broken("%s lies outside its memory", what)
	}
	return string(view)
}

// write copies data to the guest, or ends it.
func write(m sandbox.Memory, ptr uint64, data []byte) {
	if !m.Write(uint32(ptr), data) {
		broken("a buffer lies outside its memory")
	}
}

func write32(m sandbox.Memory, ptr uint64, v uint32) {
	write(m, ptr, binary.LittleEndian.AppendUint32(nil, v))
}

// decodeConfig decodes a plugin's configuration strictly.
func decodeConfig(config []byte, into any) error {
	if len(config) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

// signature is the type of an import or export.
func signature(result sandbox.Type, params ...sandbox.Type) sandbox.Signature {
	s := sandbox.Signature{Params: params}
	if result != 0 {
		s.Results = []sandbox.Type{result}
	}
	return s
}

// fetchCost is the processor time of a capability call, without waiting.
const fetchCost = 50 * time.Microsecond

const (
	i32 = sandbox.I32
	i64 = sandbox.I64
)

// contentType is that of output whose kind the module does not say. It is never one that
// a browser runs.
func contentType(body []byte) string {
	switch {
	case json.Valid(body):
		return "application/json"
	case utf8.Valid(body):
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// failed is the answer for a module that reports an error itself.
func failed(message string) error {
	const most = 4 << 10
	return &abi.Error{
		Code: "upstream", Origin: abi.OriginPlugin, Status: http.StatusBadGateway,
		Message: "the plugin failed", Detail: text.Printable(text.Cut(message, most)),
	}
}
