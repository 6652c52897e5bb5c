package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
)

// Registry holds the loaded plugins by instance name. It is safe for
// concurrent use.
type Registry struct {
	sandbox *sandbox.Sandbox
	broker  *capability.Broker
	limits  Limits
	people  *people
	log     *slog.Logger
	loads   atomic.Uint64 // numbers generations, from 1

	mu   sync.RWMutex
	list map[string]*Generation
}

// NewRegistry returns an empty registry. What a plugin's own limits leave open
// is taken from limits; user bounds each person.
func NewRegistry(s *sandbox.Sandbox, b *capability.Broker, limits Limits, user UserLimits, log *slog.Logger) *Registry {
	return &Registry{sandbox: s, broker: b, limits: limits, people: newPeople(user), log: log, list: map[string]*Generation{}}
}

// reserved cannot name an instance: the host's own routes stand there.
var reserved = []string{"admin"}

// Load loads a plugin and publishes it. Its name must be free. On error
// nothing is published.
func (r *Registry) Load(ctx context.Context, c Config) error {
	if err := checkName(c.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	began := time.Now()
	g, err := r.load(ctx, c)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.list[c.Name] != nil {
		return errors.Join(fmt.Errorf("plugin %q: is loaded already", c.Name), g.close(ctx))
	}
	r.list[c.Name] = g
	g.log.Info("plugin loaded", "version", g.manifest.Version, "digest", g.digest,
		"capabilities", g.granted.Names(), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// Get returns the generation that serves name, nil if there is none.
func (r *Registry) Get(name string) *Generation {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.list[name]
}

// List describes all plugins, by name.
func (r *Registry) List() []Info {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []Info
	for _, name := range slices.Sorted(maps.Keys(r.list)) {
		out = append(out, r.list[name].Info())
	}
	return out
}

// Close unloads everything. It waits until ctx is done for calls to return;
// their sessions should have been ended first.
func (r *Registry) Close(ctx context.Context) error {
	r.mu.Lock()
	list := r.list
	r.list = map[string]*Generation{}
	r.mu.Unlock()
	var errs []error
	for _, g := range list {
		errs = append(errs, g.close(ctx))
	}
	return errors.Join(errs...)
}

// printable keeps a guest's text from forging lines or moving a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
