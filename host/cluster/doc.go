// Package cluster owns the way to Kubernetes API servers: which there are, when
// they can be used, and that every request goes out as a user. It is the only
// user of client-go.
//
// As is the only way to a client. The host's own credentials stay inside: what
// leaves the package can send requests as one user and nothing else, and sends
// none once that user's authority is gone. The empty identity and identities
// of Kubernetes itself ("system:…") are refused here, because client-go sends
// no impersonation headers for an empty user and the request would be the
// host's own.
//
// As itself the host asks an API server for two things only: whether it is
// ready, and, where the configuration says so, for the custom resources of one
// API group in the namespaces listed (Follow), which say who people are.
//
// Two clients are narrower than As's. Over is a child process's, which holds no
// credentials: its parent passes each request on with Forward, once it was decided.
// Closing outlives the user's authority for a short time and for the requests that
// put in order what an operation left, such as marking a release as failed.
//
// Whether the user may do it is decided by policy before, and by the API
// server's RBAC after; this package decides neither.
package cluster
