package sandbox

import "github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"

// Portable returns c with memories that are ordinary copies.
func (c Config) Portable() Config { c.memory = image.Portable; return c }

// Scanning returns c with memories restored as on kernels before Linux 6.7.
func (c Config) Scanning() Config { c.memory = image.Scanning; return c }

// NeverReuse returns c with a fresh instance for every caller.
func (c Config) NeverReuse() Config { c.neverReuse = true; return c }

// Idle is how many instances wait for a caller.
func (m *Module) Idle() int { return m.pool.len() }

// Bytes is how much memory all instances have, counting what they share with
// the image in full.
func (m *Module) Bytes() int64 { return m.budget.Used() }

// Fresh says why the module's instances serve one caller each.
func (m *Module) Fresh() []string { return m.rewritten.Fresh }

// Held is how many of Bytes the state takes in which instances start.
func (m *Module) Held() int64 { return m.held }
