package devhost

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Advice returns what the author can change so that a request is not refused: where, and
// the lines to add. It is empty if nothing was refused, or if no change would help.
func (t *Trace) Advice(kinds *capability.Catalog) []string {
	var lines []string
	missing := t.Status == http.StatusNotFound && t.Usage == nil
	denied := false // by the last decision, whose advice is the role's
	for _, e := range t.Events {
		if e.Decision != nil {
			denied = !e.Decision.Allow
		}
		switch d, x := e.Decision, e.Exchange; {
		case d != nil && !d.Allow && d.Route.Name == "":
			missing = true // which only those learn who may read everything
		case d != nil && !d.Allow:
			lines = append(lines, roleFor(d, t.User, kinds)...)
		case x != nil && x.Err != nil:
			lines = append(lines, grantFor(x, denied)...)
		}
	}
	if missing && len(lines) == 0 {
		if route := t.route(); route != "" {
			lines = append(lines, "the plugin does not have this route; to add it, in routes of manifest.json, with a handler of its name:", "  "+route)
		}
	}
	return lines
}

// roleFor returns the permissions that a decision lacks.
func roleFor(d *Decision, user string, kinds *capability.Catalog) []string {
	const where = "add to permissions of a role of "
	list := func(s string) string { return fmt.Sprintf("[%q]", or(s, "*")) }
	switch d.Reason.Code {
	case "no_plugin", "no_action":
		return []string{where + user + ":", fmt.Sprintf("  actions: [%q]", d.Route.Action), fmt.Sprintf("  plugins: [{name: %s}]", d.Route.Plugin)}
	case "no_resource", "no_rule":
		if d.Call == nil {
			break
		}
		kind := kinds.Kind(d.Call.Name)
		if kind != nil && kind.Permission != nil {
			resource, verb := kind.Permission(d.Call)
			return []string{where + user + ":", fmt.Sprintf("  resources: [{clusters: %s, namespaces: %s, resources: [%q], verbs: [%q]}]",
				list(d.Call.Cluster), list(d.Call.Namespace), resource, verb)}
		}
		if kind != nil && kind.Entries != nil {
			return []string{where + user + ":", fmt.Sprintf("  plugins: [{name: %s, custom: [{resources: [%q], resourceGroups: %s, verbs: [%q]}]}]",
				d.Route.Plugin, d.Call.Resource, list(d.Call.ResourceGroup), d.Call.Verb)}
		}
	case "prohibited":
		return []string{fmt.Sprintf("the shipped rules prohibit this (%v); no role permits it", d.Reason.Args["what"])}
	}
	code := or(d.Reason.Code, "denied")
	if r, ok := host.RefusalOf(code); ok {
		return []string{r.Why + " " + r.Cure}
	}
	return []string{"policy refused this: " + code}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// grantFor returns what a refused capability call lacks, but for what policy denied.
func grantFor(x *capability.Exchange, denied bool) []string {
	e := capability.ErrorFrame(x.Err)
	switch {
	case e.Origin == abi.OriginGrant:
		return []string{"add to " + ConfigFile + ":", "  " + strings.TrimSuffix(e.Detail, " would allow it")}
	case e.Status == http.StatusForbidden && !denied:
		if r, ok := host.RefusalOf(e.Detail); ok {
			return []string{r.Why + " " + r.Cure}
		}
	}
	return nil
}

// route returns an entry of a manifest for the request.
func (t *Trace) route() string {
	path, _, _ := strings.Cut(t.URI, "?")
	rest, isCall := strings.CutPrefix(path, "/api/")
	if !isCall {
		return ""
	}
	_, rest, _ = strings.Cut(rest, "/")
	name := strings.Trim(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(rest)), "-")
	if name == "" {
		name = "root"
	}
	if t.Method == http.MethodGet || t.Method == http.MethodHead {
		return fmt.Sprintf(`{"name": %q, "method": "GET", "path": %q, "action": %q}`, name, "/"+rest, name+".read")
	}
	return fmt.Sprintf(`{"name": %q, "method": %q, "path": %q, "action": %q, "mutates": true}`, name, t.Method, "/"+rest, name+".change")
}
