// Package state keeps the facts that every replica must agree on: who is
// signed in, who logged out, and the keys that sign tokens. It is the only
// user of etcd, and it shows none of it: the operations are the domain's.
//
// Reads are answered from memory, which one ordered watch keeps current. What
// this process itself writes is visible to its own reads before the write
// returns, so a logout that was answered is a logout that every later check
// sees.
//
// The store alone cannot make a valid login. Every record is sealed with a key derived
// from the host key, a file beside the store and not in it, and is bound to
// its own place, so that records can neither be forged nor moved. A login that
// ended stays ended in memory even if its record is put back.
//
// Memory ends with the process. Who can write to the store, kept what it held,
// and puts single records back, can revive a login that ended on replicas that
// started since: for as long as the login would have lasted, or an ID token is
// good. Putting back the whole store is noticed (see Epochs). No seal prevents
// this, because an old record was genuine once. So the store's users and
// certificates are credentials like the host key: give them to the replicas
// alone.
//
// The store is an existing etcd cluster, or one member in this process that
// listens on a Unix socket in a private directory and on no TCP port. The client
// code is the same.
//
// # Freshness
//
// Each replica writes a heartbeat and is fresh while its newest comes back on
// the watch that also brings logouts: a live connection alone does not prove a
// live watch. Beside a cluster it is written every 500 ms; a replica that has
// not been fresh for 3 s admits no request (Ready, Revoked), and after 5 s what it
// knows has lapsed and its sessions end (Lapsed, OnLapse). The embedded store
// shares the process's fate, so there only 10 s of failing writes count. A
// replica whose heartbeat comes back admits people again by itself.
//
// # Epochs
//
// A store that forgot what it had taken, because it was rolled back or restored
// from a backup, may have forgotten logouts. Each heartbeat replaces the one
// before it by name, revisions only grow, and the last heartbeat is noted beside
// the store, so this is noticed while running and at the next start. A new epoch
// begins then, in which no earlier login is good: all users sign in again.
//
// # Clocks
//
// Freshness is measured by each replica's own monotonic clock. Where times of
// several replicas meet, none of them is believed alone: a store is in use if a
// heartbeat in it advances, whatever time that says; what is swept is kept five
// minutes longer than it counts; and a clock that differs by more than 5 s from
// another replica's is warned of.
//
// # Desired state
//
// What every replica should run is a fact like the others, followed on the same watch,
// and changed only from the revision that the writer saw (PutDesired). A record that is
// not genuine changes nothing. Files that all replicas need are kept by digest (Upload),
// as long as a Desired names them. Each replica reports what it runs under its lease
// (Report), and Fleet reads both at one revision.
//
// What a token looks like and how a request becomes a principal is host/authn's
// business; ending live sessions is host/session's.
package state
