// Package capability owns the broker between plugins and everything they reach
// through the host. Each call of a plugin passes here, in this order: the
// session still has its authority; the call is read into typed parts; the
// operator granted it to this plugin; policy allows it to this person; only
// then the capability acts, with the same parts; and the session still has its
// authority when the result is handed over. The first that fails decides, and
// nothing after it happens.
//
// A capability is two things, both in a subpackage of its own. Its Kind describes
// it: what a grant states, which requests there are, what the directory's
// permissions mean for them. A Catalog hands kinds to whatever compares or explains
// calls. Its Provider carries out what the Kind has prepared, so that what policy
// saw is what is done. The package all lists the capabilities there are.
//
// Policy comes in as a function; the far side's own rules (RBAC) stay with the far
// side, which sees the person and never the host.
package capability
