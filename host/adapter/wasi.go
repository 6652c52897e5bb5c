package adapter

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const exportStart = "_start"

// maxOutput is the most that a command can write to standard output: a body and a header.
const maxOutput = abi.MaxBody + abi.MaxString

// command is a WASI preview 1 command that is called as a CGI program.
type command struct {
	name   string
	config commandConfig
}

// commandConfig is the configuration of such a plugin.
type commandConfig struct {
	// Args are the program's arguments after its name.
	Args []string `json:"args"`
	// Env is added to its environment. It cannot set a variable of CGI.
	Env map[string]string `json:"env"`
	// Output is "cgi" (the default), if the program writes a header (RFC 3875, section 6),
	// or "body", if everything that it writes is the answer's body.
	Output string `json:"output"`
	// ContentType is that of the answer with output "body"; default: by its content.
	ContentType string `json:"contentType"`
}

// Bounds of arguments and environment, as a guest reads them into its memory.
const (
	maxTexts     = 256
	maxTextBytes = 256 << 10
)

func newCommand(name string, config []byte) (*command, error) {
	c := &command{name: name}
	if err := decodeConfig(config, &c.config); err != nil {
		return nil, err
	}
	total := 0
	for k, a := range c.config.Args {
		if total += len(a); strings.Contains(a, "\x00") {
			return nil, fmt.Errorf("config: args[%d]: contains a zero byte", k)
		}
	}
	for k, v := range c.config.Env {
		total += len(k) + len(v)
		switch {
		case k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00"):
			return nil, fmt.Errorf("config: env: %q is not the name of a variable with a text", k)
		case strings.HasPrefix(k, "HTTP_") || strings.HasPrefix(k, "BULKHEAD_") || slices.Contains(cgiNames, k):
			return nil, fmt.Errorf("config: env: %s is set by the host for each request", k)
		}
	}
	switch {
	case len(c.config.Args)+len(c.config.Env) > maxTexts || total > maxTextBytes:
		return nil, fmt.Errorf("config: args and env are over %d texts or %d bytes", maxTexts, maxTextBytes)
	case !slices.Contains([]string{"", "cgi", "body"}, c.config.Output):
		return nil, fmt.Errorf("config: output: %q must be cgi or body", c.config.Output)
	case c.config.ContentType != "" && c.config.Output != "body":
		return nil, fmt.Errorf("config: contentType: is for output body; with cgi, the program says it")
	case abi.CheckOutbound("Content-Type", c.config.ContentType) != nil && c.config.ContentType != "":
		return nil, fmt.Errorf("config: contentType: %q is not a content type", c.config.ContentType)
	}
	return c, nil
}

func (c *command) Link(spec *sandbox.Spec) {
	spec.Exports = map[string]sandbox.Signature{exportStart: {}}
	spec.Program = func(ctx context.Context) *sandbox.Program {
		if c := callOf(ctx); c != nil {
			return c.program
		}
		return nil
	}
}

// Start does nothing: a command initializes itself at each call, and its template is the
// state before its first instruction.
func (c *command) Start(context.Context, *sandbox.Instance, Env) error { return nil }

// Check does nothing: a command can only be run.
func (c *command) Check(context.Context, *sandbox.Instance, Env) error { return nil }

func (c *command) Handle(ctx context.Context, i *sandbox.Instance, env Env, r *abi.Request) (*abi.Response, error) {
	state := &call{env: env}
	out := &buffer{call: state, most: maxOutput, what: "the program's output"}
	state.program = &sandbox.Program{
		Args: append([]string{c.name}, c.config.Args...), Env: c.environment(r), Stdin: r.Body, Stdout: out.write,
	}
	_, err := enter(ctx, i, state, exportStart)
	if code, exited := exitCode(err); exited && code == 0 {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if c.config.Output == "body" {
		if len(out.data) > abi.MaxBody {
			return nil, host.E(host.Upstream, "", "%s is over %d bytes", out.what, abi.MaxBody)
		}
		return &abi.Response{Status: http.StatusOK, Body: out.data,
			Header: []abi.Pair{{Name: "Content-Type", Value: cmp.Or(c.config.ContentType, contentType(out.data))}}}, nil
	}
	return parseCGI(out.data)
}

// cgiNames are the variables of RFC 3875, section 4.1.
var cgiNames = []string{
	"AUTH_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE", "GATEWAY_INTERFACE", "PATH_INFO", "PATH_TRANSLATED", "QUERY_STRING",
	"REMOTE_ADDR", "REMOTE_HOST", "REMOTE_IDENT", "REMOTE_USER", "REQUEST_METHOD", "SCRIPT_NAME", "SERVER_NAME",
	"SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE",
}

// environment is the request as variables (RFC 3875, section 4.1). A plugin does not know
// the client's address or the host's name, so REMOTE_ADDR is the loopback address, and
// SERVER_NAME the plugin's name.
func (c *command) environment(r *abi.Request) []string {
	path, query, _ := strings.Cut(r.URL, "?")
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1", "SERVER_SOFTWARE=bulkhead", "SERVER_NAME=" + c.name, "SERVER_PORT=80",
		"REMOTE_ADDR=127.0.0.1", "AUTH_TYPE=Bearer", "REQUEST_METHOD=" + r.Method, "SCRIPT_NAME=/api/" + c.name, "PATH_INFO=" + path, "QUERY_STRING=" + query,
	}
	if len(r.Body) > 0 {
		env = append(env, "CONTENT_LENGTH="+strconv.Itoa(len(r.Body)))
	}
	for _, h := range r.Header {
		name := strings.ToUpper(strings.ReplaceAll(h.Name, "-", "_"))
		switch {
		case strings.Contains(h.Name, "_"), name == "PROXY", name == "CONTENT_LENGTH":
			// Another header could stand for it; HTTP_PROXY would redirect what programs send.
		case name == "CONTENT_TYPE":
			env = append(env, "CONTENT_TYPE="+h.Value)
		default:
			env = append(env, "HTTP_"+name+"="+h.Value)
		}
	}
	if h := r.Host; h != nil {
		env = append(env, "REMOTE_USER="+h.User, "BULKHEAD_REQUEST_ID="+h.RequestID, "BULKHEAD_ROUTE="+h.Route, "BULKHEAD_ACTION="+h.Action,
			"BULKHEAD_ROLES="+strings.Join(h.Roles, " "), "BULKHEAD_TEAMS="+strings.Join(h.Teams, " "))
		for _, p := range h.Params {
			env = append(env, "BULKHEAD_PARAM_"+p.Name+"="+p.Value)
		}
	}
	for k, v := range c.config.Env {
		env = append(env, k+"="+v)
	}
	// A zero byte would end the text for the program.
	return slices.DeleteFunc(env, func(v string) bool { return strings.Contains(v, "\x00") })
}

// parseCGI makes a response of a CGI program's output (RFC 3875, section 6). A local
// redirect, which the server would follow itself, is refused: it would be a request that
// policy did not see.
func parseCGI(out []byte) (*abi.Response, error) {
	resp, status := &abi.Response{Status: http.StatusOK}, ""
	typed, location := false, ""
	rest := out
	for n := 0; ; n++ {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		switch {
		case !ended:
			return nil, failed(`the program's output has no CGI header, which an empty line ends (RFC 3875, section 6); set "output": "body" in its config if it writes only a body`)
		case len(line) > abi.MaxString || n > abi.MaxHeaders:
			return nil, failed("the header of the program's output is too long")
		}
		rest = after
		if len(line) == 0 {
			break
		}
		name, value, ok := strings.Cut(string(line), ":")
		value = strings.Trim(value, " \t")
		if !ok || !isToken(name) {
			return nil, failed(`the program's output does not begin with a CGI header (RFC 3875, section 6); set "output": "body" in its config if it writes only a body`)
		}
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case "Status":
			status = value
		case "Location":
			location = value
			resp.Header = append(resp.Header, abi.Pair{Name: "Location", Value: value})
		case "Content-Type":
			typed = true
			resp.Header = append(resp.Header, abi.Pair{Name: "Content-Type", Value: value})
		default:
			resp.Header = append(resp.Header, abi.Pair{Name: name, Value: value})
		}
	}
	switch {
	case !typed && status == "" && location == "":
		return nil, failed("the header of the program's output has neither Content-Type, Status nor Location (RFC 3875, section 6.2)")
	case status == "" && strings.HasPrefix(location, "/"):
		return nil, failed("the program asks for a local redirect, which is not supported; with a Status, the client follows it")
	case status == "" && location != "":
		resp.Status = http.StatusFound
	case status != "":
		digits, _, _ := strings.Cut(status, " ")
		code, err := strconv.Atoi(digits)
		if err != nil || code < 200 || code > 599 {
			return nil, failed(fmt.Sprintf("the program's Status %q is not a status from 200 to 599", status))
		}
		resp.Status = code
	}
	if len(rest) > abi.MaxBody {
		return nil, host.E(host.Upstream, "", "the program's answer is over %d bytes", abi.MaxBody)
	}
	resp.Body = rest
	return resp, nil
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
