package surfacetest

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Probe is a plugin that answers as tests ask. It is the same to a door as a loaded
// plugin, and nothing is compiled.
type Probe struct{}

// probeRoutes are the routes of Probe by name.
var probeRoutes = []plugin.Match{
	route("answer", "GET", "/answer", manifest.Unary),
	route("seen", "GET", "/seen", manifest.Unary),
	route("take", "POST", "/take", manifest.Unary),
	route("change", "POST", "/change", manifest.Unary),
	route("item", "PUT", "/items/7", manifest.Unary),
	route("item-get", "GET", "/items/7", manifest.Unary),
	route("ticks", "GET", "/ticks", manifest.Events),
	route("chat", "GET", "/", manifest.Socket),
	route("needs", "GET", "/needs", manifest.Unary),
}

func route(name, method, path string, kind manifest.Kind) plugin.Match {
	mutates := name == "change" || name == "item"
	action := host.Action("probe:" + name + ".read")
	if mutates {
		action = "probe:change"
	}
	return plugin.Match{Kind: kind, Route: host.Route{
		Plugin: "probe", Name: name, Action: action, Method: method, Path: path, Mutates: mutates, Generation: 1,
	}}
}

// Info lists the routes.
func (Probe) Info() plugin.Info { return plugin.Info{Name: "probe", Routes: slices.Clone(probeRoutes)} }

// Match finds a route. The route "needs" requires the query's cluster, once.
func (Probe) Match(socket bool, method, path string, query url.Values) (*plugin.Match, []string) {
	var allowed []string
	for _, m := range probeRoutes {
		switch {
		case (m.Kind == manifest.Socket) != socket || m.Route.Path != path:
		case m.Route.Method != method:
			allowed = append(allowed, m.Route.Method)
		default:
			if m.Route.Name == "needs" {
				switch values := query["cluster"]; len(values) {
				case 0:
					m.Missing = []string{"cluster"}
				case 1:
					m.Resource = host.Resource{"cluster": values[0]}
				default:
					m.Ambiguous = []string{"cluster"}
				}
			}
			return &m, nil
		}
	}
	return nil, allowed
}

// Timeout of a call.
func (Probe) Timeout() time.Duration { return time.Minute }

// BodyBytes bounds a body.
func (Probe) BodyBytes() int { return 1 << 20 }

// Bind and Return do nothing: a Probe is never replaced.
func (Probe) Bind(func(error)) {}
func (Probe) Return()          {}

// Handle answers a call.
func (Probe) Handle(ctx context.Context, c *plugin.Call) (*abi.Response, error) {
	u, err := url.ParseRequestURI(c.URL)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	switch c.Match.Route.Name {
	case "answer", "item-get":
		return answer(q)
	case "seen":
		return text(c.Match.Route.Method + " " + c.URL + "\n" + seen(c.Header, q["name"])), nil
	case "change":
		c.Caller.Logger.Info("the change begins")
		if err := pause(ctx, "300"); err != nil {
			return nil, err
		}
		c.Caller.Logger.Info("the change is done")
		return &abi.Response{Status: http.StatusNoContent}, nil
	}
	if err := pause(ctx, q.Get("ms")); err != nil {
		return nil, err
	}
	return text("got " + strconv.Itoa(len(c.Body))), nil
}

// answer has the status, the body and the headers ("Name: value") of the query.
func answer(q url.Values) (*abi.Response, error) {
	status, err := strconv.Atoi(q.Get("status"))
	if err != nil {
		return nil, host.E(host.Invalid, "", "status is not a number")
	}
	resp := &abi.Response{Status: status, Body: []byte(q.Get("body"))}
	for _, h := range q["header"] {
		name, value, _ := strings.Cut(h, ": ")
		resp.Header = append(resp.Header, abi.Pair{Name: name, Value: value})
	}
	return resp, nil
}

// seen lists the headers of these names as the plugin sees them.
func seen(header []abi.Pair, names []string) string {
	var out strings.Builder
	for _, name := range names {
		value := ""
		for _, p := range header {
			if strings.EqualFold(p.Name, name) {
				value = p.Value
			}
		}
		out.WriteString(name + ": " + value + "\n")
	}
	return out.String()
}

func text(s string) *abi.Response {
	return &abi.Response{Status: http.StatusOK, Header: []abi.Pair{{Name: "Content-Type", Value: "text/plain"}}, Body: []byte(s)}
}

// pause waits, as a plugin's call does, until the call is over.
func pause(ctx context.Context, ms string) error {
	n, _ := strconv.Atoi(ms)
	select {
	case <-time.After(time.Duration(n) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Session runs ticks, which sends numbers, and chat, which sends every message back.
func (Probe) Session(ctx context.Context, c *plugin.Call, s plugin.Socket) (*abi.Response, bool, error) {
	client, err := s.Accept(nil, 0)
	if err != nil {
		return nil, false, err
	}
	for n := 0; ; n++ {
		binary, data := false, []byte(strconv.Itoa(n))
		if c.Match.Kind == manifest.Socket {
			if binary, data, err = client.Read(); err != nil {
				break
			}
		} else if err = pause(ctx, "10"); err != nil {
			break
		}
		if err = client.Write(binary, data); err != nil {
			break
		}
	}
	if auth := c.Caller.Authority; !auth.Alive() {
		s.End(auth.Cause())
	}
	return nil, true, err
}
