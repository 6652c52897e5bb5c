package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

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
