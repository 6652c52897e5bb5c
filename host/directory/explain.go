package directory

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Consider explains Match: it returns every permission of the user that is of a
// kind relevant to q, with the dimensions in which it does not cover q. Permissions
// of ended memberships miss "time". It returns nil if PersonOf returns false.
func (d *Directory) Consider(q *host.Question) []host.Considered {
	s := d.current.Load()
	p := s.personOf(q.Principal)
	if p == nil {
		return nil
	}
	var all []host.Considered
	t := targetOf(d.kinds, q)
	consider := func(set *set, ended bool) {
		add := func(m *host.Matched, misses []string) {
			misses = append(misses, missing(!ended, "time")...)
			all = append(all, host.Considered{Matched: m, At: s.places[m.From], Until: p.until[set], Misses: misses})
		}
		for _, a := range set.actions {
			add(a, missing(actionCovered(q.Route.Action, a.Action), "action"))
		}
		for _, pl := range set.plugins {
			add(pl, missing(q.Route.Plugin != "" && host.Glob(pl.Plugin.Name, q.Route.Plugin), "plugin"))
		}
		if t.none {
			return
		}
		for i := range set.resources {
			r := &set.resources[i]
			var misses []string
			misses = append(misses, missing(t.cluster.coveredBy(&r.clusters), "cluster")...)
			misses = append(misses, missing(t.namespace.coveredBy(&r.namespaces), "namespace")...)
			misses = append(misses, missing(t.resource.coveredBy(&r.resources), "resource")...)
			misses = append(misses, missing(t.verb.coveredBy(&r.verbs), "verb")...)
			add(r.match, misses)
		}
	}
	for _, set := range p.sets {
		consider(set, false)
	}
	for _, set := range p.ended {
		if !slices.Contains(p.sets, set) { // it may be asserted too
			consider(set, true)
		}
	}
	return all
}

// kindOf maps the origin of a permission to the kind of its entry.
var kindOf = map[host.OriginKind]string{host.FromRole: kindRole, host.FromTeam: kindTeam, host.FromUser: kindUser}

// Listing returns what the directory holds about a principal, and the problems with
// the entries concerned. It reads User and Asserted of the principal.
func (d *Directory) Listing(p *host.Principal) host.Listing {
	s := d.current.Load()
	user := host.CanonicalID(p.User)
	known := s.people[user]
	l := host.Listing{Listed: known != nil, Disabled: known != nil && known.Disabled}
	about := map[entryKey]bool{{kindUser, string(user)}: true}
	for _, role := range p.Asserted.Roles {
		about[entryKey{kindRole, role}] = true
	}
	for _, team := range host.CanonicalIDs(p.Asserted.Teams) {
		about[entryKey{kindTeam, team}] = true
	}
	if known != nil {
		for _, set := range slices.Concat(known.sets, known.ended) {
			about[entryKey{kindOf[set.from.Kind], set.from.ID}] = true
		}
	}
	for _, problem := range s.problems {
		if about[entryKey{problem.Kind, problem.ID}] {
			l.Problems = append(l.Problems, problem.String())
		} else {
			l.Others++
		}
	}
	return l
}

func missing(covered bool, dimension string) []string {
	if covered {
		return nil
	}
	return []string{dimension}
}

// Facts returns the users, teams and roles by id, as JSON values, and the revision.
// The result is built at the first call for a snapshot and is read-only.
func (d *Directory) Facts() (facts map[string]any, revision uint64) {
	s := d.current.Load()
	return s.facts(), s.revision
}

func (s *snapshot) describe() map[string]any {
	users, teams, roles := map[string]any{}, map[string]any{}, map[string]any{}
	for id, p := range s.people {
		users[string(id)] = map[string]any{
			"name": p.Name, "roles": values(p.Roles), "teams": values(p.Teams), "disabled": p.Disabled,
			"permissions": describe(s.sets[host.Origin{Kind: host.FromUser, ID: string(id)}].permissions),
		}
	}
	for from, set := range s.sets {
		switch from.Kind {
		case host.FromTeam:
			teams[from.ID] = map[string]any{"permissions": describe(set.permissions)}
		case host.FromRole:
			roles[from.ID] = map[string]any{"permissions": describe(set.permissions)}
		}
	}
	return map[string]any{"users": users, "teams": teams, "roles": roles}
}

// describe returns p in the shape of the directory's files.
func describe(p host.Permissions) map[string]any {
	plugins, resources := make([]any, len(p.Plugins)), make([]any, len(p.Resources))
	for i, x := range p.Plugins {
		custom := make([]any, len(x.Custom))
		for j, raw := range x.Custom {
			custom[j] = value(raw)
		}
		plugins[i] = map[string]any{"name": x.Name, "custom": custom}
	}
	for i, x := range p.Resources {
		resources[i] = map[string]any{
			"clusters": values(x.Clusters), "namespaces": values(x.Namespaces),
			"resources": values(x.Resources), "verbs": values(x.Verbs),
		}
	}
	out := map[string]any{"actions": values(p.Actions), "plugins": plugins, "resources": resources}
	if g := p.BreakGlass; g != nil {
		out["breakGlass"] = map[string]any{"maxSession": g.MaxSession.String(), "record": string(g.Record)}
	}
	return out
}

// value decodes the output of json.Marshal. Numbers keep their notation.
func value(raw json.RawMessage) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	_ = d.Decode(&v)
	return v
}

func values(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
