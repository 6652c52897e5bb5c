package host

import "strings"

// Action is what a route does, as PLUGIN:NAME, for example
// "gitops:helm.upgrade". NAME is "read" or ends in ".read" exactly when the
// route changes nothing, so that a role can be written as "*:*.read" and
// "*:read".
type Action string

// Split returns the plugin and the name; ok is false when a is not of the form
// PLUGIN:NAME with both parts present.
func (a Action) Split() (plugin, name string, ok bool) {
	plugin, name, ok = strings.Cut(string(a), ":")
	return plugin, name, ok && plugin != "" && name != "" && !strings.Contains(name, ":")
}

// Matches reports whether a is covered by pattern. Each half of the pattern is
// compared with the same half of the action; "*" stands for any run of
// characters, the empty one included. The bare pattern "*" covers everything.
func (a Action) Matches(pattern string) bool {
	plugin, name, ok := a.Split()
	if !ok {
		return false
	}
	if pattern == "*" {
		return true
	}
	pp, pn, ok := Action(pattern).Split()
	return ok && Glob(pp, plugin) && Glob(pn, name)
}

// Glob reports whether s matches pattern, in which "*" stands for any run of
// characters and everything else for itself. It takes time in the product of
// the lengths at worst and allocates nothing.
func Glob(pattern, s string) bool {
	var star, mark = -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
