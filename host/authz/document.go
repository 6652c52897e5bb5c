package authz

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/redact"
)

// ParseDecision parses the document of a policy. It is strict, because an unknown key could
// be a condition that the host would not enforce.
func ParseDecision(v any) (host.Decision, error) {
	top := fields{at: "decision"}
	top.read(v, "allow", "reason", "obligations")
	allow, isBool := top.m["allow"].(bool)
	top.check(isBool, "allow is not a boolean")
	reason := top.object("reason", "code", "args")
	d := host.Decision{Allow: allow, Reason: host.Reason{Code: reason.text("code")}}
	reason.check(d.Reason.Code != "", "code is missing")
	if args, ok := reason.m["args"]; ok {
		d.Reason.Args, ok = args.(map[string]any)
		reason.check(ok, "args is not an object")
	}
	o := top.object("obligations",
		"impersonate", "max_session", "idle", "namespaces", "resource_groups", "redact", "record")
	obligations := parseObligations(o)
	if allow {
		d.Obligations = obligations
	}
	if err := errors.Join(top.err, reason.err, o.err); err != nil {
		return host.Decision{}, err
	}
	return d, nil
}

func parseObligations(o *fields) host.Obligations {
	out := host.Obligations{
		MaxSession:     o.duration("max_session"),
		Idle:           o.duration("idle"),
		Namespaces:     o.texts("namespaces"),
		ResourceGroups: o.texts("resource_groups"),
		Redact:         o.texts("redact"),
		Record:         host.Record(o.text("record")),
	}
	if _, ok := o.m["record"]; ok {
		o.check(out.Record == host.RecordOutput || out.Record == host.RecordAll, `record must be "output" or "all"`)
	}
	if err := redact.Check(out.Redact); err != nil {
		o.check(false, "redact: %v", err)
	}
	if _, ok := o.m["impersonate"]; !ok {
		return out
	}
	i := o.object("impersonate", "user", "groups")
	out.Impersonate = &host.Impersonation{User: i.text("user"), Groups: i.texts("groups")}
	i.check(out.Impersonate.User != "", "user is missing")
	// A policy cannot use the cluster's own identities.
	for _, name := range append([]string{out.Impersonate.User}, out.Impersonate.Groups...) {
		i.check(!strings.HasPrefix(name, "system:"), "%q begins with system:", name)
	}
	o.err = errors.Join(o.err, i.err)
	return out
}

// fields reads one object and collects its problems.
type fields struct {
	at  string
	m   map[string]any
	err error
}

func (f *fields) check(ok bool, format string, args ...any) {
	if !ok {
		f.err = errors.Join(f.err, fmt.Errorf("%s: "+format, append([]any{f.at}, args...)...))
	}
}

func (f *fields) read(v any, known ...string) {
	var ok bool
	f.m, ok = v.(map[string]any)
	f.check(ok, "is not an object")
	for key := range f.m {
		found := false
		for _, k := range known {
			found = found || k == key
		}
		f.check(found, "unknown key %q", key)
	}
}

// object returns the fields of an object in f; an absent object has none.
func (f *fields) object(key string, known ...string) *fields {
	in := &fields{at: f.at + "." + key}
	if v, ok := f.m[key]; ok {
		in.read(v, known...)
	}
	return in
}

func (f *fields) text(key string) string {
	v, ok := f.m[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	f.check(ok, "%s is not a string", key)
	return s
}

func (f *fields) texts(key string) []string {
	v, ok := f.m[key]
	if !ok {
		return nil
	}
	items, ok := v.([]any)
	f.check(ok, "%s is not an array", key)
	out := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		f.check(ok, "%s has an item that is not a string", key)
		out = append(out, s)
	}
	return out
}

// duration reads a duration in the form of time.ParseDuration: "30m". It must be positive,
// since zero means the host's limit.
func (f *fields) duration(key string) time.Duration {
	if _, ok := f.m[key]; !ok {
		return 0
	}
	d, err := time.ParseDuration(f.text(key))
	f.check(err == nil && d > 0, "%s is not a duration such as \"30m\"", key)
	return d
}
