package authn

import (
	"crypto/sha256"
	"sync"
)

// The cache holds a few thousand people's tokens, a kilobyte each.
const (
	cacheShards   = 16
	cachePerShard = 512
)

// tokenCache remembers verified tokens by their hash, so that it holds no
// secret and a hit costs no signature. It never holds more than a fixed number;
// which one makes room is arbitrary.
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
