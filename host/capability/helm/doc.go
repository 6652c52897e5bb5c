// Package helm is the capability "helm": releases of a cluster through the helm
// SDK, as the user.
//
//	GET    helm://CLUSTER                                     list, over all namespaces that may be reached
//	GET    helm://CLUSTER/NAMESPACE                           list
//	GET    helm://CLUSTER/NAMESPACE/RELEASE/history?max=20    history, newest first
//	GET    helm://CLUSTER/NAMESPACE/RELEASE/values?revision=0&all=false
//	POST   helm://CLUSTER/NAMESPACE/RELEASE/upgrade           installs what is absent
//	POST   helm://CLUSTER/NAMESPACE/RELEASE/rollback
//	DELETE helm://CLUSTER/NAMESPACE/RELEASE                   uninstall
//
// Bodies and answers are JSON, see wire.go. The package owns these calls and
// where charts come from: only from repositories that the operator configured,
// never from a path or an address that a guest names. Nothing waits for pods.
//
// A change is carried out by helm in a child process (child.go), which is bounded
// in processor time, memory and time and holds no credentials: templates and
// schemas of a chart are programs that nothing can stop in this process. Each
// request of the child comes back here (bridge.go), is put to policy as the kube
// call that it is, and is sent as the user. The release's own records are excepted.
//
// A change leaves no release behind that cannot be changed again. One operation
// per release runs at a time; a second one is a conflict. The child ends before the
// call does, and the host then marks a record that is still pending as failed, also
// after a logout and at its own end (operate.go). A record says which operation
// owns it and until when, so that another replica can tell one that is under way
// from one whose host is gone (pending.go).
//
// A repository is a directory, which is looked up for each chart and so may be
// exchanged by a symbolic link; an index behind HTTP, revalidated after a minute,
// whose archives may be in an OCI registry; or a path of an OCI registry. What is
// remote is reached over TLS, or without it at the very address of a repository
// on this machine; credentials go to the repository's own address alone. Archives
// are compared with their digests, and bounded before and after unpacking, those
// in archives included. Whatever YAML is read is measured first
// (host/internal/strictyaml), with the digits of its numbers: a whole number is a
// float64 in templates, as with helm, up to where it would be printed with an
// exponent, and an integer beyond.
//
// helm keeps a release's history in Secrets of its namespace, so the user needs
// RBAC for Secrets there: get and list to look; create, update, delete to change.
// Whoever may write Secrets can put anything there. What is read is bounded
// (records.go); a revision that cannot be used is left out of lists and
// histories, and refused where it is the one to act on or from.
package helm
