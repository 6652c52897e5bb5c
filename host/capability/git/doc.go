// Package git is the capability "git": files of the operator's git repositories, read
// with credentials that only the host has.
//
//	GET git://SOURCE?ref=REF&path=PATH                a source that is one repository
//	GET git://SOURCE/REPOSITORY?ref=REF&path=PATH     a repository below a source
//	GET git://url?url=URL&ref=REF&path=PATH           the same, by the repository's address
//
// as=files, the default, returns the files below PATH; as=manifests returns the
// Kubernetes objects that they declare, with kustomizations built; as=refs returns the
// branches and tags. REF is HEAD (the default), a full ref such as refs/heads/main, or
// the 40 digits of a commit. PATH has no leading slash; the default is the root.
//
// A repository is reached over https, or over ssh with the host keys of a known_hosts
// file. Other transports do not exist, redirects are not followed, and a repository
// outside the configured sources is refused before anything is sent.
//
// The host sends and receives; it parses nothing of a repository but the list of refs.
// A child process without credentials (child.go), whose processor time, memory and time
// are bounded, unpacks the objects, walks the tree, parses YAML and builds
// kustomizations. Nothing is checked out. Symbolic links and submodules below PATH are
// refused, and so are bases and files that a kustomization names elsewhere.
//
// One commit is fetched without its history and kept below the data directory, per
// repository and credential (cache.go). Every call asks the server for the ref first, so
// a kept commit is only read while the server still accepts the credential and still has
// the commit under the ref. Policy decides about every call before that: it sees source,
// server, repository, ref and path.
package git
