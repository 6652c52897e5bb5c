// Package cluster connects to Kubernetes API servers. It owns the list of clusters,
// their readiness, and the impersonation of a user in every request. It is the only
// package that uses client-go.
//
// As is the only function that returns a client. The host's own credentials stay in
// the package: a client sends requests as one user only, and none after the user's
// authority is lost. Empty identities and those of Kubernetes itself ("system:…") are
// refused here, because client-go sends no impersonation headers for an empty user,
// and the request would be the host's own.
//
// The host sends three requests as itself: the one for readiness, and, if configured,
// those for the custom resources of one API group in the listed namespaces (Follow),
// which define users, and those of the watches that it shares between users (Watch), who
// get of them what the API server says that they may list and watch.
//
// Two clients can do less than that of As. Over is for a child process without
// credentials: its parent passes each request on with Forward, after policy has
// allowed it. Closing outlives the user's authority for a short time, for requests
// that clean up after an operation, such as marking a release as failed.
//
// Policy decides before a request, and the API server's RBAC after, whether the user
// is permitted; this package does not decide.
package cluster
