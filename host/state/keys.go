package state

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Key signs and verifies tokens with Ed25519 (RFC 8032).
type Key struct {
	ID      string // derived from the public key
	Private ed25519.PrivateKey
	Created time.Time
}

// Public is the half that verifies.
func (k *Key) Public() ed25519.PublicKey { return k.Private.Public().(ed25519.PublicKey) }

// Keys returns the signing keys, newest first: the first signs, each of them
// verifies. The slice is shared and must not be modified.
func (s *Store) Keys() []Key { return s.cache.keys.list() }

// KeyEpoch changes whenever Keys does.
func (s *Store) KeyEpoch() uint64 { return s.cache.keys.epoch() }

type keyRecord struct {
	Seed    []byte
	Created time.Time
}

func (r *keyRecord) key() (Key, bool) {
	if len(r.Seed) != ed25519.SeedSize {
		return Key{}, false
	}
	private := ed25519.NewKeyFromSeed(r.Seed)
	sum := sha256.Sum256(private.Public().(ed25519.PublicKey))
	return Key{ID: base64.RawURLEncoding.EncodeToString(sum[:12]), Private: private, Created: r.Created}, true
}

// ensureKey creates the first signing key unless some replica already has.
func (s *Store) ensureKey(ctx context.Context) error {
	place := s.at.key + "1"
	rec := keyRecord{Seed: make([]byte, ed25519.SeedSize), Created: time.Now()}
	rand.Read(rec.Seed)
	sealed, err := s.seal.seal(place, rec)
	if err != nil {
		return host.E(host.Internal, "state.open", "signing key: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	absent := clientv3.Compare(clientv3.CreateRevision(place), "=", 0)
	if _, err := s.client.Txn(ctx).If(absent).Then(clientv3.OpPut(place, sealed)).Commit(); err != nil {
		return unavailable("state.open", err)
	}
	return nil
}

// keyring is the set of signing keys by their place in the store.
type keyring struct {
	mu      sync.Mutex
	byPlace map[string]Key
	current atomic.Pointer[keySet]
}

type keySet struct {
	epoch uint64
	keys  []Key
}

func (r *keyring) list() []Key {
	if set := r.current.Load(); set != nil {
		return set.keys
	}
	return nil
}

func (r *keyring) epoch() uint64 {
	if set := r.current.Load(); set != nil {
		return set.epoch
	}
	return 0
}

func (r *keyring) put(place string, k Key) {
	r.change(func(m map[string]Key) { m[place] = k })
}

func (r *keyring) drop(place string) {
	r.change(func(m map[string]Key) { delete(m, place) })
}

// retain drops the keys that the store no longer lists.
func (r *keyring) retain(listed map[string]bool) {
	r.change(func(m map[string]Key) {
		maps.DeleteFunc(m, func(place string, _ Key) bool { return !listed[place] })
	})
}

func (r *keyring) change(edit func(map[string]Key)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(r.byPlace)
	if next == nil {
		next = make(map[string]Key)
	}
	edit(next)
	same := func(a, b Key) bool { return a.ID == b.ID }
	if maps.EqualFunc(next, r.byPlace, same) {
		return
	}
	r.byPlace = next
	keys := slices.SortedFunc(maps.Values(next), func(a, b Key) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	r.current.Store(&keySet{epoch: r.epoch() + 1, keys: keys})
}
