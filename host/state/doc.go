// Package state keeps the facts that every replica must agree on: who is
// signed in, who logged out, and the keys that sign tokens. It is the only
// user of etcd, and it shows none of it: the operations are the domain's.
//
// Reads are answered from memory, which one ordered watch keeps current. What
// this process itself writes is visible to its own reads before the write
// returns, so a logout that was answered is a logout that every later check
// sees.
//
// The store alone can mint nobody. Every record is sealed with a key derived
// from the host key, a file beside the store and not in it, and is bound to
// its own place, so that records can neither be forged nor moved. A login that
// ended stays ended in memory even if somebody puts its record back.
//
// Today the store is embedded: one etcd member in this process that listens on
// a Unix socket in a private directory and on no TCP port. When it stops
// taking writes, or the watch stops bringing them back, the package admits
// nobody (see Store.Ready).
//
// What a token looks like and how a request becomes a principal is host/authn's
// business; ending live sessions is host/session's.
package state
