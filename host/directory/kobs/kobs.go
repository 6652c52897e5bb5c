// Package kobs converts the User and Team manifests of kobs (kobs.io/v1beta1)
// into entries of the directory.
//
// No user gets more rights than kobs gave them:
//
//   - a permitted plugin becomes a plugin permission and the action "PLUGIN:*",
//     because kobs has no actions; the plugin's own permissions become
//     custom, a list of them item by item;
//   - the verbs get, patch, post and delete become those of Kubernetes. Entries
//     without verbs, which allowed everything before kobs had them, become
//     Options.Verbs;
//   - resources get their API group, which kobs does not check; pods/logs becomes
//     pods/log; a terminal is converted if all verbs are allowed;
//   - e-mail addresses as ids, which are case-sensitive in kobs, become lower
//     case, as in host.CanonicalID;
//   - teams in a User are for display in kobs, which takes memberships from the
//     proxy's header, and become memberships only with Options.Memberships.
//
// A Note names each part without a counterpart.
package kobs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

const apiVersion = "kobs.io/v1beta1"

// Options are choices that the manifests do not answer.
type Options struct {
	// Memberships makes the teams of a User memberships.
	Memberships bool
	// Namespace is put into the entries, for kubectl apply; empty for files.
	Namespace string
	// Verbs are the verbs of resources without verbs; nil means get, list, watch.
	Verbs []string
}

// Input is one file.
type Input struct {
	Name string
	Text []byte
}

// A Note names a part that was not converted, or that needs a review.
type Note struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Kind string `json:"kind,omitempty"`
	Name string `json:"name,omitempty"`
	Lost bool   `json:"lost"` // a part of the manifest is not in the entry
	Text string `json:"text"`
}

func (n Note) String() string {
	s := fmt.Sprintf("%s:%d: ", n.File, n.Line)
	if n.Name != "" {
		s += n.Kind + " " + n.Name + ": "
	}
	return s + n.Text
}

// Result is the result of a conversion.
type Result struct {
	Users, Teams int
	YAML         []byte
	Notes        []Note
}

// Convert converts all inputs together, since users refer to teams. It skips
// manifests of other kinds with a note. The error says which file and line are not
// YAML.
func Convert(inputs []Input, o Options) (*Result, error) {
	c := &converter{options: o, out: &Result{Notes: []Note{}}, teams: map[reference]string{}, ids: map[string]string{}, names: map[string]bool{}}
	if c.options.Verbs == nil {
		c.options.Verbs = []string{"get", "list", "watch"}
	}
	for _, in := range inputs {
		if err := c.read(in); err != nil {
			return nil, err
		}
	}
	for _, m := range c.manifests {
		if m.Kind == "Team" {
			c.index(m)
		}
	}
	for _, m := range c.manifests {
		if err := c.convert(m); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

// manifest is a manifest of kobs.
type manifest struct {
	APIVersion string    `yaml:"apiVersion"`
	Kind       string    `yaml:"kind"`
	Metadata   metadata  `yaml:"metadata"`
	Spec       yaml.Node `yaml:"spec"`
	Items      []yaml.Node

	file string
	line int
}

type metadata struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace,omitempty"`
}

// reference is a reference from a kobs User to a Team.
type reference struct{ cluster, namespace, name string }

type converter struct {
	options   Options
	manifests []*manifest
	teams     map[reference]string // ids
	ids       map[string]string    // "Kind id" to its place
	names     map[string]bool
	out       *Result
}

func (c *converter) note(m *manifest, line int, lost bool, format string, args ...any) {
	c.out.Notes = append(c.out.Notes, Note{m.file, cmp.Or(line, m.line), m.Kind, m.Metadata.Name, lost, fmt.Sprintf(format, args...)})
}

func (c *converter) read(in Input) error {
	for _, d := range strictyaml.Split(in.Text) {
		root, err := d.Parse(limits)
		if err != nil {
			return fmt.Errorf("%s: %w", in.Name, err)
		}
		if root != nil {
			c.add(in.Name, root, 0)
		}
	}
	return nil
}

// limits of one manifest.
var limits = strictyaml.Limits{Bytes: strictyaml.Large.Bytes, Nodes: strictyaml.Large.Nodes, Depth: strictyaml.Large.Depth, NoAliases: true}

// maxDepth bounds lists within lists.
const maxDepth = 3

func (c *converter) add(file string, n *yaml.Node, depth int) {
	m := &manifest{file: file, line: n.Line}
	if err := n.Decode(m); err != nil {
		c.note(m, 0, true, "is not a manifest and was skipped: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	switch {
	case strings.HasSuffix(m.Kind, "List") && depth < maxDepth:
		for i := range m.Items {
			c.add(file, &m.Items[i], depth+1)
		}
	case m.APIVersion == apiVersion && (m.Kind == "User" || m.Kind == "Team"):
		c.manifests = append(c.manifests, m)
	case m.Kind != "":
		c.note(m, 0, true, "%s %s is not a User or Team of %s and was skipped", m.APIVersion, m.Kind, apiVersion)
	}
}

func (c *converter) index(m *manifest) {
	s, _ := mapping(&m.Spec)
	id := host.CanonicalID(text(s["id"]))
	for _, cluster := range []string{"", text(s["cluster"])} {
		for _, ns := range []string{"", cmp.Or(m.Metadata.Namespace, text(s["namespace"]))} {
			r := reference{cluster, ns, m.Metadata.Name}
			if known, ok := c.teams[r]; ok && known != id {
				id = "" // ambiguous
			}
			c.teams[r] = id
		}
	}
}

// entry is a document of the directory.
type entry struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       spec     `yaml:"spec"`
}

type spec struct {
	ID          string            `yaml:"id"`
	Description string            `yaml:"description,omitempty"`
	Profile     map[string]string `yaml:"profile,omitempty"`
	Teams       []string          `yaml:"teams,omitempty"`
	Permissions *permissions      `yaml:"permissions,omitempty"`
}

func (c *converter) convert(m *manifest) error {
	s, ok := mapping(&m.Spec)
	id := text(s["id"])
	if !ok || id == "" {
		c.note(m, m.Spec.Line, true, "has no spec.id and was skipped")
		return nil
	}
	id = c.id(m, s["id"].Line, id)
	key := m.Kind + " " + id
	if other, ok := c.ids[key]; ok {
		c.note(m, s["id"].Line, false, "the id %s is also used by %s; the host uses neither and does not merge them as kobs does", id, other)
	} else {
		c.ids[key] = fmt.Sprintf("%s:%d", m.file, m.line)
	}
	e := entry{APIVersion: "bulkhead.internal/v1", Kind: m.Kind, Metadata: metadata{c.name(m), c.options.Namespace}, Spec: spec{ID: id}}
	known := []string{"cluster", "namespace", "name", "id", "permissions"} // the first three are filled in by kobs
	if m.Kind == "User" {
		known = append(known, "profile", "teams")
		e.Spec.Profile = c.profile(m, s["profile"])
		e.Spec.Teams = c.memberships(m, s["teams"])
		c.out.Users++
	} else {
		known = append(known, "description")
		e.Spec.Description = text(s["description"])
		c.out.Teams++
	}
	c.unknown(m, s, "spec", known...)
	e.Spec.Permissions = c.permissions(m, s["permissions"])
	doc, err := yaml.Marshal(e)
	if err != nil {
		return fmt.Errorf("%s:%d: %w", m.file, m.line, err)
	}
	if len(c.out.YAML) > 0 {
		c.out.YAML = append(c.out.YAML, "---\n"...)
	}
	c.out.YAML = append(c.out.YAML, doc...)
	return nil
}

// id returns the canonical id, with notes if it differs or is invalid.
func (c *converter) id(m *manifest, line int, id string) string {
	check := host.CheckID
	if m.Kind == "User" {
		check = host.CheckUserID
	}
	if err := check(id); err != nil {
		c.note(m, line, true, "spec.id %q %v; the host does not use the entry", id, err)
	}
	as := host.CanonicalID(id)
	if as != id {
		c.note(m, line, false, "ids are lower case here; %s became %s", id, as)
	}
	return as
}

// name makes names unique that kobs has in several namespaces.
func (c *converter) name(m *manifest) string {
	name := m.Metadata.Name
	if c.names[m.Kind+"/"+name] && m.Metadata.Namespace != "" {
		name += "-" + m.Metadata.Namespace
		c.note(m, 0, false, "another manifest of its kind has the name; it became %s", name)
	}
	c.names[m.Kind+"/"+name] = true
	return name
}

func (c *converter) profile(m *manifest, n *yaml.Node) map[string]string {
	fields, _ := mapping(n)
	out := map[string]string{}
	for _, key := range []string{"fullName", "email", "position", "bio"} {
		if v := text(fields[key]); v != "" {
			out[key] = v
		}
	}
	c.unknown(m, fields, "spec.profile", "fullName", "email", "position", "bio")
	return out
}

func (c *converter) memberships(m *manifest, n *yaml.Node) (ids []string) {
	refs := items(n)
	if len(refs) > 0 && !c.options.Memberships {
		c.note(m, n.Line, true, "spec.teams is for display in kobs and gives no rights; memberships come from the identity provider or the proxy's header here too; use --memberships to take them from this list")
		return nil
	}
	for _, r := range refs {
		f, _ := mapping(r)
		ref := reference{text(f["cluster"]), text(f["namespace"]), text(f["name"])}
		id := c.teams[ref]
		if id == "" {
			c.note(m, r.Line, true, "the team %s is not among the manifests, or is ambiguous", strings.Trim(ref.cluster+"/"+ref.namespace+"/"+ref.name, "/"))
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// unknown reports keys without a counterpart.
func (c *converter) unknown(m *manifest, fields map[string]*yaml.Node, at string, known ...string) {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, key) {
			c.note(m, fields[key].Line, true, "%s.%s has no counterpart", at, key)
		}
	}
}

// mapping returns a mapping's values by key.
func mapping(n *yaml.Node) (map[string]*yaml.Node, bool) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, false
	}
	m := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		m[n.Content[i].Value] = n.Content[i+1]
	}
	return m, true
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return ""
	}
	return n.Value
}

func texts(n *yaml.Node) (out []string) {
	for _, item := range items(n) {
		if s := text(item); s != "" {
			out = append(out, s)
		}
	}
	return out
}
