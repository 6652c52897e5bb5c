package plugin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Comparison is what a new version may do, against the generation that serves.
type Comparison struct {
	From string `json:"from,omitempty"` // version that serves; empty: none does
	To   string `json:"to"`
	// More is what the new version may do and the other may not. Where it needs
	// consent, Digest names it.
	More    []Change `json:"more,omitempty"`
	Less    []Change `json:"less,omitempty"`    // what it may not do any more
	Changed []Change `json:"changed,omitempty"` // what is neither
	// Digest names all that the new version may do: the plugin's name, the module, what
	// is granted of its requests, and its own limits. Consent is for exactly that, and the
	// same on every replica, whatever serves there.
	Digest string `json:"digest"`
}

// Change is one difference.
type Change struct {
	Field string `json:"field"`         // such as grants.helm, routes.upgrade, limits.memoryMiB
	Old   string `json:"old,omitempty"` // empty: it was not there
	New   string `json:"new,omitempty"` // empty: it is not there any more
}

func (c Change) String() string {
	switch {
	case c.Old == "":
		return c.Field + ": " + c.New
	case c.New == "":
		return c.Field + ": no longer " + c.Old
	}
	return c.Field + ": " + c.New + ", was " + c.Old
}

// compare compares to with from, which is nil if nothing serves.
func compare(catalog *capability.Catalog, from, to *Generation) *Comparison {
	c := &Comparison{To: to.manifest.Version}
	if from != nil {
		c.From = from.manifest.Version
		if from.manifest.Name != to.manifest.Name {
			c.More = append(c.More, Change{"plugin", from.manifest.Name, to.manifest.Name})
		}
	}
	c.grants(catalog, from, to)
	c.actions(from, to)
	c.routes(from, to)
	c.page(from, to)
	c.limits(from, to)
	if from != nil && !bytes.Equal(from.config.Config, to.config.Config) {
		// Its text may have secrets in it.
		c.Changed = append(c.Changed, Change{"config", "", "is another"})
	}
	text, err := json.Marshal([]any{to.name, to.digest, asked(to.manifest, to.config.Grants), to.config.Limits})
	if err != nil {
		panic(err) // grants and limits can be encoded
	}
	sum := sha256.Sum256(text)
	c.Digest = "sha256:" + hex.EncodeToString(sum[:])
	return c
}

// older reports whether a is an older version of the plugin b, by semantic versioning.
func older(a, b *manifest.Manifest) bool {
	va, err := semver.StrictNewVersion(a.Version)
	if err != nil || a.Name != b.Name {
		return false
	}
	vb, err := semver.StrictNewVersion(b.Version)
	return err == nil && va.LessThan(vb)
}

// grants compares what is effective: what is both requested and granted.
func (c *Comparison) grants(catalog *capability.Catalog, from, to *Generation) {
	old, next := map[string][]capability.Grant{}, asked(to.manifest, to.config.Grants)
	if from != nil {
		old = asked(from.manifest, from.config.Grants)
	}
	for _, name := range catalog.Names() {
		a, b, field := old[name], next[name], "grants."+name
		kind := catalog.Kind(name)
		switch {
		case len(a) == 0 && len(b) == 0:
		case len(a) == 0:
			c.More = append(c.More, Change{field, "", asJSON(b)})
		case len(b) == 0:
			c.Less = append(c.Less, Change{field, asJSON(a), ""})
		case !kind.Covers(a, b):
			c.More = append(c.More, Change{field, asJSON(a), asJSON(b)})
		case !kind.Covers(b, a):
			c.Less = append(c.Less, Change{field, asJSON(a), asJSON(b)})
		}
	}
}

func asJSON(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // grants and routes can be encoded
	}
	return string(out)
}

func (c *Comparison) actions(from, to *Generation) {
	of := func(g *Generation) map[string]bool {
		set := map[string]bool{}
		if g != nil {
			for _, r := range g.manifest.Routes {
				set[r.Action] = true
			}
		}
		return set
	}
	old, next := of(from), of(to)
	for _, action := range slices.Sorted(maps.Keys(next)) {
		if !old[action] {
			c.More = append(c.More, Change{"actions", "", to.name + ":" + action})
		}
	}
	for _, action := range slices.Sorted(maps.Keys(old)) {
		if !next[action] {
			c.Less = append(c.Less, Change{"actions", to.name + ":" + action, ""})
		}
	}
}

// routes counts a route that was changed in any way as more: what policy decides about
// it is another thing then.
func (c *Comparison) routes(from, to *Generation) {
	old := map[string]manifest.Route{}
	if from != nil {
		for _, r := range from.manifest.Routes {
			old[r.Name] = r
		}
	}
	for _, r := range to.manifest.Routes {
		was, ok := old[r.Name]
		delete(old, r.Name)
		switch {
		case !ok:
			c.More = append(c.More, Change{"routes." + r.Name, "", routeText(r)})
		case !reflect.DeepEqual(was, r):
			c.More = append(c.More, Change{"routes." + r.Name, routeText(was), routeText(r)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		c.Less = append(c.Less, Change{"routes." + name, routeText(old[name]), ""})
	}
}

// page compares what the plugin's page may ask for as whoever looks at it. A route that
// changes something is more, one that reads is not: the user could have read it anyway.
func (c *Comparison) page(from, to *Generation) {
	old, next := pageRoutes(from), pageRoutes(to)
	for _, name := range slices.Sorted(maps.Keys(next)) {
		switch _, had := old[name]; {
		case !had && next[name]:
			c.More = append(c.More, Change{"ui.routes", "", name})
		case !had:
			c.Changed = append(c.Changed, Change{"ui.routes", "", name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, has := next[name]; !has {
			c.Less = append(c.Less, Change{"ui.routes", name, ""})
		}
	}
}

// pageRoutes returns the routes that the page of g may use, and whether each mutates.
func pageRoutes(g *Generation) map[string]bool {
	if g == nil || g.manifest.UI == nil {
		return nil
	}
	mutates := map[string]bool{}
	for _, r := range g.manifest.Routes {
		if slices.Contains(g.manifest.UI.Routes, r.Name) {
			mutates[r.Name] = r.Mutates
		}
	}
	return mutates
}

func routeText(r manifest.Route) string {
	s := fmt.Sprintf("%s %s (%s), action %s", r.Method, r.Path, r.Kind, r.Action)
	for _, dim := range slices.Sorted(maps.Keys(r.Resource)) {
		s += ", " + dim + " from " + r.Resource[dim]
	}
	if len(r.Required) > 0 {
		s += ", required: " + strings.Join(r.Required, " ")
	}
	return s
}

// limits compares the limits that hold.
func (c *Comparison) limits(from, to *Generation) {
	next := limitsOf(to)
	old := next
	if from != nil {
		old = limitsOf(from)
	}
	for k := range next {
		a, b := old[k], next[k]
		change := Change{a.field, a.text, b.text}
		switch cmp.Compare(b.value, a.value) {
		case 1:
			c.More = append(c.More, change)
		case -1:
			c.Less = append(c.Less, change)
		}
	}
}

type limit struct {
	field string
	value int64
	text  string
}

func limitsOf(g *Generation) (list []limit) {
	l := g.limits
	add := func(field string, n int) { list = append(list, limit{"limits." + field, int64(n), strconv.Itoa(n)}) }
	add("memoryMiB", l.MemoryMiB)
	add("totalMiB", l.TotalMiB)
	add("instances", l.Instances)
	add("bodyBytes", l.BodyBytes)
	list = append(list, limit{"limits.timeout", int64(l.Timeout), time.Duration(l.Timeout).String()})
	fuel := limit{"limits.fuel", l.Fuel, strconv.FormatInt(l.Fuel, 10)}
	if l.Fuel == 0 {
		fuel.value, fuel.text = 1<<62, "no limit"
	}
	return append(list, fuel)
}

// needs is the part of More that a swap of this origin needs consent for. A plugin that
// the configuration file begins to run needs none, and neither does what the operator
// changed in its entry there: the digest of the module, a capability's grants, limits.
func (c *Comparison) needs(origin Origin, from, to *Generation) []Change {
	if origin != File {
		return c.More
	}
	if from == nil || to.config.Digest != "" && to.config.Digest != from.config.Digest {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.More), func(change Change) bool {
		section, name, _ := strings.Cut(change.Field, ".")
		switch section {
		case "grants":
			return !reflect.DeepEqual(from.config.Grants[name], to.config.Grants[name])
		case "limits":
			return reflect.DeepEqual(from.manifest.Limits, to.manifest.Limits)
		}
		return false
	})
}
