package server

import (
	"sync/atomic"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// part is something that a configuration describes and that is opened and closed. It
// is shared by all that use it, by count: runtimes, other parts, and generations of
// plugins. Only who uses it may add a use.
type part struct {
	id     uint64
	digest string // of what it was made of
	value  any
	close  func() // nil: there is nothing to close
	needs  []*part
	uses   atomic.Int64
}

func (p *part) use() *part {
	p.uses.Add(1)
	return p
}

// release ends a use, and closes the part after the last one.
func (p *part) release() {
	if p.uses.Add(-1) > 0 {
		return
	}
	if p.close != nil {
		p.close()
	}
	releaseAll(p.needs)
}

// releaseAll releases what was opened last first.
func releaseAll(parts []*part) {
	for i := len(parts) - 1; i >= 0; i-- {
		parts[i].release()
	}
}

// partOf returns the part of this name for the runtime that is being built: that of
// the previous one if it was made of the same section and the same other parts, or what
// open opens.
func partOf[T any](b *building, name string, section any, needs []*part, open func() (T, func(), error)) (T, *part, error) {
	ids := make([]uint64, len(needs))
	for i, n := range needs {
		ids[i] = n.id
	}
	digest := config.Digest(section, ids)
	if old := b.previous.part(name); old != nil && old.digest == digest {
		b.add(name, old.use())
		return old.value.(T), old, nil
	}
	value, close, err := open()
	if err != nil {
		return value, nil, err
	}
	p := &part{id: b.serial.Add(1), digest: digest, value: value, close: close}
	for _, n := range needs {
		p.needs = append(p.needs, n.use())
	}
	b.add(name, p.use())
	return value, p, nil
}
