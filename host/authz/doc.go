// Package authz decides: it runs the policy, written in Rego, on a question and
// the permissions that the directory matched with it. It is the only user of
// OPA.
//
// A policy is a revision: the shipped rules and the operator's own, compiled
// together, their tests passed, published in one step. A revision that fails
// any of that leaves the one before it serving, and Ready says why.
//
// The document asked for is data.bulkhead.authz.decision:
//
//	{"allow": bool, "reason": {"code": string, "args": {…}}, "obligations": {…}}
//
// Everything but a well-formed document that allows is a denial: undefined,
// error, wrong shape, unknown obligation, time over, panic. Those give the
// reason "policy_error" and the details go to the log.
//
// Decisions are cached. The key is the canonical form of what the policy reads of
// the question, with the policy's revision and the versions of the person, roles
// and teams in the directory. So nothing is ever flushed: a change makes older
// entries unreachable, and only those of whom it is about.
//
// What the permissions are and what covers what is the matter of
// host/directory; what follows from them, of the Rego in policies; enforcing
// the obligations, of whoever acts on the decision.
package authz
