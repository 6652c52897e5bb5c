package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shared is a store that several replicas share, in memory.
type shared struct {
	mu       sync.Mutex
	revision int64
	desired  map[string]state.Desired
	changed  chan struct{}
	reports  map[string]json.RawMessage
	stale    map[string]bool // replicas that are not fresh
	gaps     map[string]uint64
}

func newShared() *shared {
	return &shared{desired: map[string]state.Desired{}, changed: make(chan struct{}), reports: map[string]json.RawMessage{}, stale: map[string]bool{}, gaps: map[string]uint64{}}
}

// seen is the store as one replica sees it.
type seen struct {
	*shared
	id string
}

func (s seen) Replica() string { return s.id }

func (s seen) Gaps() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gaps[s.id]
}

// back ends a gap of a replica.
func (s *shared) back(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps[id]++
}

func (s seen) Desired() (list []state.Desired, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range sortedKeys(s.desired) {
		list = append(list, s.desired[name])
	}
	return list, s.changed
}

// announce needs s.mu.
func (s *shared) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s seen) PutDesired(_ context.Context, d state.Desired, expect int64) (state.Desired, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desired[d.Name].Revision != expect {
		return d, host.E(host.Conflict, "", "changed by another")
	}
	s.revision++
	d.Revision, d.At = s.revision, time.Now()
	s.desired[d.Name] = d
	s.announce()
	return d, nil
}

func (s seen) RemoveDesired(_ context.Context, name string, expect int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desired[name].Revision != expect {
		return host.E(host.Conflict, "", "changed by another")
	}
	delete(s.desired, name)
	s.announce()
	return nil
}

func (s seen) Report(text json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[s.id] = text
	return nil
}

func (s seen) Fleet(context.Context) (*state.Fleet, error) {
	list, _ := s.Desired()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &state.Fleet{Desired: list}
	for _, id := range sortedKeys(s.reports) {
		f.Replicas = append(f.Replicas, state.Replica{ID: id, Fresh: !s.stale[id], Report: s.reports[id]})
	}
	return f, nil
}

// registry is the plugins of one replica: it publishes what it is given, unless the
// test says otherwise. The module of a version is its digest.
type registry struct {
	mu       sync.Mutex
	names    map[string]*plugin.Status
	waiting  map[string]plugin.Swap
	changed  chan struct{}
	swaps    []string
	retained string                   // by the last Retain
	configs  map[string]plugin.Config // that were swapped in last
	fails    map[string]error         // by digest
	hold     chan struct{}            // swaps wait for it, if it is not nil
	number   uint64
	// unverified are those that run and do not pass any more, by name.
	unverified map[string]error
}

func newRegistry() *registry {
	return &registry{configs: map[string]plugin.Config{}, names: map[string]*plugin.Status{}, waiting: map[string]plugin.Swap{}, changed: make(chan struct{}), fails: map[string]error{}, unverified: map[string]error{}}
}

// consent is needed for each version that is not an earlier one of the name.
func consentFor(s plugin.Swap, from string) string { return "consent:" + from + ">" + s.Digest }

func (r *registry) serving(name string) string {
	if st := r.names[name]; st != nil {
		if g := generation(*st, plugin.Serving); g != nil {
			return g.Digest
		}
	}
	return ""
}

func (r *registry) report(s plugin.Swap) *plugin.Report {
	from := r.serving(s.Name)
	rep := &plugin.Report{Name: s.Name, Digest: s.Digest, Plugin: "p", Version: "v-" + s.Digest}
	if from != s.Digest {
		rep.Comparison = &plugin.Comparison{From: from, To: s.Digest, Digest: consentFor(s, from), More: []plugin.Change{{Field: "actions", New: s.Digest}}}
	}
	return rep
}

func (r *registry) claim(s plugin.Swap) error {
	if st := r.names[s.Name]; st != nil && st.Origin != s.Origin {
		return &plugin.StepError{Name: s.Name, Step: plugin.StepCheck, Err: host.E(host.Conflict, "", "the name belongs to the configuration file")}
	}
	if err := r.fails[s.Digest]; err != nil {
		return err
	}
	return nil
}

func (r *registry) Check(_ context.Context, s plugin.Swap) (*plugin.Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.claim(s); err != nil {
		return nil, err
	}
	rep := r.report(s)
	rep.Outcome = plugin.Passed
	return rep, nil
}

func (r *registry) Swap(ctx context.Context, s plugin.Swap) (*plugin.Report, error) {
	r.mu.Lock()
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.claim(s); err != nil {
		return nil, err
	}
	rep := r.report(s)
	if c := rep.Comparison; c != nil && s.Consent != c.Digest {
		if s.Consent != "" {
			return rep, &plugin.StepError{Name: s.Name, Step: plugin.StepCompare, Err: host.E(host.Conflict, "", "another comparison")}
		}
		rep.Outcome = plugin.Waits
		r.waiting[s.Name] = s
		return rep, nil
	}
	r.publish(s)
	rep.Outcome = plugin.Published
	return rep, nil
}

func (r *registry) Approve(_ context.Context, name, digest string) (*plugin.Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.names[name]; st != nil && st.Waiting != nil && st.Waiting.Comparison.Digest == digest { // of the file
		st.Generations = []plugin.GenerationStatus{{Digest: st.Waiting.Digest, State: plugin.Serving}}
		st.Waiting = nil
		r.swaps = append(r.swaps, name+" approved")
		r.notify()
		return &plugin.Report{Outcome: plugin.Published}, nil
	}
	s, ok := r.waiting[name]
	if !ok || digest != consentFor(s, r.serving(name)) {
		return nil, errors.New("nothing waits for this consent")
	}
	delete(r.waiting, name)
	r.publish(s)
	return &plugin.Report{Outcome: plugin.Published}, nil
}

// publish needs r.mu.
func (r *registry) publish(s plugin.Swap) {
	r.number++
	g := plugin.GenerationStatus{Number: r.number, Digest: s.Digest, Version: "v-" + s.Digest, State: plugin.Serving}
	st := &plugin.Status{Name: s.Name, Origin: s.Origin, Generations: []plugin.GenerationStatus{g}}
	what := s.Name + "=" + s.Digest
	if s.Canary != nil {
		st.Generations[0].State = plugin.IsCanary
		st.Generations = append(st.Generations, *generation(*r.names[s.Name], plugin.Serving))
		what += " canary"
	}
	r.names[s.Name] = st
	r.swaps = append(r.swaps, what)
	r.configs[s.Name] = s.Config
	r.notify()
}

func (r *registry) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *registry) Promote(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := generation(*r.names[name], plugin.IsCanary)
	if g == nil {
		return errors.New("no canary")
	}
	next := *g
	next.State = plugin.Serving
	r.names[name] = &plugin.Status{Name: name, Origin: plugin.API, Generations: []plugin.GenerationStatus{next}}
	r.swaps = append(r.swaps, name+" promoted")
	r.notify()
	return nil
}

func (r *registry) Remove(_ context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, name)
	r.swaps = append(r.swaps, name+" removed")
	r.notify()
	return nil
}

func (r *registry) Verify(_ context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unverified[name]
}

func (r *registry) Suspend(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.names[name]; st != nil {
		st.Generations = nil
	}
	r.swaps = append(r.swaps, name+" suspended")
	r.notify()
}

func (r *registry) Retain(origin plugin.Origin, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retained = fmt.Sprint(origin, names)
}

func (r *registry) Status() (list []plugin.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range sortedKeys(r.names) {
		list = append(list, *r.names[name])
	}
	return list
}

func (r *registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *registry) done() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.swaps, ", ")
}

func (r *registry) last(name string) plugin.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.configs[name]
}

// edit changes the plugins of a replica without the fleet.
func (r *registry) edit(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.notify()
}

// packages is what a replica's configuration allows: oci:// references of these names.
// A tag means what means says; a pinned reference means itself.
type packages struct {
	mu      sync.Mutex
	allowed map[string]bool
	means   string // digest
	stop    atomic.Bool
}

var errNotAllowed = &artifact.Refusal{Origin: "a reference", Step: artifact.StepReference, Text: "no source allows it"}

func (p *packages) Package(name, reference string) (artifact.Package, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.allowed[name] {
		return artifact.Package{}, errNotAllowed
	}
	return artifact.Package{Source: reference, Verification: artifact.Verification{AnyOf: []artifact.Identity{{Key: "ops.pub"}}}}, nil
}

func (p *packages) Resolve(_ context.Context, name, reference, digest string) (*artifact.Artifact, error) {
	if _, err := p.Package(name, reference); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &artifact.Artifact{Digest: p.means}
	tag, pin, pinned := strings.Cut(reference, "@")
	if pinned {
		a.Digest = pin
	}
	if digest != "" && digest != a.Digest {
		return nil, &artifact.Refusal{Origin: reference, Step: artifact.StepDigest, Text: "the file is another"}
	}
	var err error
	a.Reference, err = artifact.ParseReference(tag + "@" + a.Digest)
	return a, err
}

func (p *packages) StopUnverified() bool { return p.stop.Load() }

func (p *packages) Catalogs(context.Context) []*artifact.Catalog { return nil }

func start(t *testing.T, s *shared, id string, r *registry) *Fleet {
	t.Helper()
	return startWith(t, s, id, r, &packages{})
}

func startWith(t *testing.T, s *shared, id string, r *registry, p *packages) *Fleet {
	t.Helper()
	f := New(Config{Store: seen{s, id}, Registry: r, Packages: p, Logger: slog.New(slog.DiscardHandler)})
	f.Start(t.Context())
	t.Cleanup(f.Close)
	return f
}

var ada = &host.Principal{User: "ada@example.com", Login: host.Login{Method: "dev"}}

// put installs or upgrades to a digest, with the consent of a dry run.
func put(t *testing.T, f *Fleet, name, digest string, edit ...func(*Request)) {
	t.Helper()
	if err := tryPut(t, f, name, digest, edit...); err != nil {
		t.Fatalf("%s=%s: %v", name, digest, err)
	}
}

func tryPut(t *testing.T, f *Fleet, name, digest string, edit ...func(*Request)) error {
	t.Helper()
	now, _, err := f.current(name)
	if err != nil {
		return err
	}
	q := &Request{Digest: digest, Revision: now.Revision}
	for _, e := range edit {
		e(q)
	}
	report, err := f.Check(t.Context(), name, q)
	if err != nil {
		return err
	}
	if c := report.Comparison; c != nil {
		q.Consent = c.Digest
	}
	_, err = f.Put(t.Context(), ada, name, q)
	return err
}

func withCanary(q *Request) { q.Canary = &plugin.Canary{Percent: 10} }

// until polls for what replicas do.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	bound := time.After(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-bound:
			t.Fatalf("waited for %s", what)
		case <-tick.C:
		}
	}
}

func describeOf(t *testing.T, f *Fleet, name string) Plugin {
	t.Helper()
	p, err := f.Plugin(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	return *p
}

func active(t *testing.T, f *Fleet, name string) Plugin {
	t.Helper()
	var p Plugin
	until(t, name+" to be active", func() bool { p = describeOf(t, f, name); return p.State == Active })
	return p
}
