package directory

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Person is a user's entry.
type Person struct {
	User     host.UserID
	Name     string   // for display, never empty
	Roles    []string // sorted; without those that do not exist and those with breakGlass
	Teams    []string // sorted ids; like Roles
	Disabled bool     // the user may not sign in or do anything
}

// A Problem is an entry, or a part of one, that is left out. Kind and ID are empty
// if they could not be read.
type Problem struct {
	File string `json:"file"`           // or CLUSTER/NAMESPACE/NAME of a custom resource
	Line int    `json:"line,omitempty"` // from 1; 0 for a whole file or a custom resource
	Kind string `json:"kind,omitempty"`
	ID   string `json:"id,omitempty"`
	Text string `json:"text"`
}

func (p Problem) String() string {
	s := place(p.File, p.Line)
	if p.ID != "" {
		s += ": " + p.Kind + " " + p.ID
	}
	return s + ": " + p.Text
}

// snapshot is one state of the directory. It is immutable, except that superseded
// is closed.
type snapshot struct {
	revision uint64
	// The snapshot is valid from the last end of a membership until the next, by
	// the wall clock; zero if there is none.
	from, until time.Time
	people      map[host.UserID]*person
	roles       map[string]*set // by name
	teams       map[string]*set // by id
	sets        map[host.Origin]*set
	places      map[host.Origin]string // file:line
	problems    []Problem
	superseded  chan struct{}
	facts       func() map[string]any
}

// validAt reports whether the same entries would give the same snapshot at now.
func (s *snapshot) validAt(now time.Time) bool {
	return !now.Before(s.from) && (s.until.IsZero() || now.Before(s.until))
}

// person is a user with the permission sets of their entry, roles and teams.
type person struct {
	Person
	sets  []*set
	ended []*set // of memberships that have ended
	// until says when memberships end or ended, for those that do.
	until map[*set]time.Time
	// version is the revision of the first snapshot with this state of the person.
	// An unchanged person is shared with the next snapshot.
	version uint64
}

// set is one permission set, prepared for matching.
type set struct {
	from             host.Origin
	glass            bool   // it counts only if the user states a reason
	version          uint64 // the revision of the first snapshot with this state of the set
	permissions      host.Permissions
	actions, plugins []*host.Matched
	resources        []resource
}

func newSet(kind host.OriginKind, id string, p host.Permissions) *set {
	from, glass := host.Origin{Kind: kind, ID: id}, p.BreakGlass
	s := &set{from: from, permissions: p, glass: p.BreakGlass != nil}
	for _, a := range p.Actions {
		s.actions = append(s.actions, &host.Matched{From: from, BreakGlass: glass, Action: a})
	}
	for i := range p.Plugins {
		s.plugins = append(s.plugins, &host.Matched{From: from, BreakGlass: glass, Plugin: &p.Plugins[i]})
	}
	for i := range p.Resources {
		s.resources = append(s.resources, newResource(&host.Matched{From: from, BreakGlass: glass, Resource: &p.Resources[i]}))
	}
	return s
}

// personOf returns the user's entry with the asserted roles and teams. It returns
// nil if the user is disabled, or unlisted where listing is required.
func (s *snapshot) personOf(p *host.Principal) *person {
	if !p.Known() {
		return nil
	}
	user := host.CanonicalID(p.User)
	listed := s.people[user]
	switch {
	case listed == nil && !p.Unlisted, listed != nil && listed.Disabled:
		return nil
	case p.Asserted.Empty() && listed != nil:
		return listed
	case listed == nil:
		listed = &person{Person: Person{User: user}}
	}
	all := &person{Person: listed.Person, sets: slices.Clone(listed.sets), ended: listed.ended, until: maps.Clone(listed.until)}
	all.Roles = all.join(listed.Roles, p.Asserted.Roles, s.roles)
	all.Teams = all.join(listed.Teams, host.CanonicalIDs(p.Asserted.Teams), s.teams)
	return all
}

// join adds the sets of those ids that exist and are not in p yet. It returns have
// with the added ids, without those with breakGlass, sorted. Asserted memberships do
// not end.
func (p *person) join(have, ids []string, known map[string]*set) []string {
	out := slices.Clone(have)
	for _, id := range ids {
		s, ok := known[id]
		if !ok {
			continue
		}
		delete(p.until, s)
		if slices.Contains(p.sets, s) {
			continue
		}
		p.sets = append(p.sets, s)
		if !s.glass {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// builder builds a snapshot from entries.
type builder struct {
	old          *snapshot
	next         *snapshot
	now          time.Time
	roles, teams map[string]*set
	problems     []Problem
}

// build makes the snapshot that follows old, which may be nil, from the shipped
// roles and the parsed files and resources, in any order. Unchanged sets and people
// are shared with old. Memberships that have ended at now, a wall clock time, do not
// count.
func build(old *snapshot, base []entry, files []*parsed, now time.Time) *snapshot {
	if old == nil {
		old = &snapshot{}
	}
	s := &snapshot{
		revision: old.revision + 1, people: map[host.UserID]*person{}, superseded: make(chan struct{}),
		sets: map[host.Origin]*set{}, places: map[host.Origin]string{},
	}
	s.facts = sync.OnceValue(s.describe)
	b := &builder{old: old, next: s, now: now, roles: map[string]*set{}, teams: map[string]*set{}}
	s.roles, s.teams = b.roles, b.teams
	var all []entry
	unusable, replaced := map[entryKey]bool{}, map[string]bool{}
	var unreadable [][]byte
	for _, f := range files {
		b.problems = append(b.problems, f.problems...)
		all = append(all, f.entries...)
		for _, id := range f.spoiled {
			replaced[id] = true
		}
		for _, k := range f.unusable {
			unusable[k] = true
		}
		for _, text := range f.unreadable {
			unreadable = append(unreadable, bytes.ToLower(text)) // ids may differ in case
		}
	}
	for _, e := range all {
		if e.kind == kindRole {
			replaced[e.id] = true
		}
	}
	for _, e := range base {
		if !replaced[e.id] {
			b.roles[e.id] = b.set(host.FromRole, e)
		}
	}
	single := b.unique(all, func(e *entry) bool {
		id := bytes.ToLower([]byte(e.id))
		return unusable[e.key()] || slices.ContainsFunc(unreadable, func(text []byte) bool { return bytes.Contains(text, id) })
	})
	for _, e := range single {
		switch e.kind {
		case kindRole:
			b.roles[e.id] = b.set(host.FromRole, e)
		case kindTeam:
			b.teams[e.id] = b.set(host.FromTeam, e)
		}
	}
	for _, e := range single {
		if e.kind == kindUser {
			s.people[host.UserID(e.id)] = b.person(e)
		}
	}
	slices.SortFunc(b.problems, func(x, y Problem) int {
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Text, y.Text))
	})
	s.problems = b.problems
	return s
}

// set returns the permission set of e, the old one if it is unchanged.
func (b *builder) set(kind host.OriginKind, e entry) *set {
	from := host.Origin{Kind: kind, ID: e.id}
	s := b.old.sets[from]
	// Entries of unchanged files share their lists, so the comparison is cheap.
	if s == nil || !reflect.DeepEqual(s.permissions, e.permissions) {
		s = newSet(kind, e.id, e.permissions)
		s.version = b.next.revision
	}
	b.next.sets[from], b.next.places[from] = s, e.place()
	return s
}

// unique returns the entries whose kind and id are unique. An entry of a file takes
// precedence over custom resources, even if it is invalid, so that a writer of
// custom resources can neither lock out a user of a file nor restore rights that a
// file removes.
func (b *builder) unique(all []entry, spoiled func(*entry) bool) []entry {
	byKey := map[entryKey][]int{}
	for i, e := range all {
		byKey[e.key()] = append(byKey[e.key()], i)
	}
	var out []entry
	for i, e := range all {
		rivals := byKey[e.key()]
		if f := slices.IndexFunc(rivals, func(j int) bool { return all[j].cluster == "" }); f >= 0 {
			if e.cluster != "" {
				b.report(e, "the id is also used by %s; a file takes precedence over a custom resource", all[rivals[f]].place())
				continue
			}
			rivals = slices.DeleteFunc(slices.Clone(rivals), func(j int) bool { return all[j].cluster != "" })
		} else if e.cluster != "" && spoiled(&e) {
			b.report(e, "a file has an invalid entry with this id; a file takes precedence over a custom resource")
			continue
		}
		if len(rivals) == 1 {
			out = append(out, e)
			continue
		}
		other := all[rivals[0]]
		if rivals[0] == i {
			other = all[rivals[1]]
		}
		b.report(e, "the id is also used by %s; neither is used", other.place())
	}
	return out
}

func (b *builder) report(e entry, format string, args ...any) {
	b.problems = append(b.problems, Problem{e.file, e.line, e.kind, e.id, fmt.Sprintf(format, args...)})
}

// person resolves a user's roles and teams. The order of the permission sets is
// fixed: the user's own, roles, teams.
func (b *builder) person(e entry) *person {
	p := &person{Person: Person{User: host.UserID(e.id), Name: e.name, Disabled: e.disabled}}
	p.sets = append(p.sets, b.set(host.FromUser, e))
	link := func(word string, list []membership, known map[string]*set) (found []string) {
		for _, m := range widest(list) {
			s, ok := known[m.id]
			ended := m.ended(b.now)
			b.next.bound(m.until, ended)
			if ok && !m.until.IsZero() {
				p.limit(s, m.until)
			}
			switch {
			case ok && ended:
				p.ended = append(p.ended, s)
			case ended: // not reported, even if the role or team is gone
			case !ok:
				b.report(e, "there is no usable %s %q", word, m.id)
			default:
				p.sets = append(p.sets, s)
				if !s.glass {
					found = append(found, m.id)
				}
			}
		}
		return found
	}
	p.Roles = link("role", e.roles, b.roles)
	p.Teams = link("team", e.teams, b.teams)
	if old := b.old.people[p.User]; old != nil && p.same(old) {
		return old
	}
	p.version = b.next.revision
	return p
}

// same reports whether p equals old; ended follows from the other fields.
func (p *person) same(old *person) bool {
	return reflect.DeepEqual(old.Person, p.Person) && slices.Equal(old.sets, p.sets) && maps.Equal(old.until, p.until)
}

func (p *person) limit(s *set, until time.Time) {
	if p.until == nil {
		p.until = map[*set]time.Time{}
	}
	p.until[s] = until
}

// bound limits the snapshot's validity by a membership's end; zero is no end.
func (s *snapshot) bound(end time.Time, ended bool) {
	switch {
	case end.IsZero():
	case ended && end.After(s.from):
		s.from = end
	case !ended && (s.until.IsZero() || end.Before(s.until)):
		s.until = end
	}
}

// widest returns the memberships sorted by id; of several with the same id, the one
// that ends last.
func widest(list []membership) []membership {
	list = slices.Clone(list)
	slices.SortFunc(list, func(x, y membership) int {
		later := y.until.Compare(x.until)
		if x.until.IsZero() || y.until.IsZero() {
			later = -later
		}
		return cmp.Or(cmp.Compare(x.id, y.id), later)
	})
	return slices.CompactFunc(list, func(x, y membership) bool { return x.id == y.id })
}
