package plugin

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
)

// Options is what a Registry is made of.
type Options struct {
	Sandbox *sandbox.Sandbox   // required
	Broker  *capability.Broker // for Swap; see SetBroker
	// Hold, if set, keeps what a broker uses open for a generation that has it, until
	// release. It is called with a lock held, and must not call the registry.
	Hold   func(*capability.Broker) (release func())
	Limits Limits     // what a plugin's own limits leave open
	User   UserLimits // of each user, over all plugins
	// Dir keeps modules by digest and the history of each name, so that rolling back
	// needs no network; it is made with mode 0700. Empty: nothing is kept, and rolling
	// back fetches again.
	Dir string
	// Fetch returns the module that c.Source and c.Digest name. It fails if the module
	// has more than most bytes. An error that is a *StepError keeps its step, so that it
	// can be StepVerify. Nil: ReadFile.
	Fetch func(ctx context.Context, c *Config, most int) ([]byte, error)
	// Policy, if set, makes c's access and verification those that the configuration of now
	// has for c's name and source, and fails if it does not allow these any more. It is asked
	// before a version that served earlier is fetched again: its own are of that time.
	Policy func(o Origin, c *Config) error
	// Called, if set, is told what each unary call has used, before its answer is written.
	Called func(context.Context, Usage)
	// Counted, if set, is told of each unary call.
	Counted func(context.Context, Measured)
	// Swapped, if set, is told how an attempt to replace a generation went, but not of
	// checks; err is a *StepError, with StepWatch for a version that was rolled back because
	// it was worse. It must not call the registry.
	Swapped func(r *Report, err error)
	// Transition, if set, is told what serves a name from now on, and each version that is
	// refused. It is called with a lock held, must not block, and must not call the registry.
	Transition func(Transition)
	Logger     *slog.Logger // required
}

// Transition is what serves a plugin's name from now on, or a version that is refused.
type Transition struct {
	Name                    string
	Serving, Canary, Before *Version // nil: none
	// Refused is the digest that was refused, "" if its step came before it was known, and
	// Err why; nil if nothing was.
	Refused string
	Err     error
}

// Version is one generation of a plugin.
type Version struct {
	Version, Digest string
	Generation      uint64
}

func versionOf(g *Generation) *Version {
	if g == nil {
		return nil
	}
	return &Version{g.manifest.Version, g.digest, g.number}
}

func (r *Registry) tell(c Transition) {
	if r.options.Transition != nil {
		r.options.Transition(c)
	}
}

// Measured is one unary call of a plugin.
type Measured struct {
	Plugin, Version, Route string
	// Source is who caused its failure: "plugin", "policy", "grant", "host", "upstream" or
	// "client"; "" if it did not fail.
	Source string
	Queued time.Duration // it waited for an instance
	Took   time.Duration // in the plugin and the capabilities that it called
	Fuel   uint64        // about one for each instruction
}

// Registry holds the generations of all plugins by name. It is safe for concurrent
// use.
type Registry struct {
	options Options
	keep    *keep
	people  *people
	log     *slog.Logger
	every   time.Duration // see watchEvery
	loads   atomic.Uint64 // numbers generations, from 1
	names   atomic.Pointer[map[string]*slot]

	ctx   context.Context // ends what Close ends: swaps, watching
	stop  context.CancelCauseFunc
	tasks sync.WaitGroup // swaps and watchers; grows under mu while not closed

	mu      sync.Mutex // guards what follows, and all slots
	broker  *capability.Broker
	limits  Limits
	closed  bool
	changed chan struct{}
}

// errClosed is why a swap ends when the registry is closed.
var errClosed = host.E(host.Unavailable, "", "the host is shutting down")

// NewRegistry returns an empty registry. It fails if Options.Dir cannot be made
// private.
func NewRegistry(o Options) (*Registry, error) {
	k, err := openKeep(o.Dir, o.Logger)
	if err != nil {
		return nil, err
	}
	r := &Registry{options: o, keep: k, people: newPeople(o.User), log: o.Logger, every: watchEvery,
		broker: o.Broker, limits: o.Limits, changed: make(chan struct{})}
	r.ctx, r.stop = context.WithCancelCause(context.Background())
	r.names.Store(&map[string]*slot{})
	return r, nil
}

// reserved cannot name an instance: the host's own routes stand there.
var reserved = []string{"admin"}

// slot is one name. Its fields are guarded by Registry.mu, but for turn and live.
type slot struct {
	name string
	turn chan struct{}        // one swap at a time
	live atomic.Pointer[live] // what leases are taken of; nil: nothing serves

	origin  Origin
	alive   []*Generation // whose memory is not given back yet, oldest first
	record  record        // as it is kept
	failed  *Failure
	waiting *Waiting
	removed bool // and nothing has come after
}

// live is what serves a name now.
type live struct {
	serving *Generation
	canary  *Generation // nil: none
	rule    Canary
}

// SetBroker makes later swaps use b. Generations that are alive keep theirs; Renew
// replaces one.
func (r *Registry) SetBroker(b *capability.Broker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broker = b
}

// SetLimits makes later swaps use l for what a plugin's own limits leave open. The
// limits of users hold from their next call.
func (r *Registry) SetLimits(l Limits, user UserLimits) {
	r.people.set(user)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits = l
}

// Changed is closed when Status next changes, apart from counts.
func (r *Registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// notify needs r.mu.
func (r *Registry) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Registry) slot(name string) *slot { return (*r.names.Load())[name] }

// take returns the slot of a name, made if it is missing. It needs r.mu.
func (r *Registry) take(name string, origin Origin) *slot {
	if s := r.slot(name); s != nil {
		return s
	}
	s := &slot{name: name, turn: make(chan struct{}, 1), origin: origin, record: r.keep.load(name)}
	names := maps.Clone(*r.names.Load())
	names[name] = s
	r.names.Store(&names)
	return s
}

// save keeps what s serves. It needs r.mu.
func (r *Registry) save(s *slot) {
	inUse := map[string]bool{}
	for _, s := range *r.names.Load() {
		for _, g := range s.alive {
			inUse[g.digest] = true
		}
		if s.waiting != nil {
			inUse[s.waiting.Digest] = true
		}
	}
	r.keep.save(s.name, s.record, inUse)
}

// Retain forgets what names of this origin have served that are not listed and that
// nothing was asked of since the start: they were removed while the host was away.
func (r *Registry) Retain(origin Origin, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.keep.names() {
		if r.slot(name) != nil || slices.Contains(names, name) {
			continue
		}
		if v := r.keep.load(name).Serving; v == nil || v.Origin == origin {
			r.save(&slot{name: name})
			r.log.Info("what a plugin served is forgotten, because it was removed", "plugin", name)
		}
	}
}

// forget drops a slot that was removed and has nothing alive. It needs r.mu.
func (r *Registry) forget(s *slot) {
	if r.slot(s.name) != s || !s.removed || len(s.alive) > 0 {
		return
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }() // who waits for it sees that the slot is gone
	default:
		return // a swap has begun, which calls forget at its end
	}
	names := maps.Clone(*r.names.Load())
	delete(names, s.name)
	r.names.Store(&names)
}

// Get returns the generation that serves name to users outside a canary, nil if nothing
// serves it. It is for its description: what calls it needs a Lease.
func (r *Registry) Get(name string) *Generation {
	if s := r.slot(name); s != nil {
		if l := s.live.Load(); l != nil {
			return l.serving
		}
	}
	return nil
}

// List describes the generations that serve p, by name. p may be nil; see Lease.
func (r *Registry) List(p *host.Principal) []Info {
	var out []Info
	slots := *r.names.Load()
	for _, name := range slices.Sorted(maps.Keys(slots)) {
		if l := slots[name].live.Load(); l != nil {
			out = append(out, l.pick(p).Info())
		}
	}
	return out
}

// Page returns a file of the page of a generation that is alive, by the digest of its
// module. The caller must not change it.
func (r *Registry) Page(name, digest, file string) (data []byte, ok bool) {
	s := r.slot(name)
	if s == nil {
		return nil, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range s.alive {
		if g.digest == digest {
			data, ok = g.ui[file]
			return data, ok
		}
	}
	return nil, false
}

// Close ends swaps, and waits until ctx is done for all leases to be returned; their
// sessions should have been ended first. It may be called repeatedly, to wait again.
func (r *Registry) Close(ctx context.Context) error {
	r.stop(errClosed)
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.tasks.Wait()
	r.mu.Lock()
	var left []*Generation
	for _, s := range *r.names.Load() {
		left = append(left, s.alive...)
		r.show(s, nil)
	}
	r.mu.Unlock()
	var errs []error
	for _, g := range left {
		g.force(host.ErrShutdown)
		select {
		case <-g.gone:
			errs = append(errs, g.failed)
		case <-ctx.Done():
			errs = append(errs, context.Cause(ctx))
		}
	}
	return errors.Join(errs...)
}
