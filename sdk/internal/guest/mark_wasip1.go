//go:build !bulkhead_bench

package guest

func mark() {}
