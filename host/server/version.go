package server

import (
	"cmp"
	"runtime/debug"
)

// version and commit are set by the linker: -X …/host/server.version=v1.2.3. make does so
// for the commit, which the toolchain does not find in each kind of clone.
var version, commit string

// Version is the host's version: that of the release, or else what the Go toolchain
// recorded.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return cmp.Or(version, "(devel)")
	}
	return cmp.Or(version, info.Main.Version, "(devel)")
}

// Commit is the git commit that the host was built from, with "+changes" if files
// differed from it; "" if it is not known.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if commit != "" || !ok {
		return commit
	}
	var recorded, changed string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			recorded = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if recorded == "" {
		return ""
	}
	return recorded + changed
}
