// Package manifest defines the manifest of a plugin: its identity, its routes, the
// capabilities that it requests, and its limits. The manifest is JSON in the custom section
// "bulkhead.manifest" of the plugin's module; authors write it as manifest.json. The
// manifest requests, the operator grants. Standard library only.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Section is the name of the custom section that contains the manifest.
const Section = "bulkhead.manifest"

// MaxSize bounds a manifest's JSON, in bytes.
const MaxSize = 256 << 10

// Limits on counts, so that a manifest cannot make the host's tables large.
const (
	MaxRoutes       = 256
	MaxCapabilities = 32
)

// Manifest describes one plugin.
type Manifest struct {
	Schema string `json:"$schema,omitempty"` // for editors; ignored

	// Name is the plugin's own name, lower case letters, digits and dashes. The
	// operator may run it under another instance name.
	Name        string `json:"name"`
	Version     string `json:"version"` // semantic version without "v"
	Description string `json:"description,omitempty"`
	// ABI is the contract that the module was written for; empty: Bulkhead's own.
	ABI          ABI          `json:"abi,omitempty"`
	Routes       []Route      `json:"routes"`
	Capabilities []Capability `json:"capabilities,omitempty"`
	Limits       Limits       `json:"limits,omitzero"`
	// Health names a unary GET route without parameters. The host calls it before a new
	// version serves, without a user and without capabilities, and does not let the
	// version serve unless the status is from 200 to 299.
	Health string `json:"health,omitempty"`
	// UI is the page that the plugin brings for the console.
	UI *UI `json:"ui,omitempty"`
}

// Kind is the protocol of a route.
type Kind string

const (
	Unary  Kind = "unary"  // one request, one response; below /api/{plugin}
	Events Kind = "events" // text/event-stream; below /api/{plugin}
	Socket Kind = "socket" // a websocket; below /ws/{plugin}
)

// Route is one entry of the plugin.
type Route struct {
	Name   string `json:"name"`
	Kind   Kind   `json:"kind,omitempty"` // default unary
	Method string `json:"method"`         // sockets and events: GET
	// Path is below the plugin's root and may contain {params}, each one segment; "/"
	// is the root itself.
	Path string `json:"path"`
	// Action is the second half of the route's action, PLUGIN:ACTION. It ends in
	// ".read" if, and only if, Mutates is false.
	Action  string `json:"action"`
	Mutates bool   `json:"mutates,omitempty"`
	// Entry is the exported function that the route calls, in a module of ABI Extism,
	// and in no other.
	Entry string `json:"entry,omitempty"`
	// Resource maps a dimension of policy (cluster, namespace, name, …) to the part of
	// the request that names it: "query:NAME" or "path:NAME".
	Resource map[string]string `json:"resource,omitempty"`
	// Required lists the required dimensions of Resource. A request without one is
	// refused with 400, after authorization.
	Required []string `json:"required,omitempty"`
}

// Capability is a capability that the plugin requests.
type Capability struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional,omitempty"` // the plugin loads without a grant; calls are then refused
	Reason   string `json:"reason"`             // for the operator, who grants it
}

// Limits are the limits that the plugin requests; they cannot exceed the operator's. Zero
// means the host's limit.
type Limits struct {
	MemoryMiB int      `json:"memoryMiB,omitempty"`
	Timeout   Duration `json:"timeout,omitempty"`
	BodyBytes int      `json:"bodyBytes,omitempty"`
	// Fuel is the number of instructions of a call, or of a session between two
	// messages.
	Fuel int64 `json:"fuel,omitempty"`
}

// Duration is a time.Duration written as "1m30s".
type Duration time.Duration

func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// The dimensions of resources in policy.
var dimensions = []string{
	"cluster", "group", "resource", "subresource", "namespace", "name", "verb",
	"instance", "resourceGroup", "type",
}

var (
	nameRE    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,61}[a-z0-9]$|^[a-z]$`)
	versionRE = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
	actionRE  = regexp.MustCompile(`^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*$`)
	sourceRE  = regexp.MustCompile(`^(query|path):[A-Za-z][A-Za-z0-9_]*$`)
	segmentRE = regexp.MustCompile(`^(\{[A-Za-z][A-Za-z0-9_]*\}|[A-Za-z0-9._~-]+)$`)
	methods   = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
)

// ValidName reports whether s is a valid name of a plugin, an instance or a capability.
func ValidName(s string) bool { return nameRE.MatchString(s) }

// Parse decodes and validates a manifest. Unknown keys are errors. The error contains all
// problems, each with its field.
func Parse(data []byte) (*Manifest, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("manifest: has %d bytes, the limit is %d", len(data), MaxSize)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest: %w", describe(data, err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("manifest: something follows the JSON object")
	}
	for i := range m.Routes {
		if m.Routes[i].Kind == "" {
			m.Routes[i].Kind = Unary
		}
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// describe adds the line to an error of encoding/json that has an offset.
func describe(data []byte, err error) error {
	var offset int64
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = e.Offset
	} else if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		offset = e.Offset
	} else {
		return err
	}
	offset = min(offset, int64(len(data)))
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:offset], []byte("\n")), err)
}

// Validate returns all problems of m, joined.
func (m *Manifest) Validate() error {
	var p problems
	p.check(ValidName(m.Name), "name", "%q is not a lower-case name", m.Name)
	p.check(versionRE.MatchString(m.Version), "version", "%q is not a semantic version", m.Version)
	p.check(m.ABI.known(), "abi", "%q must be absent or one of %s", m.ABI, strings.Join(abiNames(), ", "))
	p.check(m.ABI == "" || m.Health == "", "health", "is not possible with an abi; the host checks such a module in its own way")
	p.check(len(m.Routes) > 0, "routes", "are missing")
	p.check(len(m.Routes) <= MaxRoutes, "routes", "are more than %d", MaxRoutes)
	p.check(len(m.Capabilities) <= MaxCapabilities, "capabilities", "are more than %d", MaxCapabilities)
	names, entries := map[string]bool{}, map[string]string{}
	for i := range m.Routes {
		at := fmt.Sprintf("routes[%d]", i)
		m.Routes[i].validate(&p, at, names, entries)
		m.ABI.validate(&p, at, &m.Routes[i])
	}
	if m.Health != "" {
		k := slices.IndexFunc(m.Routes, func(r Route) bool { return r.Name == m.Health })
		p.check(k >= 0, "health", "there is no route %q", m.Health)
		p.check(k < 0 || m.Routes[k].Kind == Unary && m.Routes[k].Method == "GET" && !strings.Contains(m.Routes[k].Path, "{"),
			"health", "%q must be a unary GET route without parameters", m.Health)
	}
	seen := map[string]bool{}
	for i, c := range m.Capabilities {
		at := fmt.Sprintf("capabilities[%d]", i)
		p.check(ValidName(c.Name), at+".name", "%q is not a lower-case name", c.Name)
		p.check(!seen[c.Name], at+".name", "%q is listed twice", c.Name)
		p.check(c.Reason != "", at+".reason", "is missing")
		p.check(m.ABI.reaches(c.Name), at+".name", "a module of abi %s cannot use the capability %q", m.ABI, c.Name)
		seen[c.Name] = true
	}
	if m.UI != nil {
		m.UI.validate(&p, m.Routes)
	}
	p.check(m.Limits.MemoryMiB >= 0 && m.Limits.MemoryMiB <= 4096, "limits.memoryMiB", "must be from 0 to 4096")
	p.check(m.Limits.Timeout >= 0, "limits.timeout", "must not be negative")
	p.check(m.Limits.BodyBytes >= 0, "limits.bodyBytes", "must not be negative")
	p.check(m.Limits.Fuel >= 0, "limits.fuel", "must not be negative")
	return errors.Join(p...)
}

func (r *Route) validate(p *problems, at string, names map[string]bool, entries map[string]string) {
	p.check(ValidName(r.Name), at+".name", "%q is not a lower-case name", r.Name)
	p.check(!names[r.Name], at+".name", "%q is used twice", r.Name)
	names[r.Name] = true
	p.check(slices.Contains([]Kind{Unary, Events, Socket}, r.Kind), at+".kind", "%q must be unary, events or socket", r.Kind)
	p.check(slices.Contains(methods, r.Method), at+".method", "%q must be one of %s", r.Method, strings.Join(methods, ", "))
	p.check(r.Kind == Unary || r.Method == "GET", at+".method", "must be GET for a route of kind %s", r.Kind)
	p.check(actionRE.MatchString(r.Action), at+".action", "%q must be lower-case words separated by dots", r.Action)
	read := r.Action == "read" || strings.HasSuffix(r.Action, ".read")
	p.check(read != r.Mutates, at+".action", "%q must end in .read if, and only if, mutates is false", r.Action)
	p.check(!r.Mutates || r.Method != "GET" || r.Kind == Socket, at+".method", "must not be GET for a route that mutates")
	params := r.params(p, at+".path")
	entry := string(r.Kind[:min(1, len(r.Kind))]) + " " + r.Method + " " + paramRE.ReplaceAllString(r.Path, "{}")
	p.check(entries[entry] == "", at+".path", "is the same as that of route %q", entries[entry])
	entries[entry] = r.Name
	for dim, source := range r.Resource {
		where := at + ".resource." + dim
		p.check(slices.Contains(dimensions, dim), where, "the dimension must be one of %s", strings.Join(dimensions, ", "))
		p.check(sourceRE.MatchString(source), where, "%q must be query:NAME or path:NAME", source)
		if name, ok := strings.CutPrefix(source, "path:"); ok {
			p.check(slices.Contains(params, name), where, "the path has no {%s}", name)
		}
	}
	for _, dim := range r.Required {
		_, ok := r.Resource[dim]
		p.check(ok, at+".required", "%q is not in resource", dim)
	}
}

var paramRE = regexp.MustCompile(`\{[^}]*\}`)

// params checks the path's form and returns the names of its parameters.
func (r *Route) params(p *problems, at string) []string {
	if r.Path == "/" {
		return nil
	}
	rest, ok := strings.CutPrefix(r.Path, "/")
	if !ok {
		p.check(false, at, "%q does not begin with /", r.Path)
		return nil
	}
	var params []string
	for seg := range strings.SplitSeq(rest, "/") {
		p.check(segmentRE.MatchString(seg) && seg != "." && seg != "..", at, "%q is not a path segment", seg)
		if name, ok := strings.CutPrefix(seg, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			p.check(!slices.Contains(params, name), at, "{%s} appears twice", name)
			params = append(params, name)
		}
	}
	return params
}

// problems collects problems, each with its field in front.
type problems []error

func (p *problems) check(ok bool, field, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf("manifest: %s: %s", field, fmt.Sprintf(format, args...)))
	}
}
