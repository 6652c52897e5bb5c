package sandbox

import "github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"

// Portable returns c with memories that are ordinary copies.
func (c Config) Portable() Config { c.memory = image.Portable; return c }

// NeverReuse returns c with a fresh instance for every caller.
func (c Config) NeverReuse() Config { c.neverReuse = true; return c }

// Idle is how many instances wait for a caller.
func (m *Module) Idle() int { return m.pool.len() }
