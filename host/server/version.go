package server

import (
	"cmp"
	"runtime/debug"
)

// version is set by the linker for a release: -X …/host/server.version=v1.2.3.
var version string

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
// differed from it; "" if the toolchain did not record it.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var commit, changed string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + changed
}
