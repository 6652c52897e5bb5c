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
// helm keeps a release's history in Secrets of its namespace, so the user needs
// RBAC for Secrets there: get and list to look; create, update, delete to change.
// Whoever may write Secrets can put anything there. What is read is bounded
// (records.go); a revision that cannot be used is left out of lists and
// histories, and refused where it is the one to act on or from.
package helm
