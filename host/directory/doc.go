// Package directory holds the users, teams and roles, and finds the permissions
// that cover a question.
//
// Entries are YAML documents in the files of one directory and custom resources
// of clusters, on top of the roles that ship with the host. The package follows
// both and keeps one immutable snapshot, which has a revision; the answer to a
// question comes from one snapshot. host/cluster reads the clusters and implements
// Source.
//
// An invalid entry is left out and reported by Problems; it never hides another.
// Permissions only allow, so leaving one out is safe:
//
//   - a document that is not YAML, has an unknown key or lacks its id is left out;
//   - two entries with the same kind and id are both left out, except that an
//     entry of a file takes precedence over those of clusters. Ids of users and
//     teams are compared in the form of host.CanonicalID;
//   - of an entry with a malformed permission or membership, or an unknown role or
//     team, only that part is left out.
//
// A role in a file replaces the shipped role of the same name, even if its document
// is invalid: an error in a narrowed role must not restore the wide one. A role in a
// cluster replaces it only if Config.Replace lists its namespace. For the same
// reason an invalid entry of a file still keeps out custom resources with its id.
//
// While a cluster is unreachable, the files cannot be listed or are being written,
// or a file cannot be read, the last known entries stay in force, and Degraded and
// the log say so. Users whose entries were never read are unknown.
//
// A membership in a role or team may end. A snapshot is valid between two such
// times of the wall clock and is replaced at the next one like after any other
// change, so users of the directory need not consider time.
//
// # Matching
//
// A user's permissions are the union of their own, their roles' and their teams',
// in any order. Those of roles and teams with breakGlass are matched in the same
// way and kept apart. There are three kinds:
//
//   - an action permission covers the route's action as host.Action.Matches
//     says. The host's own actions, "admin:…", are covered only by "*" and by
//     patterns that name admin, so that "*:*.read" does not read the audit log;
//   - a plugin permission covers the name of the route's plugin instance, and
//     its custom part is passed on unchanged;
//   - a resource permission covers a target if each of its four lists has a
//     pattern for it.
//
// The target of a route consists of the dimensions that its path and query name;
// every permission covers a dimension that they do not name. A capability call names
// every dimension, and an empty one means all values, which only "*" covers. A list
// over all namespaces that the host can narrow (host.CapabilityCall.Spans) is covered
// by a permission for any namespace; the policy decides what it shows. The call's
// target is
//
//   - kube: the resource, verb, cluster and namespace of the Kubernetes request;
//   - exec: the same, with the verb "create", which the API server requires
//     to open a terminal;
//   - helm: the resource "releases.helm.sh" and the helm action as verb: list,
//     history, values, upgrade, rollback, uninstall;
//   - of any other capability none, and no resource permission covers it.
//
// The policy in host/authz decides whether the matching permissions are enough.
package directory
