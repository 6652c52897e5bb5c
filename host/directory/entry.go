package directory

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

const apiVersion = "bulkhead.internal/v1"

// Kinds of entries.
const (
	kindUser = "User"
	kindTeam = "Team"
	kindRole = "Role"
)

// entry is one valid document.
type entry struct {
	kind, id string
	cluster  string // empty for a file
	file     string // or CLUSTER/NAMESPACE/NAME
	line     int    // 0 for a custom resource

	permissions host.Permissions

	// Users only.
	roles, teams []membership
	name         string
	disabled     bool
}

// membership is a role or team in a user's entry.
type membership struct {
	id    string
	until time.Time // zero: no end
}

// ended reports whether the membership has ended at now, a wall clock time.
func (m *membership) ended(now time.Time) bool { return !m.until.IsZero() && !now.Before(m.until) }

// place returns the entry's file and line, or its cluster, namespace and name.
func (e *entry) place() string { return place(e.file, e.line) }

func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// entryKey identifies an entry; it must be unique.
type entryKey struct{ kind, id string }

func (e *entry) key() entryKey { return entryKey{e.kind, e.id} }

// parsed is the content of one file or custom resource.
type parsed struct {
	entries  []entry
	problems []Problem
	// spoiled lists the names of roles whose documents are invalid.
	spoiled []string
	// unusable lists the keys of invalid documents of files. Unreadable holds the
	// text of those without a readable id.
	unusable   []entryKey
	unreadable [][]byte
}

// parse reads the documents of a file. Shipped are the names of the shipped roles.
func parse(file string, data []byte, shipped []string) *parsed {
	var out parsed
	for _, d := range strictyaml.Split(data) {
		r := &reader{file: file}
		root, err := d.Parse(limits)
		switch {
		case err != nil:
			line, text := d.Line+1, err.Error()
			if e, ok := errors.AsType[*strictyaml.Error](err); ok {
				line, text = max(e.Line, line), e.Text
			}
			r.bad(line, "the document %s", text)
			out.spoiled = append(out.spoiled, mentioned(d.Text, shipped)...)
			out.unreadable = append(out.unreadable, d.Text)
		case root != nil:
			if e, ok := r.entry(root); ok {
				out.entries = append(out.entries, e)
			} else {
				out.unusable = append(out.unusable, entryKey{r.kind, r.id})
				if r.id == "" {
					out.unreadable = append(out.unreadable, d.Text)
				}
				// A misspelt kind may have been meant as Role.
				if r.kind != kindUser && r.kind != kindTeam {
					out.spoiled = append(out.spoiled, r.name)
				}
			}
		}
		out.problems = append(out.problems, r.problems...)
	}
	return &out
}

var roleRE = regexp.MustCompile(`\bkind["']?\s*:\s*["']?Role\b`)

// mentioned guesses which shipped roles an unreadable document was meant to
// replace: those whose names it contains, if it contains "kind: Role".
func mentioned(text []byte, shipped []string) []string {
	if !roleRE.Match(text) {
		return nil
	}
	var names []string
	for _, name := range shipped {
		if strings.Contains(string(text), name) {
			names = append(names, name)
		}
	}
	return names
}

func (r *reader) entry(n *yaml.Node) (entry, bool) {
	top, ok := r.fields(n, "the document", "apiVersion", "kind", "metadata", "spec")
	for _, key := range []string{"apiVersion", "kind", "metadata", "spec"} {
		if top[key] == nil && ok {
			r.bad(n.Line, "%s is missing", key)
			ok = false
		}
	}
	// Read kind and name first, so that the problem can name them.
	if top["kind"] != nil {
		r.kind = top["kind"].Value
	}
	name, named := r.metadata(top["metadata"])
	r.name = name
	if r.kind == kindRole {
		r.id = name
	}
	if !ok || !named {
		return entry{}, false
	}
	if v := top["apiVersion"]; v.Value != apiVersion {
		r.bad(v.Line, "apiVersion must be %s", apiVersion)
		return entry{}, false
	}
	e := entry{kind: r.kind, file: r.file, line: n.Line, name: name}
	switch r.kind {
	case kindUser:
		ok = r.user(top["spec"], &e)
	case kindTeam:
		ok = r.team(top["spec"], &e)
	case kindRole:
		ok = r.role(top["spec"], &e)
	default:
		r.bad(top["kind"].Line, "kind %q must be User, Team or Role", r.kind)
		ok = false
	}
	return e, ok
}

// metadata returns metadata.name. It accepts and ignores the other usual keys of
// a Kubernetes object.
func (r *reader) metadata(n *yaml.Node) (string, bool) {
	if n == nil {
		return "", false
	}
	m, ok := r.fields(n, "metadata", "name", "namespace", "labels", "annotations")
	name, good := r.text(m["name"], "metadata.name")
	if ok && good && name == "" {
		r.bad(n.Line, "metadata.name is missing")
		good = false
	}
	return name, ok && good
}

func (r *reader) user(n *yaml.Node, e *entry) bool {
	m, ok := r.fields(n, "spec", "id", "roles", "teams", "profile", "permissions", "disabled")
	ok = r.setID(n, m["id"], host.CheckUserID, e) && ok
	var good bool
	if e.disabled, good = r.boolean(m["disabled"], "spec.disabled"); !good {
		ok = false
	}
	ok = r.profile(m["profile"], e) && ok
	if !ok {
		return false
	}
	e.roles = r.memberships(m["roles"], "spec.roles", "name")
	e.teams = r.memberships(m["teams"], "spec.teams", "id")
	for i := range e.teams {
		e.teams[i].id = host.CanonicalID(e.teams[i].id)
	}
	e.permissions = r.permissions(m["permissions"])
	return true
}

// memberships reads a list whose items are strings, or objects with key and until.
// It leaves out malformed items.
func (r *reader) memberships(n *yaml.Node, at, key string) []membership {
	items, _ := r.items(n, at)
	var out []membership
	for i, item := range items {
		if m, ok := r.membership(item, fmt.Sprintf("%s[%d]", at, i), key); ok {
			out = append(out, m)
		}
	}
	return out
}

func (r *reader) membership(n *yaml.Node, at, key string) (m membership, ok bool) {
	if n.Kind != yaml.MappingNode {
		m.id, ok = r.word(n, at)
		return m, ok
	}
	f, ok := r.fields(n, at, key, "until")
	for _, k := range []string{key, "until"} {
		if f[k] == nil && ok {
			r.bad(n.Line, "%s.%s is missing", at, k)
			ok = false
		}
	}
	if !ok {
		return m, false
	}
	m.id, ok = r.word(f[key], at+"."+key)
	until, good := r.time(f["until"], at+".until")
	m.until = until
	return m, ok && good
}

func (r *reader) profile(n *yaml.Node, e *entry) bool {
	if n == nil {
		return true
	}
	m, ok := r.fields(n, "spec.profile", "fullName", "email", "position", "bio")
	for key, value := range m {
		text, good := r.text(value, "spec.profile."+key)
		if key == "fullName" && text != "" {
			e.name = text
		}
		ok = ok && good
	}
	return ok
}

func (r *reader) team(n *yaml.Node, e *entry) bool {
	m, ok := r.fields(n, "spec", "id", "description", "breakGlass", "permissions")
	ok = r.setID(n, m["id"], host.CheckID, e) && ok
	glass, good := r.breakGlass(m["breakGlass"])
	ok = ok && good
	if _, good := r.text(m["description"], "spec.description"); !good || !ok {
		return false
	}
	e.permissions = r.permissions(m["permissions"])
	e.permissions.BreakGlass = glass
	return true
}

func (r *reader) role(n *yaml.Node, e *entry) bool {
	m, ok := r.fields(n, "spec", "description", "breakGlass", "permissions")
	glass, good := r.breakGlass(m["breakGlass"])
	ok = ok && good
	if err := host.CheckID(e.name); err != nil {
		r.bad(n.Line, "metadata.name %v", err)
		ok = false
	}
	e.id = e.name
	if _, good := r.text(m["description"], "spec.description"); !good || !ok {
		return false
	}
	e.permissions = r.permissions(m["permissions"])
	e.permissions.BreakGlass = glass
	return true
}

// Lengths of sessions opened by breaking glass.
const (
	defaultGlass = 15 * time.Minute
	maxGlass     = 12 * time.Hour
)

// breakGlass reads spec.breakGlass. An error in it invalidates the whole entry:
// without it the permissions would always count.
func (r *reader) breakGlass(n *yaml.Node) (*host.BreakGlass, bool) {
	if n == nil {
		return nil, true
	}
	const at = "spec.breakGlass"
	m, ok := r.fields(n, at, "maxSession", "record")
	g := &host.BreakGlass{MaxSession: defaultGlass, Record: host.RecordOutput}
	if v := m["maxSession"]; v != nil {
		text, good := r.text(v, at+".maxSession")
		d, err := time.ParseDuration(text)
		if good && (err != nil || d <= 0 || d > maxGlass) {
			r.bad(v.Line, "%s.maxSession %q must be a duration such as 15m, at most %s", at, text, maxGlass)
			good = false
		}
		g.MaxSession, ok = d, ok && good
	}
	if v := m["record"]; v != nil {
		text, good := r.text(v, at+".record")
		record, known := map[string]host.Record{
			"nothing": host.RecordNothing, "output": host.RecordOutput, "all": host.RecordAll,
		}[text]
		if good && !known {
			r.bad(v.Line, "%s.record %q must be nothing, output or all", at, text)
		}
		g.Record, ok = record, ok && good && known
	}
	return g, ok
}

// setID reads spec.id and keeps its canonical form.
func (r *reader) setID(spec, n *yaml.Node, check func(string) error, e *entry) bool {
	const at = "spec.id"
	if n == nil {
		r.bad(spec.Line, "%s is missing", at)
		return false
	}
	id, ok := r.text(n, at)
	if !ok {
		return false
	}
	if err := check(id); err != nil {
		r.bad(n.Line, "%s %v", at, err)
		return false
	}
	id = host.CanonicalID(id)
	e.id, r.id = id, id
	return true
}
