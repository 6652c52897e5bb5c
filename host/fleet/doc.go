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
// on that revision. A replica that cannot reach the store keeps running what it runs.
package fleet
