package rewrite

// components returns the strongly connected components of the direct calls
// between functions that are not removed, callees before callers (Tarjan).
func components(list []function, removed func(int) bool) [][]int {
	t := tarjan{list: list, removed: removed, index: make([]int, len(list)), low: make([]int, len(list)), on: make([]bool, len(list))}
	for i := range list {
		if t.index[i] == 0 && !removed(i) {
			t.visit(i)
		}
	}
	return t.found
}

type tarjan struct {
	list    []function
	removed func(int) bool
	index   []int // order of discovery from 1, 0: not yet
	low     []int
	on      []bool // on the stack
	stack   []int
	count   int
	found   [][]int
}

// frame is a function under visit and its next call.
type frame struct{ f, next int }

// visit keeps its own stack: a chain of calls is as long as a guest likes.
func (t *tarjan) visit(root int) {
	frames := []frame{t.enter(root)}
	for len(frames) > 0 {
		top := &frames[len(frames)-1]
		calls := t.list[top.f].calls
		if top.next == len(calls) {
			t.leave(top.f)
			frames = frames[:len(frames)-1]
			if n := len(frames); n > 0 {
				parent := frames[n-1].f
				t.low[parent] = min(t.low[parent], t.low[top.f])
			}
			continue
		}
		callee := calls[top.next].callee
		top.next++
		switch {
		case callee < 0 || t.removed(callee):
		case t.index[callee] == 0:
			frames = append(frames, t.enter(callee))
		case t.on[callee]:
			t.low[top.f] = min(t.low[top.f], t.index[callee])
		}
	}
}

func (t *tarjan) enter(f int) frame {
	t.count++
	t.index[f], t.low[f], t.on[f] = t.count, t.count, true
	t.stack = append(t.stack, f)
	return frame{f: f}
}

func (t *tarjan) leave(f int) {
	if t.low[f] != t.index[f] {
		return
	}
	var component []int
	for {
		last := len(t.stack) - 1
		member := t.stack[last]
		t.stack, t.on[member] = t.stack[:last], false
		component = append(component, member)
		if member == f {
			break
		}
	}
	t.found = append(t.found, component)
}
