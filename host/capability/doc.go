// Package capability owns the broker between plugins and everything that they reach
// through the host. For each call the broker checks, in this order: the session has
// its authority; the request can be classified; the operator granted the call to the
// plugin; policy allows it for the user. Only then the provider carries out the
// prepared call, and the session must still have its authority when the result is
// returned. The first check that fails decides, and nothing after it happens.
//
// A capability has two parts, both in a subpackage. Its Kind describes it: what a grant
// states, which requests exist, and what the directory's permissions mean for them. A
// Catalog gives kinds to the code that compares or explains calls. Its Provider carries
// out what the Kind has prepared, so that what policy saw is what is done. The package
// all lists the capabilities.
//
// Policy is a function that the broker is given. The upstream's own rules, such as
// RBAC, are enforced by the upstream, which sees the user and not the host.
package capability
