package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
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
}

func newRegistry() *registry {
	return &registry{configs: map[string]plugin.Config{}, names: map[string]*plugin.Status{}, waiting: map[string]plugin.Swap{}, changed: make(chan struct{}), fails: map[string]error{}}
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

func TestEveryReplicaRunsWhatIsDesired(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a, b := start(t, s, "a", ra), start(t, s, "b", rb)
	put(t, a, "echo", "sha256:1")
	active(t, b, "echo")
	put(t, b, "echo", "sha256:2")
	p := active(t, a, "echo")
	if p.Serve.Digest != "sha256:2" || len(p.Earlier) != 1 || p.Earlier[0].Digest != "sha256:1" || p.By != ada.User || p.Method != "dev" || len(p.Replicas) != 2 {
		t.Errorf("%+v", p)
	}
	if err := a.Rollback(t.Context(), ada, "echo", "", 0); err != nil {
		t.Fatal(err)
	}
	if p = active(t, b, "echo"); p.Serve.Digest != "sha256:1" || p.Earlier[0].Digest != "sha256:2" {
		t.Errorf("rolled back: %+v", p)
	}
	if err := b.Remove(t.Context(), ada, "echo", p.Revision); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*registry{ra, rb} {
		until(t, "the removal", func() bool {
			return strings.HasSuffix(r.done(), "echo=sha256:1, echo=sha256:2, echo=sha256:1, echo removed")
		})
	}
	if _, err := a.Plugin(t.Context(), "echo", ""); host.KindOf(err) != host.NotFound {
		t.Errorf("after the removal: %v", err)
	}
}

// A replica that starts has what is desired when Start returns, also what an
// administrator approved in comparison with a version that it never ran.
func TestANewReplicaStartsWithWhatIsDesired(t *testing.T) {
	s := newShared()
	a := start(t, s, "a", newRegistry())
	put(t, a, "echo", "sha256:1")
	put(t, a, "echo", "sha256:2")
	put(t, a, "gitops", "sha256:3")
	put(t, a, "gitops", "sha256:4", withCanary)
	late := newRegistry()
	start(t, s, "b", late)
	if got := late.done(); !strings.Contains(got, "echo=sha256:2") || strings.Contains(got, "echo=sha256:1") || !strings.Contains(got, "gitops=sha256:3, gitops=sha256:4 canary") &&
		!(strings.Index(got, "gitops=sha256:3") < strings.Index(got, "gitops=sha256:4 canary")) {
		t.Errorf("the new replica did %s", got)
	}
}

func TestActiveIsNotSaidBeforeEveryFreshReplicaIsDone(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a := start(t, s, "a", ra)
	start(t, s, "b", rb)
	rb.edit(func() { rb.hold = make(chan struct{}) })
	put(t, a, "echo", "sha256:1")
	until(t, "replica a", func() bool { return ra.done() != "" })
	until(t, "replica a to report", func() bool {
		p := describeOf(t, a, "echo")
		return p.Replicas[0].Phase == Done && p.Replicas[1].Phase == Applying
	})
	if p := describeOf(t, a, "echo"); p.State != Progressing || !strings.Contains(p.Because, "replica b") {
		t.Errorf("while b works: %s, %s", p.State, p.Because)
	}
	s.mu.Lock()
	s.stale["b"] = true
	s.mu.Unlock()
	if p := describeOf(t, a, "echo"); p.State != Active {
		t.Errorf("b is not fresh: %s, %s", p.State, p.Because)
	}
	s.mu.Lock()
	s.stale["b"] = false
	s.reports["c"] = nil // has just started
	s.mu.Unlock()
	rb.edit(func() { close(rb.hold); rb.hold = nil })
	until(t, "replica b", func() bool { return rb.done() != "" })
	until(t, "replica c alone to be missing", func() bool { return strings.Contains(describeOf(t, a, "echo").Because, "replica c") })
}

// A replica that was cut off does not serve, once it is back, what the others may have
// gone on from: it waits for its own swap, says so, and serves what failed nowhere else.
func TestAReplicaThatIsBackDoesNotServeWhatIsNotDesired(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a, b := start(t, s, "a", ra), start(t, s, "b", rb)
	for _, name := range []string{"echo", "gitops", "old"} {
		put(t, a, name, "sha256:1")
		active(t, b, name)
	}
	hold := make(chan struct{})
	rb.edit(func() { rb.hold = hold })
	put(t, a, "echo", "sha256:2") // an upgrade in good order
	until(t, "b to begin", func() bool { return b.Problem() != nil })
	if err := b.Behind("echo"); err != nil {
		t.Errorf("during an upgrade: %v", err)
	}
	s.back("b")
	for name, behind := range map[string]bool{"echo": true, "gitops": false, "old": false, "absent": false} {
		if err := b.Behind(name); (err != nil) != behind || behind && host.KindOf(err) != host.Unavailable {
			t.Errorf("%s, before the replica looks: %v", name, err)
		}
	}
	put(t, a, "fresh", "sha256:1") // wakes b, too
	if err := a.Remove(t.Context(), ada, "old", 0); err != nil {
		t.Fatal(err)
	}
	s.back("b")
	until(t, "b to look", func() bool {
		p := b.Problem()
		return p != nil && strings.Contains(p.Error(), "echo: this replica was cut off") && strings.Contains(p.Error(), "fresh: ")
	})
	if err := b.Behind("fresh"); err == nil {
		t.Error("a plugin that it does not have yet")
	}
	if p := describeOf(t, a, "echo"); p.State == Active {
		t.Error("active is said meanwhile")
	}
	if err := a.Behind("echo"); err != nil {
		t.Errorf("the other replica: %v", err)
	}
	rb.edit(func() {
		rb.hold = nil
		rb.fails["sha256:2"] = &plugin.StepError{Name: "echo", Step: plugin.StepHealth, Err: errors.New("it answers 500")}
	})
	close(hold)
	active(t, a, "fresh")
	until(t, "b to be done", func() bool { return b.Behind("echo") == nil && b.Behind("fresh") == nil && b.Behind("old") == nil })
	if p := b.Problem(); p == nil || !strings.Contains(p.Error(), "echo: health: it answers 500") {
		t.Errorf("what failed: %v", p)
	}
	if got := rb.done(); !strings.Contains(got, "old removed") {
		t.Errorf("b did %s", got)
	}
}

// What a replica reports of an earlier description says nothing of a later one, although
// the module is the same.
func TestActiveIsOfTheDescriptionThatIsDesired(t *testing.T) {
	done := Running{Origin: plugin.API, Revision: 7, Phase: Done, Digest: "sha256:1"}
	for revision, want := range map[int64]State{7: Active, 8: Progressing} {
		p := Plugin{Name: "echo", Origin: plugin.API, Revision: revision, Serve: &Version{Digest: "sha256:1"}, Replicas: []OnReplica{{Replica: "a", Fresh: true, Running: done}}}
		if p.judge(); p.State != want {
			t.Errorf("revision %d: %s, %s", revision, p.State, p.Because)
		}
	}
}

// A replica that has not begun what is desired compares nothing with what it runs still.
func TestAComparisonWaitsForWhatIsDesired(t *testing.T) {
	s := newShared()
	a, b := start(t, s, "a", newRegistry()), start(t, s, "b", newRegistry())
	put(t, a, "echo", "sha256:1")
	active(t, b, "echo")
	a.Close() // it follows nothing from here on
	put(t, b, "echo", "sha256:2")
	if report, err := a.Check(t.Context(), "echo", &Request{Digest: "sha256:3"}); !errors.Is(err, host.ErrShutdown) {
		t.Errorf("%+v, %v", report, err)
	}
}

// A replica that cannot run a version says at which step and why; the next version is
// not in its way.
func TestAFailureIsReportedAndDoesNotBlockTheRepair(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a := start(t, s, "a", ra)
	b := start(t, s, "b", rb)
	put(t, a, "echo", "sha256:1")
	active(t, a, "echo")
	rb.edit(func() {
		rb.fails["sha256:2"] = &plugin.StepError{Name: "echo", Step: plugin.StepHealth, Err: errors.New("it answers 500")}
	})
	put(t, a, "echo", "sha256:2")
	until(t, "the failure", func() bool { return describeOf(t, a, "echo").State == Failed })
	p := describeOf(t, a, "echo")
	if p.Because != "replica b: health: it answers 500" || b.Problem() == nil || a.Problem() != nil {
		t.Errorf("%s; %v; %v", p.Because, b.Problem(), a.Problem())
	}
	if err := tryPut(t, b, "echo", "sha256:2"); err == nil || !strings.Contains(err.Error(), "health: it answers 500") {
		t.Errorf("tried on the replica where it fails: %v", err)
	}
	put(t, b, "echo", "sha256:3")
	active(t, a, "echo")
	if b.Problem() != nil {
		t.Error(b.Problem())
	}
}

func TestMoreNeedsTheConsentToThatComparison(t *testing.T) {
	s := newShared()
	a := start(t, s, "a", newRegistry())
	for consent, want := range map[string]string{"": "repeat with consent consent:>sha256:1", "consent:>sha256:9": "repeat with consent consent:>sha256:1"} {
		_, err := a.Put(t.Context(), ada, "echo", &Request{Digest: "sha256:1", Consent: consent})
		e, _ := errors.AsType[*host.Error](err)
		if e == nil || e.Kind != host.Conflict || e.Detail != "consent_required" || !strings.Contains(e.Message, want) {
			t.Errorf("consent %q: %v", consent, err)
		}
	}
	if list, _ := a.Store.Desired(); len(list) != 0 {
		t.Errorf("without consent this is desired: %v", list)
	}
}

func TestANameOfTheFileIsRefusedByName(t *testing.T) {
	s, r := newShared(), newRegistry()
	file := plugin.Status{Name: "echo", Origin: plugin.File, Generations: []plugin.GenerationStatus{{Digest: "sha256:f", State: plugin.Serving}}}
	r.names["echo"] = &file
	a := start(t, s, "a", r)
	if err := tryPut(t, a, "echo", "sha256:1"); host.KindOf(err) != host.Conflict || !strings.Contains(err.Error(), "configuration file") {
		t.Errorf("an installation: %v", err)
	}
	for what, err := range map[string]error{
		"promotion": a.Promote(t.Context(), ada, "echo", 0), "rollback": a.Rollback(t.Context(), ada, "echo", "", 0), "removal": a.Remove(t.Context(), ada, "echo", 0),
	} {
		if host.KindOf(err) != host.Conflict || !strings.Contains(err.Error(), "configuration file") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if p := active(t, a, "echo"); p.Origin != plugin.File {
		t.Errorf("%+v", p)
	}
	// Another replica, whose file lacks the name, has it from the store.
	other := start(t, s, "b", newRegistry())
	put(t, other, "echo", "sha256:1")
	until(t, "the refusal", func() bool {
		p := describeOf(t, other, "echo")
		return p.State == Failed && strings.Contains(p.Because, "replica a: the name belongs to the configuration file")
	})
	if a.Problem() == nil {
		t.Error("the replica itself does not say so")
	}
	r.edit(func() { delete(r.names, "echo") }) // the file was changed
	active(t, other, "echo")
}

// ofFile is the plugin echo of a configuration file, of which a version waits for consent.
func (r *registry) ofFile(waits, consent string) {
	r.edit(func() {
		r.names["echo"] = &plugin.Status{Name: "echo", Origin: plugin.File, Generations: []plugin.GenerationStatus{{Digest: "sha256:1", State: plugin.Serving}},
			Waiting: &plugin.Waiting{Digest: waits, Comparison: &plugin.Comparison{Digest: consent}}}
	})
}

// An administrator's consent to a version that configuration files brought counts on
// every replica where exactly that version waits, also on one that comes later.
func TestAVersionOfTheFileIsApprovedForEveryReplica(t *testing.T) {
	s, ra, rb, rc := newShared(), newRegistry(), newRegistry(), newRegistry()
	ra.ofFile("sha256:2", "c2")
	rb.ofFile("sha256:2", "c2")
	rc.ofFile("sha256:2", "c2")
	a, b := start(t, s, "a", ra), start(t, s, "b", rb)
	until(t, "the reports", func() bool { return len(describeOf(t, a, "echo").Replicas) == 2 })
	if p := describeOf(t, a, "echo"); p.State != Progressing || p.Waiting == nil || p.Waiting.Comparison.Digest != "c2" || !strings.Contains(p.Because, "waits for consent c2") {
		t.Errorf("%+v", p)
	}
	for consent, want := range map[string]string{"": "consent: is missing", "c1": "what waits is c2"} {
		if err := a.Approve(t.Context(), ada, "echo", consent); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", consent, err)
		}
	}
	if err := a.Approve(t.Context(), ada, "gitops", "c2"); host.KindOf(err) != host.NotFound {
		t.Errorf("another name: %v", err)
	}
	if err := a.Approve(t.Context(), ada, "echo", "c2"); err != nil {
		t.Fatal(err)
	}
	p := active(t, b, "echo")
	if p.Waiting != nil || ra.done() != "echo approved" || rb.done() != "echo approved" {
		t.Errorf("%+v; a did %s, b did %s", p, ra.done(), rb.done())
	}
	start(t, s, "c", rc)
	until(t, "the replica that comes later", func() bool { return rc.done() == "echo approved" })
	rd := newRegistry() // whose file is another
	rd.ofFile("sha256:9", "c9")
	start(t, s, "d", rd)
	until(t, "the replica with another file", func() bool { return strings.Contains(describeOf(t, a, "echo").Because, "c9") })
	s.mu.Lock()
	s.stale["d"] = true
	s.mu.Unlock()
	// The next version is another question.
	ra.ofFile("sha256:3", "c3")
	until(t, "the next version", func() bool { return strings.Contains(describeOf(t, b, "echo").Because, "c3") })
	if err := b.Approve(t.Context(), ada, "echo", "c2"); host.KindOf(err) != host.Conflict {
		t.Errorf("an earlier consent: %v", err)
	}
	if err := b.Approve(t.Context(), ada, "echo", "c3"); err != nil {
		t.Fatal(err)
	}
	active(t, a, "echo")
	put(t, b, "gitops", "sha256:1")
	if err := b.Approve(t.Context(), ada, "gitops", "c1"); host.KindOf(err) != host.Conflict {
		t.Errorf("a plugin of the API: %v", err)
	}
	until(t, "the replica with another file to have done what it does", func() bool { return strings.Contains(rd.done(), "gitops=sha256:1") })
	if strings.Contains(rd.done(), "approved") {
		t.Errorf("the consent to one version lets another run: d did %s", rd.done())
	}
	if rc.retained != "api[consent:echo]" {
		t.Errorf("replica c retains %s", rc.retained)
	}
}

func TestACanaryIsPromotedOrDroppedEverywhere(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a, b := start(t, s, "a", ra), start(t, s, "b", rb)
	put(t, a, "echo", "sha256:1")
	put(t, a, "echo", "sha256:2", withCanary)
	if p := active(t, b, "echo"); p.Canary == nil || p.Canary.Rule.Percent != 10 || p.Serve.Digest != "sha256:1" {
		t.Errorf("%+v", p)
	}
	if err := b.Promote(t.Context(), ada, "echo", 0); err != nil {
		t.Fatal(err)
	}
	if p := active(t, a, "echo"); p.Canary != nil || p.Serve.Digest != "sha256:2" {
		t.Errorf("promoted: %+v", p)
	}
	if err := b.Promote(t.Context(), ada, "echo", 0); host.KindOf(err) != host.Conflict {
		t.Errorf("promoted twice: %v", err)
	}
	put(t, a, "echo", "sha256:3", withCanary)
	active(t, b, "echo")
	if err := a.Rollback(t.Context(), ada, "echo", "", 0); err != nil {
		t.Fatal(err)
	}
	if p := active(t, b, "echo"); p.Canary != nil || p.Serve.Digest != "sha256:2" {
		t.Errorf("dropped: %+v", p)
	}
	if got := ra.done(); !strings.Contains(got, "echo promoted") {
		t.Errorf("a did %s", got)
	}
}

// What one replica does by itself, all do: a canary whose time has come, a version that
// got worse.
func TestWhatAReplicaDoesByItselfIsDesiredOfAll(t *testing.T) {
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	a := start(t, s, "a", ra)
	start(t, s, "b", rb)
	put(t, a, "echo", "sha256:1")
	put(t, a, "echo", "sha256:2", withCanary)
	active(t, a, "echo")
	if err := rb.Promote("echo"); err != nil {
		t.Fatal(err)
	}
	until(t, "the promotion", func() bool { p := describeOf(t, a, "echo"); return p.Serve.Digest == "sha256:2" && p.State == Active })
	if p := describeOf(t, a, "echo"); p.By != hostItself || !strings.Contains(p.Changed, "promoted") {
		t.Errorf("%+v", p)
	}
	ra.edit(func() {
		st := ra.names["echo"]
		st.Generations = []plugin.GenerationStatus{{Number: 99, Digest: "sha256:1", State: plugin.Serving}}
		st.Failed = &plugin.Failure{Reason: "errors rose from 0 to 50 in 100"}
	})
	until(t, "the rollback", func() bool { p := describeOf(t, a, "echo"); return p.Serve.Digest == "sha256:1" && p.State == Active })
	if p := describeOf(t, a, "echo"); !strings.Contains(p.Changed, "errors rose") {
		t.Errorf("%+v", p)
	}
	until(t, "the other replica", func() bool { return strings.HasSuffix(rb.done(), "echo=sha256:1") })
}

func TestARequestIsWhole(t *testing.T) {
	s := newShared()
	a := start(t, s, "a", newRegistry())
	grants := map[string][]capability.Grant{"kube": {{Clusters: []string{"dev"}}}}
	put(t, a, "echo", "sha256:1", func(q *Request) { q.Grants, q.Config = grants, json.RawMessage(`{"a":1}`) })
	put(t, a, "echo", "sha256:2", func(q *Request) { q.Keep = []string{"config"} })
	_, spec, err := a.current("echo")
	if err != nil || spec.Serve.Grants != nil || string(spec.Serve.Config) != `{"a":1}` {
		t.Errorf("grants that are left out: %v; config that is kept: %s; %v", spec.Serve.Grants, spec.Serve.Config, err)
	}
	for want, q := range map[string]*Request{
		"digest: is missing":   {},
		"is none of module":    {Digest: "sha256:3", Keep: []string{"secrets"}},
		"leave out one":        {Digest: "sha256:3", Config: json.RawMessage(`{}`), Keep: []string{"config"}},
		"nothing is installed": {Digest: "sha256:3", Keep: []string{"grants"}},
	} {
		name := "echo"
		if want == "nothing is installed" {
			name = "other"
		}
		q.Revision = 0
		if _, err := a.Check(t.Context(), name, q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := a.Put(t.Context(), ada, "echo", &Request{Digest: "sha256:3"}); host.KindOf(err) != host.Conflict || !strings.Contains(err.Error(), "ada@example.com (dev)") {
		t.Errorf("an installation over another: %v", err)
	}
	if _, err := a.Put(t.Context(), ada, "echo", &Request{Digest: "sha256:3", Revision: 1}); host.KindOf(err) != host.Conflict || !strings.Contains(err.Error(), "since revision 1") {
		t.Errorf("a change from an old revision: %v", err)
	}
}

// A tag is looked up once. Every replica runs what it meant then, fetched and verified as
// its own configuration says.
func TestAReferenceIsPinnedForEveryReplica(t *testing.T) {
	one, two := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	s, ra, rb := newShared(), newRegistry(), newRegistry()
	pa, pb := &packages{allowed: map[string]bool{"echo": true}, means: one}, &packages{allowed: map[string]bool{"echo": true}, means: two}
	a := startWith(t, s, "a", ra, pa)
	b := startWith(t, s, "b", rb, pb)
	tag := "oci://example.com/echo:v1"
	by := func(reference string) func(*Request) {
		return func(q *Request) { q.Reference, q.Digest = reference, "" }
	}
	put(t, a, "echo", "", by(tag))
	p := active(t, b, "echo")
	if p.Serve.Digest != one || p.Serve.Source != tag+"@"+one {
		t.Errorf("%+v", p.Serve)
	}
	if got := rb.done(); got != "echo="+one {
		t.Errorf("replica b did %s", got)
	}
	if c := rb.last("echo"); c.Source != tag+"@"+one || c.Digest != one || len(c.Verification.AnyOf) != 1 {
		t.Errorf("replica b fetches %+v", c)
	}
	if list, _ := a.Store.Desired(); len(list[0].Uploads) != 0 {
		t.Errorf("uploads: %v", list[0].Uploads)
	}
	if err := tryPut(t, a, "echo", two, by(tag), func(q *Request) { q.Digest = two }); host.KindOf(err) != host.Unprocessable || !strings.Contains(err.Error(), "verify: ") {
		t.Errorf("another digest: %v", err)
	}
	// The module stays while something else changes.
	put(t, a, "echo", "", func(q *Request) { q.Keep, q.Config = []string{"module"}, json.RawMessage(`{"a":1}`) })
	if p = active(t, a, "echo"); p.Serve.Source != tag+"@"+one {
		t.Errorf("kept: %+v", p.Serve)
	}
	// A replica whose configuration allows the reference no more does not take it.
	pb.mu.Lock()
	pb.allowed = nil
	pb.mu.Unlock()
	if err := tryPut(t, b, "echo", "", by(tag)); err == nil || !strings.Contains(err.Error(), "no source allows it") {
		t.Errorf("not allowed: %v", err)
	}
	pa.mu.Lock()
	pa.means = two
	pa.mu.Unlock()
	put(t, a, "echo", "", by(tag))
	until(t, "the refusal", func() bool {
		p := describeOf(t, a, "echo")
		return p.State == Failed && strings.Contains(p.Because, "replica b: verify: a reference: reference: no source allows it")
	})
	if b.Problem() == nil {
		t.Error("the replica itself does not say so")
	}
}

func TestEarlierVersionsAreBoundedAndTheirUploadsKept(t *testing.T) {
	s := newShared()
	a := start(t, s, "a", newRegistry())
	for _, digest := range []string{"sha256:1", "sha256:2", "sha256:3", "sha256:4", "sha256:5", "sha256:6"} {
		put(t, a, "echo", digest)
	}
	list, _ := a.Store.Desired()
	if got := list[0].Uploads; !slices.Equal(got, []string{"sha256:6", "sha256:5", "sha256:4", "sha256:3", "sha256:2"}) {
		t.Errorf("uploads: %v", got)
	}
	if err := a.Rollback(t.Context(), ada, "echo", "sha256:1", 0); host.KindOf(err) != host.NotFound || !strings.Contains(err.Error(), "sha256:2") {
		t.Errorf("a version that is not known any more: %v", err)
	}
}

func TestAWaitEndsWithAChange(t *testing.T) {
	s := newShared()
	a := start(t, s, "a", newRegistry())
	put(t, a, "echo", "sha256:1")
	before := active(t, a, "echo")
	got := make(chan *Plugin, 1)
	go func() {
		p, _ := a.Plugin(t.Context(), "echo", before.Tag)
		got <- p
	}()
	put(t, a, "echo", "sha256:2")
	select {
	case p := <-got:
		if p == nil || p.Tag == before.Tag {
			t.Errorf("%+v", p)
		}
	case <-time.After(30 * time.Second):
		t.Error("the wait goes on")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(host.ErrLoggedOut)
	if _, err := a.Plugin(ctx, "echo", active(t, a, "echo").Tag); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("a wait whose session ended: %v", err)
	}
}
