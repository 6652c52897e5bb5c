// Package directory knows the users, teams and roles, and which of their
// permissions cover a question.
//
// Entries are YAML documents in the files of one directory and custom resources
// of clusters, over a base layer of roles that ship with the host. The package
// follows both and keeps one immutable snapshot; a snapshot has a revision, and
// everything said about one question comes from one snapshot. Reading clusters
// is host/cluster's; a Source is what it looks like from here.
//
// An entry that cannot be used is left out and reported by Problems; it never
// hides another. Permissions only ever allow, so leaving one out is safe:
//
//   - a document that is not YAML, has an unknown key or lacks its id is left out whole;
//   - of two entries with the same kind and id both are left out, except that
//     one of a file counts before those of clusters. Ids of users and teams are
//     compared in the form of host.CanonicalID;
//   - a malformed permission or membership, an unknown role or an unknown team is
//     left out alone.
//
// A role of the directory's files replaces the shipped one of the same name, also
// while its document is unusable: a slip in a narrowed role must not bring back the
// wide one. One of a cluster does if Config.Replace lists its namespace. For the same reason an entry of a file that cannot be used still
// keeps custom resources with its id out.
//
// A cluster that is away, a directory of files that cannot be listed or is being
// written, or one of them that cannot be read, leaves in force what it held last, and
// Degraded and the log say so. What was never read is not known: whoever is only
// there is nobody.
//
// A membership in a role or team may end. A snapshot holds what counts between
// two such times of the wall clock, and is replaced at the next as by any other
// change, so that nothing that follows the directory has to know of time.
//
// # What covers what
//
// A person's permissions are the union of their own, their roles' and their
// teams', in any order. Those of roles and teams with breakGlass are matched
// alike and kept apart. Three kinds are matched, each by itself:
//
//   - an action permission covers the route's action as host.Action.Matches
//     says. The host's own actions, "admin:…", are covered only by "*" and by
//     patterns that name admin, so that "*:*.read" does not read the audit log;
//   - a plugin permission covers the name of the route's plugin instance, and
//     its custom part is passed on whole;
//   - a resource permission covers a target if each of its four lists has a
//     pattern for it.
//
// For the decision about a route the target is what the route's path and query
// name, and a dimension that they do not name is covered by every permission.
// For a capability call every dimension is named, and an empty one means all of
// it, which needs "*". A list over all namespaces that the host can narrow
// (host.CapabilityCall.Spans) is covered by a permission for any of them; what
// it then shows is for the policy to say. The call's target is
//
//   - kube: the resource, verb, cluster and namespace of the Kubernetes request;
//   - exec: the same, with the verb "create", which is what the API server asks
//     of somebody who opens a terminal;
//   - helm: the resource "releases.helm.sh" and the helm action as verb: list,
//     history, values, upgrade, rollback, uninstall;
//   - anything else names no resource of a cluster, and no resource permission
//     covers it.
//
// Whether what matched is enough is for the policy in host/authz to say.
package directory
