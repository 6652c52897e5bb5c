package door

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// inbound returns the headers of a request that a plugin sees. A repeated header is joined
// to one list (RFC 9110, section 5.3).
func inbound(h http.Header) []abi.Pair {
	var pairs []abi.Pair
	for _, name := range abi.InboundHeaders {
		if v := strings.Join(h[name], ", "); v != "" && len(v) <= abi.MaxString {
			pairs = append(pairs, abi.Pair{Name: name, Value: v})
		}
	}
	return pairs
}

// writeResponse writes a plugin's response. The content is not trusted: a browser must not
// run it with the rights of the console's pages.
func (d *door) writeResponse(w http.ResponseWriter, r *http.Request, v *visit, resp *abi.Response) error {
	if resp.Status < 200 {
		return &host.Error{Kind: host.Upstream, Message: "the plugin failed", Detail: "it answered with an interim status"}
	}
	h := w.Header()
	for _, p := range resp.Header {
		name := http.CanonicalHeaderKey(p.Name)
		switch err := abi.CheckOutbound(name, p.Value); {
		case err != nil && name == "Location":
			gateway.RequestOf(r.Context()).Log.Warn("a plugin redirects to another host", "plugin", v.call.Caller.Plugin, "error", err)
			return &host.Error{Kind: host.Upstream, Message: "the plugin failed", Detail: "it redirects to another host"}
		case err != nil:
			d.complain(r, v, err.Error())
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
			d.complain(r, v, "a response with status "+strconv.Itoa(resp.Status)+" must have no body; the plugin's body was dropped")
		}
		body = nil
	}
	if resp.Status != http.StatusNoContent && resp.Status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	// Flushed here, so that nothing is sent after the session's end.
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

// complain logs a problem of a route's responses for the plugin's author, once for each
// route of a loaded plugin, so that a plugin cannot fill the log.
func (d *door) complain(r *http.Request, v *visit, what string) {
	type at struct {
		generation uint64
		route      string
	}
	route := v.call.Match.Route
	if _, again := d.complained.LoadOrStore(at{route.Generation, route.Name}, true); !again {
		gateway.RequestOf(r.Context()).Log.Warn("a plugin's response was changed", "plugin", route.Plugin, "route", route.Name, "problem", what)
	}
}

// asGet returns method, and GET for HEAD, which is GET without the body (RFC 9110, section
// 9.3.2); net/http omits the body.
func asGet(method string) string {
	if method == http.MethodHead {
		return http.MethodGet
	}
	return method
}
