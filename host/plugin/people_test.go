package plugin

import (
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A person who holds nothing is forgotten, and one whose answer is still being
// written is not.
func TestWhoHoldsNothingIsForgotten(t *testing.T) {
	g := &Generation{people: newPeople(UserLimits{})}
	c := &Call{Caller: &capability.Caller{Principal: &host.Principal{User: "ann"}}}
	budget := g.people.take("ann")
	if again := g.people.take("ann"); again != budget {
		t.Error("two calls of one person have two budgets")
	}
	c.answered(g, func() {})
	g.people.put("ann")
	if g.people.held["ann"] == nil {
		t.Error("forgotten with a call running")
	}
	c.Release()
	if g.people.held["ann"] == nil {
		t.Error("forgotten with a call running, after an answer was written")
	}
	g.people.put("ann")
	if len(g.people.held) != 0 {
		t.Error("remembered without anything")
	}
	g.people.held["bob"] = &holding{memory: budget}
	c.Caller.Principal.User = "bob"
	c.answered(g, func() {})
	c.Release()
	if len(g.people.held) != 0 {
		t.Error("remembered after the last answer was written")
	}
}
