package fleet

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Behind returns why this replica must not serve name now: after a gap in which it was
// not fresh, it does not have yet what is desired, and the others may have said that
// this is active. It is nil at any other time, also while a version is replaced in
// good order: that one is not active yet. Ask once a request is admitted.
func (f *Fleet) Behind(name string) error {
	if f.gaps.Load() == f.Store.Gaps() && f.whole.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	behind := f.held[name]
	if f.gaps.Load() != f.Store.Gaps() { // no pass has looked since
		list, _ := f.Store.Desired()
		behind = f.behind(name, list)
		f.nudge()
	}
	if !behind {
		return nil
	}
	return &host.Error{Kind: host.Unavailable, Op: "fleet", RetryAfter: time.Second,
		Message: "this host was cut off and does not have the desired version of the plugin yet; try again"}
}

// behind reports whether this replica has still to do something about name. It needs
// f.mu.
func (f *Fleet) behind(name string, list []state.Desired) bool {
	w := f.names[name]
	k := slices.IndexFunc(list, func(d state.Desired) bool { return d.Name == name })
	if k < 0 {
		return w != nil && w.phase != Refused // it is to be removed
	}
	return w == nil || w.busy || w.revision != list[k].Revision
}

// hold begins to hold what this replica is behind with, if there was a gap since it
// looked, and ends that for what is done, or has failed and is reported so. It needs
// f.mu.
func (f *Fleet) hold(gaps uint64, list []state.Desired) {
	if gaps != f.gaps.Load() {
		f.held = map[string]bool{}
		for _, d := range list {
			if !strings.HasPrefix(d.Name, approvalOf) {
				f.held[d.Name] = true
			}
		}
		for name := range f.names {
			f.held[name] = true
		}
	}
	maps.DeleteFunc(f.held, func(name string, _ bool) bool { return !f.behind(name, list) })
	f.whole.Store(len(f.held) == 0)
	f.gaps.Store(gaps)
}
