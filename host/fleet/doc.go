// Package fleet makes every replica run the plugins that administrators installed. What
// should run is in the shared store (host/state); each replica follows it, applies it
// to its own plugins (host/plugin), and reports what it runs. A name belongs to the
// configuration file or to the store, whoever had it first; the other is refused by
// name.
//
// A module is an upload in the store, or what a pinned reference names: each replica
// fetches and verifies it as its own configuration says, at every swap.
//
// A plugin is active when every fresh replica runs what is desired, by its own report
// on that revision.
//
// # A replica that is cut off
//
// A replica that cannot reach the store admits no request after 3 s (host/state), and does
// not count for "active" from then on. When it is back it answers 503 for each plugin of
// which it lacks what is desired, until its own swap is done or has failed: some tenths
// of a second for a module that was compiled before, 3 minutes at most. So a version that
// is not desired any more is served for at most 3 s after "active" was said without the
// replica. What failed is reported as such by the replica, its readiness, and "active".
package fleet
