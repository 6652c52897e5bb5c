package rewrite

// chargeFuel decides which functions are free, and the cost of entries and loops.
func chargeFuel(list []function, limit int) {
	if limit > 0 {
		for _, component := range components(list, func(int) bool { return false }) {
			// Callees come first, so they are decided. A cycle is never free.
			if f := &list[component[0]]; len(component) == 1 && f.loops == 0 && !f.indirect && !f.callsSelf(component[0]) {
				if n := f.total(0, list); n <= uint64(limit) {
					f.free = n
				}
			}
		}
	}
	for i := range list {
		list[i].weigh(list)
	}
}

func (f *function) callsSelf(self int) bool {
	for _, c := range f.calls {
		if c.callee == self {
			return true
		}
	}
	return false
}

// total returns the work of a region, including the free functions that it calls.
func (f *function) total(region int, list []function) uint64 {
	n := f.regions[region].work
	for _, c := range f.calls {
		if c.region == region {
			n += c.work(list)
		}
	}
	return n
}

func (c call) work(list []function) uint64 {
	if c.callee < 0 {
		return hostCall
	}
	return list[c.callee].free
}

// weigh adds the free callees' work to the regions and sets the entry's fuel.
// Each term is at most the limit of free functions, so nothing overflows.
func (f *function) weigh(list []function) {
	for _, c := range f.calls {
		f.regions[c.region].work += c.work(list)
	}
	switch outside := f.regions[0].work; {
	case f.free > 0:
	case f.headFirst && outside <= maxMoved:
		f.regions[1].work += outside
	default:
		f.entry = outside
	}
}

// maxMoved is the most work outside of loops that may be counted in each iteration of the first
// loop instead of at the entry.
const maxMoved = 32
