//go:build bulkhead_bench

package guest

import "runtime"

// Allocations are counted in a module that is built to be measured, since reading the numbers
// is code that no other needs.
var (
	stats               runtime.MemStats
	marked, markedBytes uint64
)

// mark makes counting begin.
func mark() {
	runtime.ReadMemStats(&stats)
	marked, markedBytes = stats.Mallocs, stats.TotalAlloc
}

//go:wasmexport bulkhead_allocations
func exportAllocations() uint64 {
	runtime.ReadMemStats(&stats)
	const most = 1<<32 - 1
	return min(stats.Mallocs-marked, most)<<32 | min(stats.TotalAlloc-markedBytes, most)
}
