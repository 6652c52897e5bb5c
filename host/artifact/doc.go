// Package artifact brings gzipped files from where operators keep them: a local
// file, a URL, an OCI registry. From a Reference it makes verified content, and
// follows it.
//
// It owns fetching and its bounds, credentials, polling, the copy on disk that a
// start uses while the place is away, and the protection against being given an
// old artifact again. How an artifact is signed and what is in it belongs to its
// Format.
package artifact
