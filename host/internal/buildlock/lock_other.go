//go:build !unix

package buildlock

// lock has no effect without advisory locks: two processes may build the same
// program, and the later one replaces it by an equal one.
func lock(string) (release func(), err error) { return func() {}, nil }
