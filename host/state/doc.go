// Package state keeps the facts that all replicas share: logins, logouts, and the keys
// that sign tokens. It is the only user of etcd, and its API does not expose etcd.
//
// Reads are answered from memory, which one ordered watch keeps current. A write of
// this process is visible to its own reads before the write returns, so every check
// after an answered logout sees the logout.
//
// The store alone cannot create a valid login. Every record is sealed with a key
// derived from the host key, which is a file outside the store, and is bound to its
// own key in the store, so that records can be neither forged nor moved. A login that
// ended stays ended in memory even if its record is restored.
//
// Memory ends with the process. An attacker who can write to the store and kept a copy
// of a record can restore it: replicas that started since then accept the ended login
// again, until its own end or the end of its ID token. Restoring the whole store is
// detected (see Epochs). No seal prevents this, because the old record was genuine.
// So the store's users and certificates are credentials like the host key: give them
// to the replicas alone.
//
// The store is an existing etcd cluster, or one member in this process that
// listens on a Unix socket in a private directory and on no TCP port. The client
// code is the same.
//
// # Freshness
//
// Each replica writes a heartbeat and is fresh while its newest heartbeat comes back
// on the watch that also brings logouts: a live connection alone does not prove a live
// watch. With a shared etcd it writes one every 500 ms. A replica that has not been
// fresh for 3 s admits no request (Ready, Revoked); after 5 s it is fenced and its
// sessions end (Lapsed, OnLapse). The embedded store runs in the same process, so
// there only 10 s of failing writes count. A replica whose heartbeats come back admits
// requests again without intervention.
//
// # Epochs
//
// A store that was rolled back or restored from a backup may lack logouts. The host
// detects this while it runs and at the next start: each heartbeat replaces exactly
// the one before it, revisions only grow, and a file beside the store holds the last
// heartbeat. A new epoch begins then, in which no earlier login is valid: all users
// sign in again.
//
// # Clocks
//
// Each replica measures freshness by its own monotonic clock. Where times of several
// replicas are compared, no clock is trusted alone: a store is in use if a heartbeat
// in it advances, whatever its time; expired records are kept five minutes longer; and
// the host warns if a clock differs from another replica's by more than 5 s.
//
// # Desired state
//
// What every replica should run is a fact like the others. It is followed on the same
// watch, and a writer can change it only from the revision that it read (PutDesired). A
// record that cannot be decrypted changes nothing. Files that all replicas need are kept
// by digest (Upload) as long as a Desired names them. Each replica reports what it runs
// under its lease (Report), and Fleet reads both at one revision.
//
// host/authn defines tokens and makes principals of requests; host/session ends live
// sessions.
package state
