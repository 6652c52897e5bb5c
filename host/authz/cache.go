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

// cache holds decisions by the full key, so that no collision can grant. It is
// bounded and safe for concurrent use; get allocates nothing.
type cache struct {
	seed   maphash.Seed
	shards [shardCount]shard
}

// shard keeps two generations: entries enter the young one, and those that are
// used while they are old enter it again. What stays unused is dropped when the
// young one is full, at no cost to a hit.
type shard struct {
	mu         sync.Mutex
	young, old map[string]*answer
	_          [40]byte // keeps neighbours' locks off one cache line
}

func (c *cache) init() {
	c.seed = maphash.MakeSeed()
	for i := range c.shards {
		c.shards[i].young = map[string]*answer{}
	}
}

func (c *cache) shard(hash uint64) *shard { return &c.shards[hash%shardCount] }

func (c *cache) get(key []byte) (*answer, bool) {
	s := c.shard(maphash.Bytes(c.seed, key))
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.young[string(key)]; ok {
		return d, true
	}
	d, ok := s.old[string(key)]
	if ok {
		s.add(string(key), d)
	}
	return d, ok
}

// put keeps a copy of d.
func (c *cache) put(key string, d *answer) {
	kept := *d
	s := c.shard(maphash.String(c.seed, key))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(key, &kept)
}

// add needs the shard's lock.
func (s *shard) add(key string, d *answer) {
	if len(s.young) >= shardSize {
		s.young, s.old = make(map[string]*answer, shardSize), s.young
	}
	s.young[key] = d
}
