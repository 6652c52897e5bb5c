// Package helm is the capability "helm": releases of a cluster through the helm
// SDK, as the user.
//
//	GET    helm://CLUSTER?limit=0&after=NAMESPACE/RELEASE&within=30   list, over all permitted namespaces
//	GET    helm://CLUSTER/NAMESPACE                           list, with the same query
//	GET    helm://CLUSTER/NAMESPACE/RELEASE/history?max=20    history, newest first
//	GET    helm://CLUSTER/NAMESPACE/RELEASE/values?revision=0&all=false
//	GET    helm://CLUSTER/NAMESPACE/RELEASE/notes?revision=0
//	GET    helm://CLUSTER/NAMESPACE/RELEASE/manifest?revision=0
//	GET    helm://CLUSTER/NAMESPACE/RELEASE/diff?from=0&to=0   manifests of two revisions; 0: the newest and the one before
//	POST   helm://CLUSTER/NAMESPACE/RELEASE/upgrade           installs what is absent; also as a dry run
//	POST   helm://CLUSTER/NAMESPACE/RELEASE/rollback
//	POST   helm://CLUSTER/NAMESPACE/RELEASE/test              runs the chart's tests
//	DELETE helm://CLUSTER/NAMESPACE/RELEASE                   uninstall
//	GET    helm://CLUSTER/NAMESPACE/RELEASE/operation?id=ID&wait=0   how a change in the background goes
//	DELETE helm://CLUSTER/NAMESPACE/RELEASE/operation?id=ID   cancels it
//
// Bodies and answers are JSON, see wire.go. Charts come only from repositories that the
// operator configured, never from a path or an address that a guest names.
//
// Helm carries out a change in a child process (child.go) without credentials, whose
// processor time, memory and time are bounded: templates and schemas of a chart are
// programs that nothing can stop in this process. Each request of the child returns to
// this process (bridge.go), which asks policy about it as a kube call and sends it as the
// user. Policy is not asked about the release's own records.
//
// After every change the release can be changed again. One operation per release runs at
// a time; a second one is a conflict that says whose the first is and since when it runs.
// The child ends before the call does, and the host then marks a record that is still
// pending as failed, also after a logout and when the host stops (operate.go). While the
// operation runs, its record has a claim, which the host renews (claim.go). If the host is
// killed, suspended or cut off, the claim is not renewed: the next operation, on any
// replica, sees that within claimLife, marks the record as failed, says so in its answer
// ("repaired"), and goes on (pending.go). The operation itself stops before that. Nothing
// depends on clocks being equal. A record is replaced only in the version that was read.
//
// With async=true a change is answered 202 and goes on in a session of its own, which ends
// with the user's login and when policy no longer permits the change (background.go). The
// replica that runs it knows its progress and its answer; others read its claim, which
// stays on the record, and cancel it by marking the claim.
//
// A repository is a directory, which is resolved for each chart and may be replaced by
// switching a symbolic link; an index behind HTTP, revalidated after a minute, whose
// archives may be in an OCI registry; or a path in an OCI registry. Remote repositories
// are reached over TLS, except at the exact address of a repository on this machine.
// Credentials are sent to the repository's own address only. Archives are compared with
// their digests, and bounded before and after unpacking, including archives in archives.
// All YAML is measured before it is parsed (host/internal/strictyaml), and numbers keep
// their digits: a whole number is a float64 in templates, as in helm, as long as it is
// printed without an exponent, and an integer beyond that.
//
// Helm keeps a release's history in Secrets of its namespace, so the user needs RBAC for
// Secrets there: get and list to read; create, update and delete to change. A user who
// may write Secrets can write anything into them. Reads are therefore bounded
// (records.go). A revision that cannot be used is left out of lists and histories, and
// refused as the start or target of a change.
//
// A user who may read releases sees no secret by that: what the release declares in
// Secrets is replaced wherever it occurs in values, notes, manifests and differences, and
// so are values whose key says that they are secret (conceal.go). Policy may permit them,
// as the kube call "get secrets" with via "helm.show"; it is asked only if there is
// something to hide.
package helm
