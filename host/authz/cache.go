package authz

import (
	"hash/maphash"
	"sync"
)

const (
	shardCount = 64
	// shardSize is the number of decisions after which a shard's older half is
	// dropped; a shard holds at most twice as many.
	shardSize = 256
)

// cache holds decisions by the full key, so that a hash collision cannot allow anything. It
// is bounded and safe for concurrent use; get allocates nothing.
type cache struct {
	seed   maphash.Seed
	shards [shardCount]shard
}

// shard keeps two generations. Entries enter the young one, and enter it again when they
// are used while they are old. When the young one is full, unused old entries are dropped,
// without a cost for a hit. Of keys with the same hash the last is kept.
type shard struct {
	mu         sync.Mutex
	young, old map[uint64]*entry
	_          [40]byte // keeps neighbours' locks off one cache line
}

type entry struct {
	key string
	answer
}

func (c *cache) init() {
	c.seed = maphash.MakeSeed()
	for i := range c.shards {
		c.shards[i].young = map[uint64]*entry{}
	}
}

func (c *cache) shard(hash uint64) *shard { return &c.shards[hash%shardCount] }

func (c *cache) get(key []byte) (*answer, bool) {
	hash := maphash.Bytes(c.seed, key)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.young[hash]; ok && e.key == string(key) {
		return &e.answer, true
	}
	e, ok := s.old[hash]
	if !ok || e.key != string(key) {
		return nil, false
	}
	s.add(hash, e)
	return &e.answer, true
}

// put keeps a copy of a.
func (c *cache) put(key string, a *answer) {
	hash := maphash.String(c.seed, key)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(hash, &entry{key, *a})
}

// add needs the shard's lock.
func (s *shard) add(hash uint64, e *entry) {
	if len(s.young) >= shardSize {
		s.young, s.old = make(map[uint64]*entry, shardSize), s.young
	}
	s.young[hash] = e
}
