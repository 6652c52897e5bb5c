package host

import "strings"

// Action is what a route does, as PLUGIN:NAME, for example
// "gitops:helm.upgrade". NAME is "read" or ends in ".read" if, and only if, the route
// changes nothing, so that a role can permit "*:*.read" and "*:read".
type Action string

// Split returns the plugin and the name; ok is false if a does not have the form
// PLUGIN:NAME with both parts.
func (a Action) Split() (plugin, name string, ok bool) {
	plugin, name, ok = strings.Cut(string(a), ":")
	return plugin, name, ok && plugin != "" && name != "" && !strings.Contains(name, ":")
}

// Matches reports whether pattern covers a. Each half of the pattern is compared with the
// same half of the action; "*" matches any sequence of characters, also the empty one. The
// pattern "*" alone covers everything.
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

// Glob reports whether s matches pattern, in which "*" matches any sequence of characters
// and every other character matches itself. Its time is at most proportional to the
// product of the lengths, and it allocates nothing.
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
