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

// Person is what the directory says about a user.
type Person struct {
	User     host.UserID
	Name     string   // for display, never empty
	Roles    []string // sorted; only roles that exist and count without a stated reason
	Teams    []string // sorted ids; as roles
	Disabled bool     // the person may do nothing
}

// A Problem is an entry, or a part of one, that is left out. Kind and ID are
// empty where the document was too broken to tell.
type Problem struct {
	File string `json:"file"`           // or CLUSTER/NAMESPACE/NAME of a custom resource
	Line int    `json:"line,omitempty"` // from 1; 0 if the whole file is meant, or a custom resource
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

// snapshot is one state of the directory. It is immutable, but for the closing
// of superseded.
type snapshot struct {
	revision uint64
	// from and until bound when it is right, by the wall clock: since the last
	// end of a membership, before the next. Zero: there is none.
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

// rightAt reports whether the same entries, now, would give the same snapshot.
func (s *snapshot) rightAt(now time.Time) bool {
	return !now.Before(s.from) && (s.until.IsZero() || now.Before(s.until))
}

// person is a user with the permissions of everything they belong to.
type person struct {
	Person
	sets  []*set
	ended []*set // of memberships that counted once
	// until says when memberships end or ended, for those that do.
	until map[*set]time.Time
	// version is the revision of the first snapshot in which the person was as
	// they are now. Who did not change is the same person in the next snapshot.
	version uint64
}

// set is one permission set, ready to be matched: each permission as it will
// be handed out.
type set struct {
	from             host.Origin
	glass            bool   // it counts only where a reason is stated
	version          uint64 // the revision of the first snapshot in which it was so
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

// personOf returns who asks: the person whom the directory lists, if there must
// be one, with what is asserted of them. It is nil for nobody.
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

// join adds the sets of those ids that exist and are not there yet, and returns
// have with those of them that count without a stated reason, sorted. What is
// asserted has no end here.
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

// builder links entries to a snapshot.
type builder struct {
	old          *snapshot
	next         *snapshot
	now          time.Time
	roles, teams map[string]*set
	problems     []Problem
}

// build makes the snapshot that follows old, if that is not nil, of the base
// layer's roles and the directory's files. The order of either does not matter.
// Sets and people that did not change are taken over. What has ended by now, a
// reading of the wall clock, does not count.
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

// set is the permission set of e, the old one if it is the same.
func (b *builder) set(kind host.OriginKind, e entry) *set {
	from := host.Origin{Kind: kind, ID: e.id}
	s := b.old.sets[from]
	// Entries of files that did not change share their lists, which is quick to see.
	if s == nil || !reflect.DeepEqual(s.permissions, e.permissions) {
		s = newSet(kind, e.id, e.permissions)
		s.version = b.next.revision
	}
	b.next.sets[from], b.next.places[from] = s, e.place()
	return s
}

// unique returns the entries that count: those that no other has the kind and
// id of, and those of files, which count before custom resources even while
// they cannot be used. So whoever may write custom resources can neither lock
// out whom a file lists nor bring back what a file takes away.
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
				b.report(e, "the id is also that of %s; a file counts before a custom resource", all[rivals[f]].place())
				continue
			}
			rivals = slices.DeleteFunc(slices.Clone(rivals), func(j int) bool { return all[j].cluster != "" })
		} else if e.cluster != "" && spoiled(&e) {
			b.report(e, "a file names this id in an entry that cannot be used; a file counts before a custom resource")
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
		b.report(e, "the id is also that of %s; neither is used", other.place())
	}
	return out
}

func (b *builder) report(e entry, format string, args ...any) {
	b.problems = append(b.problems, Problem{e.file, e.line, e.kind, e.id, fmt.Sprintf(format, args...)})
}

// person resolves a user's roles and teams. Their permission sets come in a
// fixed order: the person's own, roles, teams.
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
			case ended: // history, whatever became of it
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

// same reports whether p is as old was; what has ended follows from the rest.
func (p *person) same(old *person) bool {
	return reflect.DeepEqual(old.Person, p.Person) && slices.Equal(old.sets, p.sets) && maps.Equal(old.until, p.until)
}

func (p *person) limit(s *set, until time.Time) {
	if p.until == nil {
		p.until = map[*set]time.Time{}
	}
	p.until[s] = until
}

// bound notes that a membership ends, or has ended, at that time; zero: never.
func (s *snapshot) bound(end time.Time, ended bool) {
	switch {
	case end.IsZero():
	case ended && end.After(s.from):
		s.from = end
	case !ended && (s.until.IsZero() || end.Before(s.until)):
		s.until = end
	}
}

// widest returns the memberships sorted by id, of those with the same id the
// one that ends last.
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
