// Package host is the vocabulary of Bulkhead: the types that all packages share, and
// the error kinds that they return. It has no behaviour beyond what follows from a
// definition (whether an action matches a pattern, which text of an error is public),
// starts nothing and imports only the standard library.
//
// The zero value of every type here grants nothing: a zero Decision denies, a zero
// Principal is no user, a zero Error is an internal error whose text only the operator
// sees.
//
// # Words
//
// The project uses these words in code, messages and documents, one word for one
// thing.
//
// Users and logins:
//
//   - principal: the user of a request: issuer, subject, user id, login (Principal)
//   - login: one sign-in, named by sid (Login, LoginRecord)
//   - login method: OIDC, GitHub, proxy, dev
//   - bearer-bound login: a login kept for an ID token or for a user that a proxy asserts
//   - trusted proxy: a proxy whose identity headers count
//   - directory: the users, teams and roles with their permissions
//
// Sessions:
//
//   - session: one live call, event stream or socket of a user (SessionInfo)
//   - authority: a session's right to have any effect (Authority)
//   - end, cause: to stop a session, and the reason (EndCause, Ending)
//   - revoke, revocation: to make a login, or all logins of a user, invalid
//   - not-before: the time before which a user's logins are invalid
//   - fresh, fenced: a replica that may trust its view of the store, or may not
//   - fleet: all replicas
//
// Policy:
//
//   - question, decision: what policy is asked and what it answers (Question, Decision)
//   - action: what a route does, as PLUGIN:NAME (Action)
//   - permission: what a user, team or role may do (Permissions)
//   - obligation: a condition of an allow, which the host meets or refuses (Obligations)
//   - admit: to match, decide and accept a request
//   - standing decision: a decision that a session depends on; policy is asked again
//     while the session lives
//   - source, revision, candidate: where policy comes from; one published version; one
//     that is not published
//   - shadow: a candidate that decides beside the policy and enforces nothing
//   - host view: what the policy tools know of a host
//
// Plugins:
//
//   - plugin, guest: a feature in WebAssembly; its code while it runs
//   - instance: one guest with its memory
//   - requests, grants: what a manifest requests; what the operator allows
//   - capability: what a guest can call in the host, such as kube
//   - kind, provider: the description of a capability; the code that carries it out
//   - prepared call: a classified request of a guest, as policy saw it (CapabilityCall)
//   - narrowing: limiting a list to what is permitted
//   - generation, drain, promote, roll back, canary: of versions of a plugin
//   - desired state: what every replica should run
package host
