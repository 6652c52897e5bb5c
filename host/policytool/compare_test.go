package policytool

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// candidate packs a policy as a bundle, without compiling it: the memory for that
// would be counted.
func candidate(t *testing.T, rego string) []byte {
	t.Helper()
	var packed bytes.Buffer
	b := bundle.Bundle{Data: map[string]any{}, Modules: []bundle.ModuleFile{{URL: "policy.rego", Path: "policy.rego", Raw: []byte(rego)}}}
	b.Manifest.Init()
	if err := bundle.NewWriter(&packed).DisableFormat(true).Write(b); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

const denyAll = `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no"}, "obligations": {}}
`

// Origin: a candidate was compiled before the deadline began, and what it took in
// memory was not bounded at all.
func TestAComparisonsTimeIsOfAllOfIt(t *testing.T) {
	tools, done := logged(t)
	defer done()
	tools.Engine.Decide(t.Context(), ask(vic, "gitops", "helm.read"))
	packed := candidate(t, denyAll)
	_, err := tools.compareWithin(t.Context(), packed, comparison{wall: time.Nanosecond, heap: 1 << 40})
	if host.KindOf(err) != host.Timeout || !strings.Contains(err.Error(), "compiling the candidate") {
		t.Errorf("%v", err)
	}
	// Compiling cannot be interrupted, so the answer does not wait for its end.
	await(t, "the comparison's end", func() bool { return !tools.comparing.Load() })
	var many strings.Builder
	many.WriteString(denyAll)
	for k := range 5_000 {
		fmt.Fprintf(&many, "\nr%d if input.a == %d\n", k, k)
	}
	_, err = tools.compareWithin(t.Context(), candidate(t, many.String()), comparison{wall: time.Millisecond, heap: 1 << 40})
	if host.KindOf(err) != host.Timeout || !tools.comparing.Load() {
		t.Errorf("%v, and it is under way: %v", err, tools.comparing.Load())
	}
	if _, err := tools.Compare(t.Context(), packed); host.KindOf(err) != host.Limited {
		t.Errorf("a second beside it: %v", err)
	}
	await(t, "the comparison's end", func() bool { return !tools.comparing.Load() })
	if _, err := tools.Compare(t.Context(), packed); err != nil {
		t.Errorf("%v", err)
	}
	await(t, "the comparison's end", func() bool { return !tools.comparing.Load() })
	// One that goes away is not told that it was slow.
	gone, leave := context.WithCancelCause(t.Context())
	leave(host.ErrClientGone)
	if _, err := tools.Compare(gone, packed); err == nil || host.KindOf(err) == host.Timeout {
		t.Errorf("%v", err)
	}
	await(t, "the comparison's end", func() bool { return !tools.comparing.Load() })
}

func TestOneComparisonIsUnderWayAtATime(t *testing.T) {
	tools, done := logged(t)
	defer done()
	tools.comparing.Store(true)
	if _, err := tools.Compare(t.Context(), candidate(t, denyAll)); host.KindOf(err) != host.Limited {
		t.Errorf("%v", err)
	}
	tools.comparing.Store(false)
}

func TestAComparisonsMemoryIsBounded(t *testing.T) {
	ctx, stop := boundHeap(t.Context(), 32<<20)
	defer stop()
	// What other tests left may go meanwhile, so it is not said how much it takes.
	var held [][]byte
	for ctx.Err() == nil && len(held) < 64 {
		held = append(held, make([]byte, 16<<20))
		runtime.GC()
		select {
		case <-ctx.Done():
		case <-time.After(10 * heapEvery):
		}
	}
	if context.Cause(ctx) != errHeap {
		t.Errorf("%v", context.Cause(ctx))
	}
	runtime.KeepAlive(held)
	held = nil
	runtime.GC()

	// The candidate keeps what it makes in every decision; the log has many.
	tools, done := logged(t)
	defer done()
	for k := range 5 {
		q := ask(vic, "gitops", "helm.read")
		q.Resource = host.Resource{"release": fmt.Sprint(k)}
		tools.Engine.Decide(t.Context(), q)
	}
	await(t, "the log", func() bool { return tools.Engine.Status().Log.Destinations["file"].Written == 5 })
	big := candidate(t, `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no", "args": {"n": count(all)}}, "obligations": {}}

all := {[a, b] | some a in numbers.range(1, 2000); some b in numbers.range(1, 2000)}
`)
	_, err := tools.compareWithin(t.Context(), big, comparison{wall: time.Minute, heap: 1 << 20})
	if host.KindOf(err) != host.Unprocessable || !strings.Contains(err.Error(), "more than 1 MiB") {
		t.Errorf("%v", err)
	}
	await(t, "the comparison's end", func() bool { return !tools.comparing.Load() })
}
