package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// inbound returns the headers of a request that a plugin sees. One that is given
// several times is joined to one list (RFC 9110, section 5.3).
func inbound(h http.Header) []abi.Pair {
	var pairs []abi.Pair
	for _, name := range abi.InboundHeaders {
		if v := strings.Join(h[name], ", "); v != "" && len(v) <= abi.MaxString {
			pairs = append(pairs, abi.Pair{Name: name, Value: v})
		}
	}
	return pairs
}

// writeResponse passes a plugin's response on. Its content comes from outside:
// a browser must not run it as the console's.
func (g *Gateway) writeResponse(w http.ResponseWriter, r *http.Request, v *visit, resp *abi.Response) error {
	if resp.Status < 200 {
		return &host.Error{Kind: host.Upstream, Message: "the plugin failed", Detail: "it answered with an interim status"}
	}
	h := w.Header()
	for _, p := range resp.Header {
		name := http.CanonicalHeaderKey(p.Name)
		switch err := abi.CheckOutbound(name, p.Value); {
		case err != nil && name == "Location":
			infoOf(r.Context()).log.Warn("a plugin redirects to another host", "plugin", v.call.Caller.Plugin, "error", err)
			return &host.Error{Kind: host.Upstream, Message: "the plugin failed", Detail: "it redirects to another host"}
		case err != nil:
			g.complain(r, v, err.Error())
		case name == "Link":
			h.Add(name, p.Value)
		default:
			h.Set(name, p.Value)
		}
	}
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "no-store")
	body := resp.Body
	if slices.Contains([]int{http.StatusNoContent, http.StatusResetContent, http.StatusNotModified}, resp.Status) {
		if len(body) > 0 { // RFC 9110, sections 15.3.5, 15.3.6, 15.4.5
			g.complain(r, v, "a response with status "+strconv.Itoa(resp.Status)+" has no body; what the plugin gave is left out")
		}
		body = nil
	}
	if resp.Status != http.StatusNoContent && resp.Status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	// Written out here, so that nothing follows the session's end.
	w.WriteHeader(resp.Status)
	if len(body) > 0 {
		if _, err := w.Write(body); err != nil {
			return host.ErrClientGone
		}
	}
	if http.NewResponseController(w).Flush() != nil {
		return host.ErrClientGone
	}
	return nil
}

// complain logs what a route's responses do wrong, once for each route of a
// loaded plugin: authors look there, and a plugin must not fill the log.
func (g *Gateway) complain(r *http.Request, v *visit, what string) {
	type at struct {
		generation uint64
		route      string
	}
	route := v.call.Match.Route
	if _, again := g.complained.LoadOrStore(at{route.Generation, route.Name}, true); !again {
		infoOf(r.Context()).log.Warn("a plugin's response was changed", "plugin", route.Plugin, "route", route.Name, "problem", what)
	}
}

// asGet is method, and GET for HEAD, which is GET without the body (RFC 9110,
// section 9.3.2): net/http leaves that out.
func asGet(method string) string {
	if method == http.MethodHead {
		return http.MethodGet
	}
	return method
}

// methodError refuses a method; the response names those that there are (RFC
// 9110, section 15.5.6).
type methodError struct {
	error   // a *host.Error
	allowed []string
}

func (e *methodError) Unwrap() error { return e.error }

func notAllowed(allowed []string) error {
	if slices.Contains(allowed, http.MethodGet) && !slices.Contains(allowed, http.MethodHead) {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	allowed = slices.Compact(allowed)
	return &methodError{&host.Error{Kind: host.Invalid, Status: http.StatusMethodNotAllowed,
		Message: "this path has no such method", Detail: "allowed: " + strings.Join(allowed, ", ")}, allowed}
}

// writeAnswerTimeout is how long a client may take to read an answer.
const writeAnswerTimeout = 30 * time.Second
