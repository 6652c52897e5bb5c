package rewrite

const (
	// rounds bound the search for the few functions that break all cycles.
	rounds = 64
	// maxLooks bounds the search if all functions call each other. A real module has some
	// hundred thousand calls, most of them not in a cycle.
	maxLooks = 20_000_000
	// maxPath is the most bytes of stack that a chain of functions that count nothing may
	// take, and therefore the error of the estimate.
	maxPath = 2048
)

// chargeStack decides which functions count stack, sets their estimated charge, and returns that
// of a call_indirect. Afterwards every cycle of calls contains a counting point, and between two
// counting points are at most maxPath bytes and one frame.
func chargeStack(list []function) (indirect int32) {
	for i := range list {
		list[i].cost = list[i].frame()
	}
	counted := breakCycles(list)
	for _, component := range components(list, func(i int) bool { return counted[i] }) {
		f := component[0] // no cycles are left
		list[f].path = list[f].below(list, counted)
		if list[f].path > maxPath {
			counted[f] = true
		}
	}
	longest := int64(0)
	for i := range list {
		if !counted[i] {
			longest = max(longest, list[i].path)
			continue
		}
		list[i].stack = int32(min(list[i].below(list, counted), 1<<30))
	}
	return int32(longest) + indirectFrame
}

// indirectFrame is the stack of a call through a table, without the callee.
const indirectFrame = 32

// frame estimates the native frame: saved registers, a slot for each local and
// for some of the values in between.
func (f *function) frame() int64 { return 64 + int64(f.locals) + 2*int64(f.instrs) }

// below returns the most stack that a function takes with callees that do not count.
func (f *function) below(list []function, counted []bool) int64 {
	deepest := int64(0)
	for _, c := range f.calls {
		if c.callee >= 0 && !counted[c.callee] {
			deepest = max(deepest, list[c.callee].path)
		}
	}
	return f.cost + deepest
}

// breakCycles selects functions without which the direct calls have no cycle. In each component
// it selects the function with the most callers inside, and then repeats with the rest of the
// component. It selects all functions that remain after some rounds, or after maxLooks calls.
func breakCycles(list []function) []bool {
	taken := make([]bool, len(list))
	done := make([]bool, len(list)) // selected, or not in a cycle
	callers := make([]int, len(list))
	for i := range callers {
		callers[i] = elsewhere
	}
	looks := 0
	for round := 0; ; round++ {
		found := false
		for _, component := range components(list, func(i int) bool { return done[i] }) {
			if len(component) == 1 && !list[component[0]].callsSelf(component[0]) {
				done[component[0]] = true
				continue
			}
			found = true
			for _, f := range component {
				looks += len(list[f].calls)
			}
			if round == rounds-1 || looks > maxLooks {
				for _, f := range component {
					taken[f], done[f] = true, true
				}
				continue
			}
			most := mostCalled(list, component, callers)
			taken[most], done[most] = true, true
		}
		if !found {
			return taken
		}
	}
}

// elsewhere marks the functions that are not in the present component.
const elsewhere = -1

// mostCalled needs callers to be elsewhere for all functions, and leaves it so.
func mostCalled(list []function, component []int, callers []int) int {
	for _, f := range component {
		callers[f] = 0
	}
	defer func() {
		for _, f := range component {
			callers[f] = elsewhere
		}
	}()
	for _, f := range component {
		for _, c := range list[f].calls {
			if c.callee >= 0 && callers[c.callee] != elsewhere {
				callers[c.callee]++
			}
		}
	}
	best := component[0]
	for _, f := range component {
		if n := callers[f]; n > callers[best] || n == callers[best] && f < best {
			best = f
		}
	}
	return best
}
