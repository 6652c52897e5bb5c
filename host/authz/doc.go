// Package authz decides: it runs the policy, written in Rego, on a question and
// the permissions that the directory matched with it. It is the only user of
// OPA.
//
// A policy is a revision: the shipped rules and the operator's own, compiled together,
// tested, and published in one step. If any of that fails, the previous revision stays in
// force, and Ready returns the reason.
//
// The document asked for is data.bulkhead.authz.decision:
//
//	{"allow": bool, "reason": {"code": string, "args": {…}}, "obligations": {…}}
//
// Anything except a well-formed document that allows is a denial: undefined, error, wrong
// shape, unknown obligation, timeout, panic. The reason is then "policy_error", and the
// details go to the log.
//
// Decisions are cached. The key is the canonical form of the parts of the question that the
// policy reads, with the policy's revision and the versions of the user, roles and teams in
// the directory. So the cache is never flushed: a change makes older entries unreachable,
// and only those of the users that it concerns.
//
// host/directory matches permissions, the Rego in policies decides with them, and the
// callers of Decide enforce the obligations.
package authz
