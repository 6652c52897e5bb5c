package authz

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/decisionlog"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// logged opens an engine that logs to a file, and reads that after closing it.
func logged(t *testing.T, cfg Config) (*Engine, func() []map[string]any) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	cfg.Log.File = &decisionlog.File{Path: path}
	if cfg.Directory == nil {
		cfg.Directory = staff(t)
	}
	e, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e, func() []map[string]any {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return readLog(t, path)
	}
}

func readLog(t *testing.T, path string) []map[string]any {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []map[string]any
	for s := bufio.NewScanner(f); s.Scan(); {
		var m map[string]any
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			t.Fatalf("%s: %v", s.Bytes(), err)
		}
		all = append(all, m)
	}
	return all
}

// at walks into a JSON document.
func at(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func TestEveryDecisionIsLoggedAsOPADoesIt(t *testing.T) {
	e, read := logged(t, Config{Labels: map[string]string{"app": "bulkhead"}})
	q := call(ada, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "pods"})
	q.Route.Digest, q.Route.Generation = "sha256:abc", 3
	q.Principal.Claims = map[string]any{"email": "ada@example.com"}
	first, second := e.Decide(t.Context(), q), e.Decide(t.Context(), q)
	denied := e.Decide(t.Context(), ask(vic, "gitops", "helm.upgrade"))
	records := read()
	if len(records) != 3 {
		t.Fatalf("%d records", len(records))
	}
	r := records[0]
	for _, c := range []struct{ got, want any }{
		{r["decision_id"], first.ID}, {records[1]["decision_id"], second.ID}, {records[2]["decision_id"], denied.ID},
		{r["path"], "bulkhead/authz/decision"},
		{at(r, "labels", "app"), "bulkhead"},
		{at(r, "bundles", "bulkhead", "revision"), e.Status().Digest},
		{at(r, "input", "principal", "user"), string(ada)},
		{at(r, "input", "capability", "resource"), "pods"},
		{at(r, "result", "allow"), true},
		{at(r, "result", "obligations", "impersonate", "user"), string(ada)},
		{at(r, "custom", "plugin", "digest"), "sha256:abc"}, {at(r, "custom", "plugin", "generation"), 3.0},
		{at(r, "custom", "cached"), false}, {at(records[1], "custom", "cached"), true},
		{at(records[2], "result", "reason", "code"), "no_action"},
		{at(r, "input", "principal", "claims"), nil},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	if text, _ := json.Marshal(r["erased"]); string(text) != `["/input/principal/claims","/input/principal/login/id"]` {
		t.Errorf("erased %s", text)
	}
}

// What the identity provider said of a person is recorded beside the directory's
// answer, for replaying over another directory.
func TestALogHasWhatTheIdentityProviderSaid(t *testing.T) {
	e, read := logged(t, Config{})
	q := ask(vic, "gitops", "helm.read")
	q.Principal.Asserted = host.Membership{Roles: []string{"editor", "nobodys"}}
	q.Principal.Unlisted = true
	e.Decide(t.Context(), q)
	e.Decide(t.Context(), ask(vic, "gitops", "helm.read"))
	records := read()
	if text, _ := json.Marshal(at(records[0], "custom", "asserted")); string(text) != `{"roles":["editor","nobodys"]}` {
		t.Errorf("asserted %s", text)
	}
	if at(records[0], "custom", "unlisted") != true {
		t.Errorf("%v", records[0]["custom"])
	}
	for _, key := range []string{"asserted", "unlisted", "plugin"} {
		if got := at(records[1], "custom", key); got != nil {
			t.Errorf("custom.%s: %v, of nobody", key, got)
		}
	}
}

// Whatever a record has, a mask can reach.
func TestAMaskReachesEveryPartOfARecord(t *testing.T) {
	mask := []string{"/input", "/result/reason", "/custom/asserted/teams", "/custom/plugin", "/labels/site", "/bundles", "/nowhere"}
	e, read := logged(t, Config{Labels: map[string]string{"site": "east"}, Log: Log{Mask: &mask}})
	q := ask(vic, "gitops", "helm.read")
	q.Route.Digest, q.Principal.Asserted = "sha256:plugin", host.Membership{Roles: []string{"editor"}, Teams: []string{"payments"}}
	for range 2 {
		e.Decide(t.Context(), q)
	}
	for _, r := range read() {
		if text, _ := json.Marshal(r["erased"]); string(text) != `["/input","/result/reason","/custom/asserted/teams","/custom/plugin","/labels/site","/bundles"]` {
			t.Errorf("erased %s", text)
		}
		text, _ := json.Marshal(r)
		for _, secret := range []string{"vic@", "permitted", "payments", "sha256:plugin", "east", "bundles\":"} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s is still there: %s", secret, text)
			}
		}
		if at(r, "result", "allow") != true || at(r, "custom", "asserted", "roles") == nil {
			t.Errorf("too much is erased: %s", text)
		}
	}
}

func TestALogSaysWhyThePolicyFailed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "policy.rego", "package bulkhead.authz\n\ndecision := true\n")
	e, read := logged(t, Config{Source: Source{Dir: dir}})
	e.Decide(t.Context(), ask(ada, "gitops", "helm.read"))
	if r := read(); len(r) != 1 || !strings.Contains(at(r[0], "error", "message").(string), "not an object") {
		t.Errorf("%v", r)
	}
}

// What a collector gets is what the file says, masked alike.
func TestAFileAndACollectorHaveTheSameDecisions(t *testing.T) {
	for name, mask := range map[string][]string{"everything": {}, "without people": {"/input/principal/user", "/result/obligations/impersonate"}} {
		t.Run(name, func(t *testing.T) {
			var got []*logs.LogRecord
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				z, err := gzip.NewReader(r.Body)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(z)
				var request collector.ExportLogsServiceRequest
				if err := proto.Unmarshal(body, &request); err != nil {
					t.Error(err)
					return
				}
				got = append(got, request.ResourceLogs[0].ScopeLogs[0].LogRecords...)
			}))
			defer srv.Close()
			w := newWorld(t, 12)
			e, read := logged(t, Config{Directory: w.directory, Log: Log{Mask: &mask, OTLP: &decisionlog.Server{URL: srv.URL + "/v1/logs"}}})
			for range 300 {
				q := w.question()
				q.Principal.Claims = map[string]any{"n": 1.5, "list": []any{"x", nil, true}, "big": 1 << 53}
				e.Decide(t.Context(), q)
			}
			records := read()
			if len(records) != 300 || len(got) != 300 {
				t.Fatalf("%d in the file, %d at the collector", len(records), len(got))
			}
			for i, r := range records {
				var body any
				text, _ := json.Marshal(plainValue(got[i].Body))
				if err := json.Unmarshal(text, &body); err != nil || !reflect.DeepEqual(body, any(r)) {
					t.Fatalf("the file has %v, the collector %s, %v", r, text, err)
				}
				attributes := map[string]any{}
				for _, kv := range got[i].Attributes {
					attributes[kv.Key] = plainValue(kv.Value)
				}
				if attributes["bulkhead.decision.id"] != r["decision_id"] || attributes["bulkhead.allow"] != at(r, "result", "allow") ||
					attributes["bulkhead.reason"] != at(r, "result", "reason", "code") || attributes["user.id"] != at(r, "input", "principal", "user") {
					t.Fatalf("attributes %v of %v", attributes, r)
				}
				if _, told := attributes["user.id"]; told != (len(mask) == 0) {
					t.Fatalf("attributes %v", attributes)
				}
				if stamp := time.Unix(0, int64(got[i].TimeUnixNano)).UTC().Format(time.RFC3339Nano); stamp != r["timestamp"] {
					t.Fatalf("at %s, the file says %v", stamp, r["timestamp"])
				}
			}
		})
	}
}

// plainValue is v as encoding/json has it.
func plainValue(v *common.AnyValue) any {
	switch v := v.Value.(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_BoolValue:
		return v.BoolValue
	case *common.AnyValue_IntValue:
		return v.IntValue
	case *common.AnyValue_DoubleValue:
		return v.DoubleValue
	case *common.AnyValue_ArrayValue:
		list := []any{}
		for _, x := range v.ArrayValue.Values {
			list = append(list, plainValue(x))
		}
		return list
	case *common.AnyValue_KvlistValue:
		object := map[string]any{}
		for _, kv := range v.KvlistValue.Values {
			object[kv.Key] = plainValue(kv.Value)
		}
		return object
	}
	return nil
}

// A destination that does not answer holds up no other. While its queue is full,
// effects are refused if the operator says so, reading goes on, every record that
// is lost is counted, and the other destination has what became of it all.
func TestAFullLogDeniesEffectsOrDrops(t *testing.T) {
	for _, whenFull := range []string{"deny", "drop"} {
		t.Run(whenFull, func(t *testing.T) {
			gate := make(chan struct{})
			srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-gate }))
			defer srv.Close()
			e, read := logged(t, Config{Log: Log{HTTP: &decisionlog.Server{URL: srv.URL}, Queue: 3, WhenFull: whenFull}})
			written := func(n uint64) func() bool {
				return func() bool { return e.Status().Log.Destinations["file"].Written == n }
			}
			change := ask(ada, "gitops", "helm.upgrade")
			change.Route.Mutates = true
			for range 3 {
				if d := e.Decide(t.Context(), change); !d.Allow {
					t.Errorf("decided %+v", d)
				}
			}
			await(t, "writing the file", written(3))
			d := e.Decide(t.Context(), change)
			if want := whenFull == "drop"; d.Allow != want || !want && d.Reason.Code != logFull {
				t.Errorf("an effect: %+v", d)
			}
			if d := e.Decide(t.Context(), ask(ada, "gitops", "helm.read")); !d.Allow {
				t.Errorf("reading: %+v", d)
			}
			// What runs by an earlier answer goes on: nothing new would go unrecorded.
			if d := e.Redecide(t.Context(), change); !d.Allow {
				t.Errorf("what runs already: %+v", d)
			}
			await(t, "writing the file", written(6))
			s := e.Status().Log
			if h := s.Destinations["http"]; h != (DestinationStatus{Dropped: 3, Waiting: 3}) || (s.Denied == 1) != (whenFull == "deny") {
				t.Errorf("%+v", s)
			}
			close(gate)
			records := read()
			s = e.Status().Log
			if h, f := s.Destinations["http"], s.Destinations["file"]; h != (DestinationStatus{Written: 3, Dropped: 3}) || f != (DestinationStatus{Written: 6}) {
				t.Errorf("after closing %+v", s)
			}
			if r := records[3]; r["decision_id"] != d.ID || at(r, "result", "allow") != d.Allow || at(r, "result", "reason", "code") != d.Reason.Code {
				t.Errorf("decided %+v, recorded %v", d, r["result"])
			}
		})
	}
}

// sink is a destination under a test's control.
type sink func(ctx context.Context, records []map[string]any) error

func (s sink) Write(ctx context.Context, records []map[string]any) error { return s(ctx, records) }

func (s sink) Close() error { return nil }

// brought offers n decisions to a log with these sinks.
func brought(n int, sinks map[string]decisionlog.Sink) *decisionLog {
	l := startLog(&Log{}, sinks, nil, slog.New(slog.DiscardHandler))
	for i := range n {
		r := record{
			answer: &answer{}, rev: &published{revision: &revision{content: &source.Content{}}}, id: strconv.Itoa(i), at: time.Now(),
		}
		r.set(ask(vic, "gitops", "helm.read"))
		l.offer(&r)
	}
	return l
}

func TestClosingWritesToAllDestinationsAtOnceAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := sink(func(ctx context.Context, _ []map[string]any) error { <-ctx.Done(); return ctx.Err() })
		down := sink(func(context.Context, []map[string]any) error { return errors.New("down") })
		l := brought(300, map[string]decisionlog.Sink{
			"file": sink(func(context.Context, []map[string]any) error { return nil }), "http": stuck, "otlp": down,
		})
		start := time.Now()
		if err := l.close(); err != nil || time.Since(start) != drainPeriod {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if s := l.status().Destinations; s["file"] != (DestinationStatus{Written: 300}) || s["http"].Dropped != 300 || s["otlp"].Dropped != 300 {
			t.Errorf("%+v", s)
		}
	})
}

func TestADestinationIsAskedAgainWhenItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		l := brought(1, map[string]decisionlog.Sink{"http": sink(func(context.Context, []map[string]any) error {
			at = append(at, time.Since(start))
			switch len(at) {
			case 1:
				return &decisionlog.Later{After: 30 * time.Second, Err: errors.New("busy")}
			case 2, 3:
				return errors.New("down")
			}
			return nil
		})})
		time.Sleep(time.Minute)
		if s := l.status().Destinations["http"]; s != (DestinationStatus{Written: 1}) {
			t.Errorf("%+v", s)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
		s := time.Second
		if want := []time.Duration{0, 30 * s, 40 * s, 50 * s}; !reflect.DeepEqual(at, want) {
			t.Errorf("asked at %v, want %v", at, want)
		}
	})
}

// Who waits for a destination to come back asks once more when the host stops.
func TestAStopDoesNotWaitForTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		l := brought(1000, map[string]decisionlog.Sink{"http": sink(func(context.Context, []map[string]any) error {
			if !up.Load() {
				return &decisionlog.Later{After: time.Hour, Err: errors.New("busy")}
			}
			return nil
		})})
		time.Sleep(time.Minute)
		up.Store(true)
		start := time.Now()
		if err := l.close(); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if s := l.status().Destinations["http"]; s != (DestinationStatus{Written: 1000}) {
			t.Errorf("%+v", s)
		}
	})
}

// What is refused is refused for good; the others of its batch are written.
func TestABadRecordTakesNoOthersAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := map[string]bool{}
		l := brought(100, map[string]decisionlog.Sink{"http": sink(func(_ context.Context, records []map[string]any) error {
			for _, r := range records {
				if r["decision_id"] == "42" {
					return &decisionlog.Refused{Records: len(records), Whole: true, Err: errors.New("it answers 400 Bad Request")}
				}
			}
			for _, r := range records {
				kept[r["decision_id"].(string)] = true
			}
			return nil
		})})
		if err := l.close(); err != nil {
			t.Error(err)
		}
		if s := l.status().Destinations["http"]; s.Written != 99 || s.Dropped != 1 || s.Waiting != 0 || len(kept) != 99 || kept["42"] {
			t.Errorf("%+v, kept %d", s, len(kept))
		}
	})
}

// The log is an exact basis for replaying: what is recorded, asked again,
// gives what was decided.
func TestARecordedQuestionGivesTheRecordedDecision(t *testing.T) {
	w := newWorld(t, 11)
	none := []string{"/nowhere"}
	e, read := logged(t, Config{Directory: w.directory, Log: Log{Mask: &none}})
	for range 200 {
		e.Decide(t.Context(), w.question())
	}
	var lines bytes.Buffer
	for _, r := range read() {
		text, _ := json.Marshal(r)
		lines.Write(append(text, '\n'))
	}
	shipped, err := ReadPolicy(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	report, err := Diff(t.Context(), nil, shipped, nil, &lines)
	if err != nil || report.Decisions != 200 || report.Changed != 0 || report.Masked+report.Other != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestDiffListsWhatWouldChange(t *testing.T) {
	e, read := logged(t, Config{})
	c := host.CapabilityCall{Name: "helm", Verb: "upgrade", Cluster: "prod", Namespace: "shop", Object: "web"}
	for range 3 {
		e.Decide(t.Context(), call(ada, c))
	}
	e.Decide(t.Context(), ask(vic, "gitops", "helm.read"))
	var lines bytes.Buffer
	for _, r := range read() {
		text, _ := json.Marshal(r)
		lines.Write(append(text, '\n'))
	}
	lines.WriteString(`{"path": "another", "input": {}}` + "\n")
	lines.WriteString(`{"path": "bulk`) // being written
	policy := func(text string) *Policy {
		dir := t.TempDir()
		write(t, dir, "p.rego", text)
		p, err := ReadPolicy(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	frozen := policy(`package bulkhead.authz

decision := {"allow": false, "reason": {"code": "frozen"}} if {
	input.capability.cluster == "prod"
} else := data.bulkhead.default.decision
`)
	report, err := Diff(t.Context(), nil, frozen, nil, bytes.NewReader(lines.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if report.Decisions != 4 || report.Questions != 2 || report.Changed != 3 || report.Other != 2 || len(report.Changes) != 1 {
		t.Fatalf("%+v", report)
	}
	if d := report.Changes[0]; d.What != "denies" || d.Count != 3 || d.User != string(ada) || d.New != "frozen" || !strings.Contains(d.Capability, "prod/shop/web") {
		t.Errorf("%+v", d)
	}
	// What a policy reads and the log lacks is not guessed.
	claims := policy(`package bulkhead.authz

decision := {"allow": input.principal.claims.dep == "ops", "reason": {"code": "dep"}}
`)
	report, err = Diff(t.Context(), frozen, claims, nil, bytes.NewReader(lines.Bytes()))
	if err != nil || report.Masked != 4 || report.Changed != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}
