package adapter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// A policy of Kubewarden is a waPC module (version 1): the host calls an operation with a
// payload, and the guest fetches both, answers, or reports an error. Kubewarden's operations
// are validate, validate_settings and protocol_version.
const (
	moduleWaPC   = "wapc"
	exportGuest  = "__guest_call"
	maxOperation = 1 << 10 // bytes of a name in a host call
)

// kubewarden is such a policy with its settings.
type kubewarden struct{ settings json.RawMessage }

func newKubewarden(config []byte) (*kubewarden, error) {
	settings := bytes.TrimSpace(config)
	if len(settings) == 0 {
		settings = []byte("{}")
	}
	if settings[0] != '{' || !json.Valid(settings) {
		return nil, fmt.Errorf("config: must be an object: the policy's settings")
	}
	return &kubewarden{settings}, nil
}

// wapcCall is what the imports of a call share.
type wapcCall struct {
	*call
	operation, payload string
	response           []byte
	failure            string // of the guest
	hostResponse       string
	hostError          string
}

func (k *kubewarden) begin(env Env) *wapcCall {
	c := &wapcCall{call: &call{env: env}}
	c.call.state = c
	return c
}

func (k *kubewarden) Link(spec *sandbox.Spec) {
	spec.Exports = map[string]sandbox.Signature{exportGuest: signature(i32, i32, i32)}
	spec.Optional = map[string]sandbox.Signature{"_initialize": {}, "_start": {}, "wapc_init": {}}
	begin(spec, func() *call { return k.begin(noEnv{}).call })
	add := func(name string, s sandbox.Signature, f func(ctx context.Context, c *wapcCall, mem sandbox.Memory, s []uint64) uint64) {
		spec.Imports = append(spec.Imports, sandbox.Import{Module: moduleWaPC, Name: name, Signature: s,
			Call: func(ctx context.Context, mem sandbox.Memory, stack []uint64) {
				result := f(ctx, callOf(ctx).state.(*wapcCall), mem, stack)
				if len(s.Results) > 0 {
					stack[0] = result
				}
			}})
	}
	add("__guest_request", signature(0, i32, i32), func(_ context.Context, c *wapcCall, mem sandbox.Memory, s []uint64) uint64 {
		write(mem, s[0], []byte(c.operation))
		write(mem, s[1], []byte(c.payload))
		return 0
	})
	add("__guest_response", signature(0, i32, i32), func(_ context.Context, c *wapcCall, mem sandbox.Memory, s []uint64) uint64 {
		c.hold(int(min(s[1], abi.MaxBody)))
		c.response = []byte(guestText(mem, s[0], s[1], abi.MaxBody, "the response"))
		return 0
	})
	add("__guest_error", signature(0, i32, i32), func(_ context.Context, c *wapcCall, mem sandbox.Memory, s []uint64) uint64 {
		c.failure = guestText(mem, s[0], min(s[1], abi.MaxString), abi.MaxString, "the error")
		return 0
	})
	add("__console_log", signature(0, i32, i32), func(ctx context.Context, c *wapcCall, mem sandbox.Memory, s []uint64) uint64 {
		c.env.Log(ctx, slog.LevelInfo, guestText(mem, s[0], min(s[1], maxLogLine), maxLogLine, "a log message"))
		return 0
	})
	add("__host_call", signature(i32, i32, i32, i32, i32, i32, i32, i32, i32), hostCall)
	add("__host_response_len", signature(i32), func(_ context.Context, c *wapcCall, _ sandbox.Memory, _ []uint64) uint64 {
		return uint64(len(c.hostResponse))
	})
	add("__host_response", signature(0, i32), func(_ context.Context, c *wapcCall, mem sandbox.Memory, s []uint64) uint64 {
		write(mem, s[0], []byte(c.hostResponse))
		return 0
	})
	add("__host_error_len", signature(i32), func(_ context.Context, c *wapcCall, _ sandbox.Memory, _ []uint64) uint64 {
		return uint64(len(c.hostError))
	})
	add("__host_error", signature(0, i32), func(_ context.Context, c *wapcCall, mem sandbox.Memory, s []uint64) uint64 {
		write(mem, s[0], []byte(c.hostError))
		return 0
	})
}

// hostCall is (binding, n, namespace, n, operation, n, payload, n) -> 1, or 0 for an error.
// A policy judges what it is given: calls of the host that would read a cluster, a registry
// or the network are refused; log lines of the SDKs are written.
func hostCall(ctx context.Context, c *wapcCall, mem sandbox.Memory, s []uint64) uint64 {
	var names [3]string
	for i := range names {
		names[i] = guestText(mem, s[2*i], s[2*i+1], maxOperation, "the name of a host call")
	}
	c.hostResponse, c.hostError = "", ""
	if names[1] == "tracing" && names[2] == "log" {
		var line struct{ Level, Message string }
		if json.Unmarshal([]byte(guestText(mem, s[6], min(s[7], maxLogLine), maxLogLine, "a log message")), &line) == nil {
			var level slog.Level
			_ = level.UnmarshalText([]byte(line.Level)) // an unknown one is info
			c.env.Log(ctx, level, line.Message)
		}
		return 1
	}
	c.hostError = text.Printable(fmt.Sprintf("Bulkhead does not answer the host call %s of a policy", text.Short(strings.Join(names[:], "/"))))
	c.env.Log(ctx, slog.LevelWarn, c.hostError)
	return 0
}

// invoke calls an operation of the policy.
func (k *kubewarden) invoke(ctx context.Context, i *sandbox.Instance, env Env, operation string, payload []byte) ([]byte, error) {
	if err := env.Hold(len(payload)); err != nil {
		return nil, err
	}
	c := k.begin(env)
	c.operation, c.payload = operation, string(payload)
	ok, err := enter(ctx, i, c.call, exportGuest, uint64(len(operation)), uint64(len(payload)))
	switch {
	case err != nil:
		return nil, err
	case ok == 0:
		return nil, failed(fmt.Sprintf("the policy's operation %s failed: %s", operation, c.failure))
	}
	return c.response, nil
}

func (k *kubewarden) Start(ctx context.Context, i *sandbox.Instance, env Env) error {
	return initialize(ctx, i, k.begin(env).call, "_initialize", "_start", "wapc_init")
}

// Check asks the policy for its protocol, and whether its settings are valid.
func (k *kubewarden) Check(ctx context.Context, i *sandbox.Instance, env Env) error {
	version, err := k.invoke(ctx, i, env, "protocol_version", nil)
	if err != nil {
		return fmt.Errorf("is it a policy of Kubewarden? %w", err)
	}
	if got := string(bytes.TrimSpace(version)); got != `"v1"` {
		return host.E(host.Unprocessable, "", "the policy has Kubewarden's protocol %s; this host has v1", text.Short(got))
	}
	answer, err := k.invoke(ctx, i, env, "validate_settings", k.settings)
	if err != nil {
		return err
	}
	var v struct {
		Valid   *bool
		Message string
	}
	switch err := json.Unmarshal(answer, &v); {
	case err != nil || v.Valid == nil:
		return host.E(host.Unprocessable, "", "validate_settings: the policy's answer is not a validation of settings")
	case !*v.Valid:
		return host.E(host.Unprocessable, "", "config: the policy refuses these settings: %s", text.Printable(text.Short(v.Message)))
	}
	return nil
}

// Verdict is what a policy of Kubewarden says about one request.
type Verdict struct {
	Accepted *bool           `json:"accepted"`
	Message  string          `json:"message"`
	Code     int             `json:"code"`
	Mutated  json.RawMessage `json:"mutated_object"`
}

// Handle puts the admission request in the body to the policy, and answers with its verdict.
func (k *kubewarden) Handle(ctx context.Context, i *sandbox.Instance, env Env, r *abi.Request) (*abi.Response, error) {
	request := bytes.TrimSpace(r.Body)
	if len(request) == 0 || request[0] != '{' || !json.Valid(request) {
		return nil, host.E(host.Invalid, "", "the body must be the request of an AdmissionReview: a JSON object with uid, kind, operation, object, …")
	}
	payload, err := json.Marshal(map[string]json.RawMessage{"request": request, "settings": k.settings})
	if err != nil {
		return nil, err
	}
	answer, err := k.invoke(ctx, i, env, "validate", payload)
	if err != nil {
		return nil, err
	}
	var v Verdict
	if err := json.Unmarshal(answer, &v); err != nil || v.Accepted == nil {
		return nil, failed("the policy's answer to validate is not a verdict")
	}
	return &abi.Response{Status: http.StatusOK, Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}}, Body: answer}, nil
}
