package authz

import (
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Of parts that are read by name the key has the values alone, each after whether
// there is one: what is absent is not what is empty, nor what another part says.
func TestAbsentAndEmptyDifferInTheKey(t *testing.T) {
	read := &members{names: []string{"cluster", "namespace"}}
	seen := map[string]host.Resource{}
	for _, r := range []host.Resource{
		nil, {"cluster": "prod"}, {"namespace": "prod"}, {"cluster": "prod", "namespace": ""}, {"cluster": "", "namespace": "prod"}, {"cluster": ""}, {"namespace": ""}, {"cluster": "", "namespace": ""},
	} {
		key := string(appendMap(nil, r, read))
		if other, ok := seen[key]; ok {
			t.Errorf("%v has the key of %v", r, other)
		}
		seen[key] = r
	}
	if got := string(appendMap(nil, host.Resource{"cluster": "prod", "pod": "web"}, read)); seen[got]["cluster"] != "prod" || len(seen[got]) != 1 {
		t.Errorf("what is not read counts: %q", got)
	}
	if a, b := appendMap(nil, host.Resource{"a": "b"}, &members{all: true}), appendMap(nil, host.Resource{"ab": ""}, &members{all: true}); string(a) == string(b) {
		t.Errorf("%q is the key of both", a)
	}
	e, _ := withPolicy(t, `package bulkhead.authz

decision := {"allow": input.resource.cluster == "prod", "reason": {"code": "in_prod"}} if input.resource.cluster

decision := {"allow": false, "reason": {"code": input.resource.namespace}} if not input.resource.cluster
`)
	for range 2 {
		for _, c := range []struct {
			resource host.Resource
			allow    bool
		}{{host.Resource{"cluster": "prod"}, true}, {host.Resource{"namespace": "prod"}, false}} {
			q := ask(vic, "gitops", "helm.read")
			q.Resource = c.resource
			if d := e.Decide(t.Context(), q); d.Allow != c.allow || d.Reason.Code == PolicyError {
				t.Errorf("%v: %+v", c.resource, d)
			}
		}
	}
}

// With a full log, a new effect that is allowed is refused instead of going
// unrecorded; what reads, is refused or runs already is not.
func TestARecordSaysWhetherItMayBeLost(t *testing.T) {
	for name, c := range map[string]struct {
		allow, mutates, running bool
		refused                 bool
	}{
		"an effect": {true, true, false, true}, "a reading": {true, false, false, false},
		"a refused effect": {false, true, false, false}, "what runs already": {true, true, true, false},
	} {
		q := ask(vic, "gitops", "helm.upgrade")
		q.Route.Mutates = c.mutates
		r := &record{answer: &answer{decision: host.Decision{Allow: c.allow}, matching: host.Matching{Revision: 7}}, id: "x", running: c.running}
		r.set(q)
		refusal := r.Refusal()
		if (refusal != nil) != c.refused {
			t.Errorf("%s: %v", name, refusal)
		}
		if !c.refused {
			continue
		}
		got := refusal.(*record)
		if got.answer.decision.Allow || got.answer.decision.Reason.Code != LogFull || got.answer.matching.Revision != 7 || got.id != "x" || r.answer.decision.Allow != c.allow {
			t.Errorf("%s: %+v of %+v", name, got.answer, r.answer)
		}
	}
}

// Two keys may have one hash; the decision of one is not that of the other.
func TestOneHashIsNotOneKey(t *testing.T) {
	var c cache
	c.init()
	c.put("asked", &answer{decision: host.Decision{Allow: true}})
	for i := range c.shards {
		for hash, e := range c.shards[i].young {
			forged := *e
			forged.key = "another"
			c.shards[i].young[hash] = &forged
			if _, ok := c.get([]byte("asked")); ok {
				t.Error("among the young")
			}
			c.shards[i].young, c.shards[i].old = map[uint64]*entry{}, map[uint64]*entry{hash: &forged}
			if _, ok := c.get([]byte("asked")); ok {
				t.Error("among the old")
			}
		}
	}
}

// A new revision, and a new state of the directory, decide anew.
func TestADecisionIsOfOneRevision(t *testing.T) {
	q, r := ask(vic, "gitops", "helm.read"), &revision{cacheable: true, reads: everything}
	one, ok := appendKey(nil, &published{number: 1, revision: r}, fixed(5), q)
	two, ok2 := appendKey(nil, &published{number: 2, revision: r}, fixed(5), q)
	if !ok || !ok2 || string(one) == string(two) {
		t.Errorf("%t, %t: %q and %q", ok, ok2, one, two)
	}
}
