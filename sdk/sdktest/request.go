package sdktest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Request is a request to the host: method, path and query below the plugin's root, and
// the user. Method defaults to GET, User to "ann@example.com" and Timeout to 30 s.
type Request struct {
	Method string
	Path   string     // may have a query
	Header []abi.Pair // only abi.InboundHeaders; any other fails the test
	Body   string

	User, Name   string
	Roles, Teams []string
	Timeout      time.Duration

	// Obligations of policy.
	Namespaces, ResourceGroups, Redact []string
}

// Response is the answer that the client would get: the plugin's response, or the error
// body that the host writes for Err.
type Response struct {
	Status int
	Header []abi.Pair
	Body   []byte
	Err    *abi.Error // nil for a Response frame
}

// Text returns the body as a string.
func (r *Response) Text() string { return string(r.Body) }

// JSON decodes the body into v.
func (r *Response) JSON(v any) error { return json.Unmarshal(r.Body, v) }

// Do makes one request of a unary route. It must not be called in a Capability, because the
// plugin is busy then.
func (h *Harness) Do(r Request) *Response {
	h.t.Helper()
	route, req, refused := h.match(r, manifest.Unary)
	if refused != nil {
		return fromError(refused)
	}
	req.Host.Route, req.Host.Action = route.Name, h.instance+":"+route.Action
	resp := h.run(guest.Handle, req, nil)
	h.checkResponse(resp)
	return resp
}

// checkResponse fails the test if the host would drop a part of the response or refuse it.
func (h *Harness) checkResponse(r *Response) {
	h.t.Helper()
	for _, p := range r.Header {
		if err := abi.CheckOutbound(p.Name, p.Value); err != nil {
			h.t.Errorf("sdktest: %v", err)
		}
	}
	if (r.Status == 204 || r.Status == 205 || r.Status == 304) && len(r.Body) > 0 {
		h.t.Errorf("sdktest: a response with status %d must have no body, but this one has %d bytes", r.Status, len(r.Body))
	}
}

// checkHeader fails the test for a header that does not reach a plugin.
func (h *Harness) checkHeader(r *Request) {
	h.t.Helper()
	for _, p := range r.Header {
		if !slices.ContainsFunc(abi.InboundHeaders, func(name string) bool { return strings.EqualFold(name, p.Name) }) {
			h.t.Errorf("sdktest: header %q of a request does not reach a plugin", p.Name)
		}
	}
}

// match finds the route as the host does, with the refusals that precede the call of the
// plugin.
func (h *Harness) match(r Request, kinds ...manifest.Kind) (*manifest.Route, *abi.Request, *abi.Error) {
	if r.Method == "" {
		r.Method = "GET"
	}
	h.checkHeader(&r)
	raw, query, _ := strings.Cut(r.Path, "?")
	path, err := url.PathUnescape(raw) // routes are matched, and parameters found, in the decoded path
	if err != nil {
		return nil, nil, &abi.Error{Code: abi.CodeInvalid, Origin: abi.OriginHost, Status: 400, Message: "the path is not encoded properly"}
	}
	r.Path = (&url.URL{Path: path, RawQuery: query}).RequestURI()
	for i := range h.manifest.Routes {
		route := &h.manifest.Routes[i]
		params, ok := matchPath(route.Path, path)
		if !ok || route.Method != r.Method || !slices.Contains(kinds, route.Kind) {
			continue
		}
		if missing := missingDimensions(route, params, query); missing != "" {
			return nil, nil, &abi.Error{Code: abi.CodeInvalid, Origin: abi.OriginHost, Status: 400, Message: missing + " is required"}
		}
		return route, r.frame(params), nil
	}
	return nil, nil, &abi.Error{Code: abi.CodeNotFound, Origin: abi.OriginHost, Status: 404, Message: "not found"}
}

func matchPath(template, path string) ([]abi.Pair, bool) {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	var params []abi.Pair
	for i, segment := range want {
		name, ok := strings.CutPrefix(segment, "{")
		switch {
		case !ok && segment != got[i], ok && got[i] == "":
			return nil, false
		case ok:
			params = append(params, abi.Pair{Name: strings.TrimSuffix(name, "}"), Value: got[i]})
		}
	}
	return params, true
}

func missingDimensions(r *manifest.Route, params []abi.Pair, query string) string {
	values, _ := url.ParseQuery(query)
	for _, dim := range r.Required {
		from, name, _ := strings.Cut(r.Resource[dim], ":")
		present := from == "query" && values.Get(name) != "" ||
			from == "path" && slices.ContainsFunc(params, func(p abi.Pair) bool { return p.Name == name })
		if !present {
			return dim
		}
	}
	return ""
}

func (r *Request) frame(params []abi.Pair) *abi.Request {
	user, timeout := r.User, r.Timeout
	if user == "" {
		user = "ann@example.com"
	}
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	return &abi.Request{
		Method: r.Method, URL: r.Path, Header: r.Header, Body: []byte(r.Body),
		Host: &abi.HostSection{
			RequestID: "sdktest", User: user, Name: r.Name, Roles: r.Roles, Teams: r.Teams,
			Params: params, TimeoutMS: timeout.Milliseconds(),
			Namespaces: r.Namespaces, Groups: r.ResourceGroups, Redact: r.Redact,
		},
	}
}

func fromResponse(r *abi.Response) *Response {
	return &Response{Status: r.Status, Header: r.Header, Body: r.Body}
}

func fromError(err error) *Response {
	x, ok := err.(*abi.Error)
	if !ok {
		x = &abi.Error{Code: abi.CodeUpstream, Origin: abi.OriginHost, Status: 502, Message: "the plugin failed", Detail: err.Error()}
	}
	// Strings always encode.
	body, _ := json.Marshal(struct {
		Error     string `json:"error"`
		Detail    string `json:"detail,omitempty"`
		RequestID string `json:"requestId"`
	}{x.Message, x.Detail, "sdktest"})
	return &Response{
		Status: x.Status, Body: body, Err: x,
		Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}},
	}
}
