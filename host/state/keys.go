package state

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
	from    time.Time // when it begins to sign
}

// Public returns the public key, which verifies.
func (k *Key) Public() ed25519.PublicKey { return k.Private.Public().(ed25519.PublicKey) }

const (
	// keyOverlap is how long a replaced key still verifies. It is longer than the
	// lifetime of a token.
	keyOverlap = 24 * time.Hour
	// keyLead is the time between storing a new key and signing with it: by then each
	// replica knows the key, or is not fresh and admits no request.
	keyLead = time.Minute
	// defaultKeyAge is the age at which a signing key is replaced.
	defaultKeyAge = 30 * 24 * time.Hour
	// minKeyAge bounds the number of keys, since each verifies for another day.
	minKeyAge = time.Hour
)

// Keys returns the signing keys: the first signs, each of them verifies. The
// slice is shared and must not be modified.
func (s *Store) Keys() []Key { return s.cache.keys.list() }

// KeyEpoch changes whenever Keys does.
func (s *Store) KeyEpoch() uint64 { return s.cache.keys.epoch() }

type keyRecord struct {
	Seed    []byte
	Created time.Time
	From    time.Time // when it begins to sign
}

func (r *keyRecord) key() (Key, bool) {
	if len(r.Seed) != ed25519.SeedSize {
		return Key{}, false
	}
	private := ed25519.NewKeyFromSeed(r.Seed)
	sum := sha256.Sum256(private.Public().(ed25519.PublicKey))
	return Key{ID: base64.RawURLEncoding.EncodeToString(sum[:12]), Private: private, Created: r.Created, from: r.From}, true
}

// ensureKey creates the first signing key if l contains none that can be decrypted. If
// another replica creates it at the same time, that key is used.
func (s *Store) ensureKey(ctx context.Context, l *loaded) error {
	last := ""
	for _, kv := range l.kvs {
		if key := string(kv.Key); strings.HasPrefix(key, s.at.key) {
			last = max(last, key)
		}
	}
	if last != "" {
		return nil
	}
	return s.addKey(ctx, s.keyPlace(1), time.Now())
}

func (s *Store) keyPlace(n uint64) string { return fmt.Sprintf("%s%016x", s.at.key, n) }

// addKey stores a new signing key under the given key of the store, unless another
// replica was first.
func (s *Store) addKey(ctx context.Context, key string, from time.Time) error {
	rec := keyRecord{Seed: make([]byte, ed25519.SeedSize), Created: time.Now(), From: from}
	rand.Read(rec.Seed)
	sealed, err := s.seal.seal(key, rec)
	if err != nil {
		return host.E(host.Internal, "state.key", "signing key: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if _, err := s.client.Txn(ctx).If(absent(key)).Then(clientv3.OpPut(key, sealed)).Commit(); err != nil {
		return unavailable("state.key", err)
	}
	return nil
}

// RotateKey adds a signing key. It signs after a minute, when every replica knows it;
// the previous key verifies for another day. Rotating again before a new key signs
// has no effect.
func (s *Store) RotateKey(ctx context.Context) error { return s.rotateKey(ctx, time.Now()) }

func (s *Store) rotateKey(ctx context.Context, now time.Time) error {
	key, newest, ok := s.cache.keys.newest()
	if !ok || newest.from.After(now) {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(key, s.at.key), 16, 64)
	if err != nil {
		return host.E(host.Internal, "state.key", "signing key at %s: %w", key, err)
	}
	s.log.Info("a new signing key takes over", "in", keyLead)
	return s.addKey(ctx, s.keyPlace(n+1), now.Add(keyLead))
}

// tendKeys activates and removes signing keys when they are due, and replaces an old
// one.
func (s *Store) tendKeys(ctx context.Context, now time.Time) {
	if _, newest, ok := s.cache.keys.newest(); ok && now.Sub(newest.Created) > s.keyAge {
		if err := s.rotateKey(ctx, now); err != nil {
			s.log.Warn("the signing key cannot be replaced, retrying", "error", err)
		}
	}
	s.cache.keys.refresh(now)
	for _, key := range s.cache.keys.spent(now) {
		if _, err := s.commit(ctx, "state.key", clientv3.OpDelete(key)); err != nil {
			return
		}
	}
}

// keyring is the set of signing keys, by their keys in the store.
type keyring struct {
	mu      sync.Mutex
	byKey   map[string]Key
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

func (r *keyring) put(key string, k Key) {
	r.change(func(m map[string]Key) { m[key] = k })
}

func (r *keyring) drop(key string) {
	r.change(func(m map[string]Key) { delete(m, key) })
}

// retain drops the keys that the store no longer lists.
func (r *keyring) retain(listed map[string]bool) {
	r.change(func(m map[string]Key) {
		maps.DeleteFunc(m, func(key string, _ Key) bool { return !listed[key] })
	})
}

func (r *keyring) change(edit func(map[string]Key)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(r.byKey)
	if next == nil {
		next = make(map[string]Key)
	}
	edit(next)
	r.byKey = next
	r.publish(time.Now())
}

// refresh activates the keys whose time to sign has come.
func (r *keyring) refresh(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publish(now)
}

// publish needs r.mu. It orders keys by when they began to sign, newest first; keys
// that do not sign yet come last.
func (r *keyring) publish(now time.Time) {
	keys := slices.SortedFunc(maps.Values(r.byKey), func(a, b Key) int {
		if early := a.from.After(now); early != b.from.After(now) {
			if early {
				return 1
			}
			return -1
		}
		return cmp.Or(b.from.Compare(a.from), strings.Compare(a.ID, b.ID))
	})
	if slices.EqualFunc(keys, r.list(), func(a, b Key) bool { return a.ID == b.ID }) {
		return
	}
	r.current.Store(&keySet{epoch: r.epoch() + 1, keys: keys})
}

// newest returns the signing key that was added last.
func (r *keyring) newest() (key string, k Key, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.byKey {
		key = max(key, p)
	}
	k, ok = r.byKey[key]
	return key, k, ok
}

// spent returns the keys that were replaced more than keyOverlap ago.
func (r *keyring) spent(now time.Time) (keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.byKey {
		for next, k := range r.byKey {
			if next > key && now.Sub(k.from) > keyOverlap {
				keys = append(keys, key)
				break
			}
		}
	}
	return keys
}
