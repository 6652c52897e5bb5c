package plugin

import "time"

// WatchEvery makes the registry compare generations that often. It is for before the
// first Swap.
func (r *Registry) WatchEvery(d time.Duration) { r.every = d }

// Used returns the bytes that are counted for g's instances.
func (g *Generation) Used() int64 { return g.module.Used() }
