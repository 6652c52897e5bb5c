package authz

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// other is the same world again, to be changed.
func (w *world) other(seed uint64) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, 2)), sets: maps.Clone(w.sets), people: maps.Clone(w.people)}
}

// each puts the same questions to both worlds.
func each(t *testing.T, before, after *world, spoilt bool, check func(q *host.Question, before, after host.Decision)) {
	t.Helper()
	one, two := openEngine(t, "", before.directory), openEngine(t, "", after.open(t, spoilt))
	allowed := 0
	for range 500 {
		q := before.question()
		a, b := one.Decide(t.Context(), q), two.Decide(t.Context(), q)
		if a.Allow {
			allowed++
		}
		check(q, a, b)
		if t.Failed() {
			t.Fatalf("%s, reason %q, %s %+v:\n%+v\n%+v", q.Principal.User, q.Reason, q.Route.Action, q.Capability, a, b)
		}
	}
	if allowed < 5 {
		t.Errorf("only %d questions are allowed", allowed)
	}
}

func TestMorePermissionsNeverAllowLess(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(t, seed)
		more := w.other(seed)
		for _, of := range slices.Sorted(maps.Keys(more.sets)) {
			p, add := more.sets[of], more.permit()
			p.actions = append(slices.Clip(p.actions), add.actions...)
			p.plugins = append(slices.Clip(p.plugins), add.plugins...)
			p.resources = append(slices.Clip(p.resources), add.resources...)
			more.sets[of] = p
		}
		for _, user := range slices.Sorted(maps.Keys(more.people)) {
			m := more.people[user]
			m.roles, m.teams = append(slices.Clip(m.roles), more.some("r", 8)...), append(slices.Clip(m.teams), more.some("t", 8)...)
			more.people[user] = m
		}
		each(t, w, more, false, func(q *host.Question, before, after host.Decision) {
			if before.Allow && !after.Allow {
				t.Error("more permissions refuse what fewer allowed")
			}
			shown := verdictOf(before).within
			if before.Allow && verdictOf(after).within != "" {
				for _, place := range strings.Fields(shown) {
					if shown == "" || !slices.Contains(strings.Fields(verdictOf(after).within), place) {
						t.Error("more permissions show less")
					}
				}
				if shown == "" {
					t.Error("more permissions narrow what was not")
				}
			}
		})
	}
}

func TestTheOrderOfAnythingDoesNotMatter(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(t, seed)
		shuffled := w.other(seed)
		mix := func(n int, swap func(i, j int)) { shuffled.rng.Shuffle(n, swap) }
		for _, of := range slices.Sorted(maps.Keys(w.sets)) {
			p := w.sets[of]
			p.actions, p.plugins, p.resources = slices.Clone(p.actions), slices.Clone(p.plugins), slices.Clone(p.resources)
			mix(len(p.actions), reflect.Swapper(p.actions))
			mix(len(p.plugins), reflect.Swapper(p.plugins))
			mix(len(p.resources), reflect.Swapper(p.resources))
			shuffled.sets[of] = p
		}
		for _, user := range slices.Sorted(maps.Keys(w.people)) {
			m := w.people[user]
			m.roles, m.teams = slices.Clone(m.roles), slices.Clone(m.teams)
			mix(len(m.roles), reflect.Swapper(m.roles))
			mix(len(m.teams), reflect.Swapper(m.teams))
			shuffled.people[user] = m
		}
		each(t, w, shuffled, false, func(_ *host.Question, before, after host.Decision) {
			if !sameDecision(before, after) {
				t.Error("the order decides")
			}
		})
	}
}

func TestAMalformedPermissionHidesNothing(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(t, seed)
		each(t, w, w.other(seed), true, func(_ *host.Question, before, after host.Decision) {
			if !sameDecision(before, after) {
				t.Error("malformed permissions change a decision")
			}
		})
	}
}

func sameDecision(a, b host.Decision) bool {
	return a.Allow == b.Allow && reflect.DeepEqual(a.Reason, b.Reason) && reflect.DeepEqual(a.Obligations, b.Obligations)
}
