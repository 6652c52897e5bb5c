package plugin_test

import "testing"

// perCall is how many allocations of the host a call of a plugin takes: the request's frame, the
// answer, and what the call keeps. If a change needs more, write the new number here and say why
// in the commit.
const perCall = 20

// TestACallTakesNoMoreAllocationsThanCommitted counts them in Handle, with the plugin echo.
func TestACallTakesNoMoreAllocationsThanCommitted(t *testing.T) {
	g := newFixture(t).echo(t)
	c := call(t, g, &authority{}, "POST", "/echo?a=b")
	c.Body = make([]byte, 64)
	n := testing.AllocsPerRun(500, func() {
		if _, err := g.Handle(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		c.Release()
	})
	if most := perCall + raceAllocations; int(n) > most {
		t.Errorf("a call takes %v allocations, %d are committed (perCall)", n, most)
	}
	t.Logf("%v allocations", n)
}
