package compile

import (
	"cmp"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stored is the cache's files for one digest.
type stored struct {
	entry
	names    []string // directory, lock, leftovers of a killed process
	complete bool
	size     int64
	used     time.Time
}

// trim removes leftovers of killed processes and, until the cache is within its bound, the
// least recently used entries. Locked entries stay.
func (c *Compiler) trim() {
	if c.config.Dir == "" {
		return
	}
	all, err := scan(c.config.Dir)
	if err != nil {
		c.config.Logger.Warn("compilation cache was not trimmed", "error", err)
		return
	}
	var total int64
	for _, s := range all {
		total += s.size
	}
	slices.SortFunc(all, func(a, b *stored) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.digest, b.digest)) })
	for _, s := range all {
		if (s.complete && total <= c.config.Bytes) || !c.drop(s) {
			continue
		}
		total -= s.size
	}
}

// drop removes s, unless it is in use or was changed since it was scanned.
func (c *Compiler) drop(s *stored) bool {
	unlock, ok := c.tryLock(s.entry)
	if !ok {
		return false
	}
	defer unlock()
	if _, err := os.Lstat(s.dir()); err == nil && !s.complete {
		return false
	}
	// The lock file is removed last, while the lock is held; see lockFile.
	slices.SortFunc(s.names, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	for _, name := range s.names {
		if err := os.RemoveAll(filepath.Join(s.root, name)); err != nil {
			c.config.Logger.Warn("compilation cache was not trimmed", "error", err)
			return false
		}
	}
	return true
}

func rank(name string) int {
	if strings.HasSuffix(name, lockSuffix) {
		return 1
	}
	return 0
}

// scan groups the names in root by digest. It ignores other names.
func scan(root string) ([]*stored, error) {
	list, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	found := map[string]*stored{}
	for _, d := range list {
		digest, rest, _ := strings.Cut(d.Name(), ".")
		if raw, err := hex.DecodeString(digest); err != nil || len(raw) != 32 {
			continue
		}
		s := found[digest]
		if s == nil {
			s = &stored{entry: entry{root, digest}}
			found[digest] = s
		}
		s.names = append(s.names, d.Name())
		if rest == "" {
			s.measure()
		}
	}
	return slices.Collect(maps.Values(found)), nil
}

// measure determines size and age. An entry without code or manifest counts as the oldest.
func (s *stored) measure() {
	s.complete = true
	if f, err := onlyFile(s.code()); err == nil {
		s.size = f.size
	}
	if info, err := os.Lstat(s.manifest()); err == nil {
		s.used = info.ModTime()
	}
}
