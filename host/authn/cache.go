package authn

import (
	"crypto/sha256"
	"sync"
)

// The cache holds 8,192 tokens, about a kilobyte each.
const (
	cacheShards   = 16
	cachePerShard = 512
)

// tokenCache holds verified tokens by hash, so that it holds no secret and a hit
// needs no signature check. It is bounded; when a shard is full, an arbitrary token
// is dropped.
type tokenCache struct{ shards [cacheShards]tokenShard }

type tokenShard struct {
	mu     sync.RWMutex
	tokens map[tokenHash]*token
}

type tokenHash [sha256.Size]byte

func (c *tokenCache) shard(h tokenHash) *tokenShard { return &c.shards[h[0]%cacheShards] }

func (c *tokenCache) get(h tokenHash) *token {
	sh := c.shard(h)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.tokens[h]
}

func (c *tokenCache) put(h tokenHash, t *token) {
	sh := c.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.tokens == nil {
		sh.tokens = make(map[tokenHash]*token)
	}
	if len(sh.tokens) >= cachePerShard {
		for other := range sh.tokens {
			delete(sh.tokens, other)
			break
		}
	}
	sh.tokens[h] = t
}

func (c *tokenCache) drop(h tokenHash) {
	sh := c.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.tokens, h)
}
