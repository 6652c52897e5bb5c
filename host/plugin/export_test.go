package plugin

import "time"

// WatchEvery makes the registry compare generations that often. It is for before the
// first Swap.
func (r *Registry) WatchEvery(d time.Duration) { r.every = d }
