package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// http-wasm, as https://http-wasm.io/http-handler-abi describes it: a middleware in front of
// another handler. Here that handler is a place that the capability "http" reaches.
const (
	moduleHTTP     = "http_handler"
	exportRequest  = "handle_request"
	exportResponse = "handle_response"
	maxLogLine     = 8 << 10
)

// Features that a guest can ask for. Both are always on: the host keeps request and
// response whole. There are no trailers.
const (
	bufferRequest  = 1
	bufferResponse = 2
	offered        = bufferRequest | bufferResponse
)

// Kinds of headers and bodies.
const (
	ofRequest          = 0
	ofResponse         = 1
	ofRequestTrailers  = 2
	ofResponseTrailers = 3
)

// middleware is an http-wasm module.
type middleware struct {
	next     *url.URL      // nil: nothing is behind it
	config   []byte        // for the guest
	features atomic.Uint32 // enabled before the first request
}

// middlewareConfig is the configuration of such a plugin.
type middlewareConfig struct {
	// Next is the address to which requests go on that the module does not answer
	// itself. It is reached by the capability "http".
	Next string `json:"next"`
	// Config is what the module reads as its configuration: a text as it is, or JSON.
	Config json.RawMessage `json:"config"`
}

func newMiddleware(config []byte) (*middleware, error) {
	var c middlewareConfig
	if err := decodeConfig(config, &c); err != nil {
		return nil, err
	}
	m := &middleware{config: c.Config}
	var text string
	if json.Unmarshal(c.Config, &text) == nil {
		m.config = []byte(text)
	}
	if c.Next == "" {
		return m, nil
	}
	u, err := url.Parse(c.Next)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("config: next: %q is not an address without query and user, such as https://shop.example.com/api", c.Next)
	}
	m.next = u.JoinPath()
	m.next.Path = strings.TrimSuffix(m.next.Path, "/")
	return m, nil
}

// message is a request or response as the guest sees it.
type message struct {
	header  []abi.Pair
	body    []byte
	read    int     // bytes of body that the guest has read
	written *buffer // what replaces body; nil: nothing
}

// content is the body after the guest.
func (m *message) content() []byte {
	if m.written != nil {
		return m.written.data
	}
	return m.body
}

// exchange is what the imports of a call share.
type exchange struct {
	*call
	of       *middleware
	started  bool // outside Start
	after    bool // the next handler has answered
	features uint32
	method   string
	uri      string
	request  message
	status   int
	response message
}

func (m *middleware) begin(env Env) *exchange {
	x := &exchange{call: &call{env: env}, of: m, features: m.features.Load()}
	x.call.state = x
	return x
}

func (m *middleware) Start(ctx context.Context, i *sandbox.Instance, env Env) error {
	x := m.begin(env)
	return initialize(ctx, i, x.call, "_initialize", "_start")
}

// Check does nothing: the ABI has no question for it.
func (m *middleware) Check(context.Context, *sandbox.Instance, Env) error { return nil }

func (m *middleware) Handle(ctx context.Context, i *sandbox.Instance, env Env, r *abi.Request) (*abi.Response, error) {
	x := m.begin(env)
	x.started, x.method, x.uri = true, r.Method, r.URL
	x.request.header, x.request.body = slices.Clone(r.Header), r.Body
	result, err := enter(ctx, i, x.call, exportRequest)
	if err != nil {
		return nil, err
	}
	if uint32(result) == 0 { // the guest has answered
		return x.answer(), nil
	}
	resp, failure := m.forward(ctx, x)
	isError := uint64(1)
	if failure == nil {
		isError = 0
		x.arrived(resp)
	}
	x.after = true
	if _, err := enter(ctx, i, x.call, exportResponse, result>>32, isError); err != nil || failure != nil {
		return nil, errors.Join(failure, err)
	}
	return x.answer(), nil
}

// arrived takes the next handler's answer. It comes behind what the guest has written before,
// and replaces headers of the same names and the status.
func (x *exchange) arrived(resp *abi.Response) {
	header := slices.DeleteFunc(x.response.header, func(h abi.Pair) bool {
		return slices.ContainsFunc(resp.Header, func(n abi.Pair) bool { return strings.EqualFold(n.Name, h.Name) })
	})
	body := resp.Body
	if before := x.response.content(); len(before) > 0 {
		body = slices.Concat(before, body)
	}
	x.status, x.response = resp.Status, message{header: append(header, resp.Header...), body: body}
}

func (x *exchange) answer() *abi.Response {
	status := x.status
	if status == 0 {
		status = http.StatusOK
	}
	return &abi.Response{Status: status, Header: x.response.header, Body: x.response.content()}
}

// forward sends the request on to the next handler.
func (m *middleware) forward(ctx context.Context, x *exchange) (*abi.Response, error) {
	if m.next == nil {
		return &abi.Response{Status: http.StatusNotFound, Header: []abi.Pair{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}},
			Body: []byte("the middleware has nothing behind it (config: next)\n")}, nil
	}
	if !strings.HasPrefix(x.uri, "/") {
		x.uri = "/" + x.uri
	}
	return x.env.Fetch(ctx, "http", &abi.Request{Method: x.method, URL: m.next.String() + x.uri, Header: x.request.header, Body: x.request.content()})
}

func (m *middleware) Link(spec *sandbox.Spec) {
	spec.Exports = map[string]sandbox.Signature{exportRequest: signature(i64), exportResponse: signature(0, i32, i32)}
	spec.Optional = map[string]sandbox.Signature{"_initialize": {}, "_start": {}}
	begin(spec, func() *call { return m.begin(noEnv{}).call })
	type function = func(ctx context.Context, x *exchange, mem sandbox.Memory, s []uint64) uint64
	add := func(name string, s sandbox.Signature, f function) {
		spec.Imports = append(spec.Imports, sandbox.Import{Module: moduleHTTP, Name: name, Signature: s,
			Call: func(ctx context.Context, mem sandbox.Memory, stack []uint64) {
				result := f(ctx, callOf(ctx).state.(*exchange), mem, stack)
				if len(s.Results) > 0 {
					stack[0] = result
				}
			}})
	}
	add("enable_features", signature(i32, i32), func(_ context.Context, x *exchange, _ sandbox.Memory, s []uint64) uint64 {
		x.features |= uint32(s[0]) & offered
		if !x.started {
			x.of.features.Or(x.features)
		}
		return uint64(x.features)
	})
	add("get_config", signature(i32, i32, i32), func(_ context.Context, x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		return fill(mem, s[0], s[1], string(x.of.config))
	})
	add("log_enabled", signature(i32, i32), func(_ context.Context, _ *exchange, _ sandbox.Memory, s []uint64) uint64 {
		if level, ok := middlewareLevel(s[0]); ok && level >= slog.LevelInfo {
			return 1
		}
		return 0
	})
	add("log", signature(0, i32, i32, i32), func(ctx context.Context, x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		if level, ok := middlewareLevel(s[0]); ok {
			x.env.Log(ctx, level, guestText(mem, s[1], min(s[2], maxLogLine), maxLogLine, "a log message"))
		}
		return 0
	})
	for name, f := range middlewareImports {
		add(name, f.signature, func(_ context.Context, x *exchange, mem sandbox.Memory, s []uint64) uint64 {
			if !x.started {
				broken("%s was called outside a request", name)
			}
			return f.call(x, mem, s)
		})
	}
}

// middlewareImports are the imports that need a request.
var middlewareImports = map[string]struct {
	signature sandbox.Signature
	call      func(x *exchange, mem sandbox.Memory, s []uint64) uint64
}{
	"get_method": {signature(i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 { return fill(mem, s[0], s[1], x.method) }},
	"set_method": {signature(0, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		x.before("the method")
		if x.method = guestText(mem, s[0], s[1], maxToken, "the method"); !isToken(x.method) {
			broken("set_method: %q is not a method", x.method)
		}
		return 0
	}},
	"get_uri": {signature(i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 { return fill(mem, s[0], s[1], x.uri) }},
	"set_uri": {signature(0, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		x.before("the URI")
		x.uri = guestText(mem, s[0], s[1], abi.MaxString/2, "the URI")
		return 0
	}},
	"get_protocol_version": {signature(i32, i32, i32), func(_ *exchange, mem sandbox.Memory, s []uint64) uint64 { return fill(mem, s[0], s[1], "HTTP/1.1") }},
	// A plugin does not know the client's address.
	"get_source_addr": {signature(i32, i32, i32), func(_ *exchange, mem sandbox.Memory, s []uint64) uint64 { return fill(mem, s[0], s[1], "127.0.0.1:0") }},
	"get_header_names": {signature(i64, i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		var names []string
		if m := x.headers(s[0]); m != nil {
			for _, h := range m.header {
				if name := strings.ToLower(h.Name); !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
		return fillList(mem, s[1], s[2], names)
	}},
	"get_header_values": {signature(i64, i32, i32, i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		name := headerName(mem, s[1], s[2])
		var values []string
		if m := x.headers(s[0]); m != nil {
			for _, h := range m.header {
				if strings.EqualFold(h.Name, name) {
					values = append(values, h.Value)
				}
			}
		}
		return fillList(mem, s[3], s[4], values)
	}},
	"set_header_value": {signature(0, i32, i32, i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		x.mutable(s[0]).set(x, mem, s, true)
		return 0
	}},
	"add_header_value": {signature(0, i32, i32, i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		x.mutable(s[0]).set(x, mem, s, false)
		return 0
	}},
	"remove_header": {signature(0, i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		x.mutable(s[0]).remove(headerName(mem, s[1], s[2]))
		return 0
	}},
	"read_body": {signature(i64, i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		if s[2] == 0 {
			broken("read_body: the limit is 0")
		}
		m := x.bodies(s[0], bufferRequest)
		body := m.content()
		if m.written != nil && s[0] == ofRequest {
			body = m.body
		}
		m.read = min(m.read, len(body))
		n := min(int(s[2]), len(body)-m.read)
		write(mem, s[1], body[m.read:m.read+n])
		if m.read += n; m.read < len(body) || n == int(s[2]) {
			return uint64(n)
		}
		return 1<<32 | uint64(n)
	}},
	"write_body": {signature(0, i32, i32, i32), func(x *exchange, mem sandbox.Memory, s []uint64) uint64 {
		if s[0] == ofRequest {
			x.before("the request's body")
		}
		m := x.bodies(s[0], 0)
		if m.written == nil {
			m.written = &buffer{call: x.call, most: abi.MaxBody, what: "a body that the module writes"}
		}
		view, ok := mem.View(uint32(s[1]), uint32(s[2]))
		if !ok {
			broken("write_body: the body lies outside its memory")
		}
		m.written.write(view)
		return 0
	}},
	"get_status_code": {signature(i32), func(x *exchange, _ sandbox.Memory, _ []uint64) uint64 {
		if x.status == 0 {
			return http.StatusOK
		}
		return uint64(x.status)
	}},
	"set_status_code": {signature(0, i32), func(x *exchange, _ sandbox.Memory, s []uint64) uint64 {
		if s[0] < 200 || s[0] > 599 {
			broken("set_status_code: %d is not a status from 200 to 599", s[0])
		}
		x.changeable("the status")
		x.status = int(s[0])
		return 0
	}},
}

const maxToken = 256 // of a method or a header's name

// before ends a guest that changes the request after it was sent on.
func (x *exchange) before(what string) {
	if x.after {
		broken("%s cannot be changed after the next handler", what)
	}
}

// changeable ends a guest that changes the response of the next handler without having
// enabled the feature for it.
func (x *exchange) changeable(what string) {
	if x.after && x.features&bufferResponse == 0 {
		broken("%s cannot be changed after the next handler without the feature buffer_response", what)
	}
}

// headers returns the message of a kind of headers, nil for trailers.
func (x *exchange) headers(kind uint64) *message {
	switch kind {
	case ofRequest:
		return &x.request
	case ofResponse:
		return &x.response
	case ofRequestTrailers, ofResponseTrailers:
		return nil
	}
	broken("there is no header kind %d", kind)
	return nil
}

func (x *exchange) mutable(kind uint64) *message {
	m := x.headers(kind)
	switch {
	case m == nil:
		broken("trailers are not supported")
	case m == &x.request:
		x.before("a header of the request")
	default:
		x.changeable("a header of the response")
	}
	return m
}

// bodies returns the message of a kind of body. A guest may read the request's after the
// next handler only with a feature.
func (x *exchange) bodies(kind uint64, feature uint32) *message {
	switch kind {
	case ofRequest:
		if x.after && x.features&feature == 0 {
			broken("the request's body cannot be read after the next handler without the feature buffer_request")
		}
		return &x.request
	case ofResponse:
		x.changeable("the response's body")
		return &x.response
	}
	broken("there is no body kind %d", kind)
	return nil
}

func headerName(mem sandbox.Memory, ptr, n uint64) string {
	name := guestText(mem, ptr, n, maxToken, "the name of a header")
	if !isToken(name) {
		broken("%q is not the name of a header", name)
	}
	return name
}

// set is set_header_value and add_header_value: (kind, name, n, value, m).
func (m *message) set(x *exchange, mem sandbox.Memory, s []uint64, replace bool) {
	name, value := headerName(mem, s[1], s[2]), guestText(mem, s[3], s[4], abi.MaxString, "the value of a header")
	if replace {
		m.remove(name)
	}
	if len(m.header) >= abi.MaxHeaders {
		broken("a message has over %d headers", abi.MaxHeaders)
	}
	x.hold(len(name) + len(value))
	m.header = append(m.header, abi.Pair{Name: name, Value: value})
}

func (m *message) remove(name string) {
	m.header = slices.DeleteFunc(m.header, func(h abi.Pair) bool { return strings.EqualFold(h.Name, name) })
}

// fill writes a text if it fits the guest's buffer, and returns its length.
func fill(mem sandbox.Memory, ptr, limit uint64, text string) uint64 {
	if n := uint64(len(text)); n > limit || n == 0 {
		return n
	}
	write(mem, ptr, []byte(text))
	return uint64(len(text))
}

// fillList writes texts, each with a zero behind it, if they fit the guest's buffer, and
// returns count<<32|length.
func fillList(mem sandbox.Memory, ptr, limit uint64, list []string) uint64 {
	var data []byte
	for _, text := range list {
		data = append(append(data, text...), 0)
	}
	if len(data) > 0 && uint64(len(data)) <= limit {
		write(mem, ptr, data)
	}
	return uint64(len(list))<<32 | uint64(len(data))
}

// middlewareLevel returns the level of log/slog for one of the ABI: -1 is debug, 0 info, 1
// warn, 2 error, 3 none.
func middlewareLevel(level uint64) (slog.Level, bool) {
	switch l := int32(uint32(level)); {
	case l >= 3:
		return 0, false
	case l == 2:
		return slog.LevelError, true
	case l == 1:
		return slog.LevelWarn, true
	case l == 0:
		return slog.LevelInfo, true
	}
	return slog.LevelDebug, true
}
