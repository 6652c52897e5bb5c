package policytool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
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

// A candidate is compiled and replayed in a child: neither takes longer than its
// limits, however long compiling would go on.
func TestAComparisonsTimeIsOfAllOfIt(t *testing.T) {
	tools, done := logged(t)
	defer done()
	tools.Engine.Decide(t.Context(), ask(vic, "gitops", "helm.read"))
	packed := candidate(t, denyAll)
	_, err := tools.compareWithin(t.Context(), packed, child.Limits{CPU: time.Minute, Memory: 1 << 30, Wall: time.Nanosecond})
	if host.KindOf(err) != host.Timeout || !strings.Contains(err.Error(), "compiling the candidate") {
		t.Errorf("%v", err)
	}
	var many strings.Builder
	many.WriteString(denyAll)
	for k := range 60_000 {
		fmt.Fprintf(&many, "\nr%d if input.a == %d\n", k, k)
	}
	_, err = tools.compareWithin(t.Context(), candidate(t, many.String()), child.Limits{CPU: time.Second, Memory: 1 << 30, Wall: time.Minute})
	if host.KindOf(err) != host.Timeout {
		t.Errorf("%v", err)
	}
	if _, err := tools.Compare(t.Context(), packed); err != nil {
		t.Errorf("the next comparison: %v", err)
	}
	// One that goes away is not told that it was slow.
	gone, leave := context.WithCancelCause(t.Context())
	leave(host.ErrClientGone)
	if _, err := tools.Compare(gone, packed); !errors.Is(err, host.ErrClientGone) {
		t.Errorf("%v", err)
	}
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

// What a candidate takes in memory counts from compiling on, and is the child's.
func TestAComparisonsMemoryIsBounded(t *testing.T) {
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

all := concat("", [line | some _ in numbers.range(1, 1000)])

line := sprintf("%1000000d", [1])
`)
	_, err := tools.compareWithin(t.Context(), big, child.Limits{CPU: time.Minute, Memory: 200 << 20, Wall: time.Minute})
	if host.KindOf(err) != host.Unprocessable || !strings.Contains(err.Error(), "more than 200 MiB") {
		t.Errorf("%v", err)
	}
}

func TestACandidateThatCannotBeUsedIsTheRequesters(t *testing.T) {
	tools, done := logged(t)
	defer done()
	for _, packed := range [][]byte{[]byte("no bundle"), candidate(t, "package bulkhead.authz\n\ndecision := undefined_name")} {
		if _, err := tools.Compare(t.Context(), packed); host.KindOf(err) != host.Unprocessable {
			t.Errorf("%v", err)
		}
	}
}
