package authz

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
)

// logged opens an engine that logs to a file, and reads that after closing it.
func logged(t *testing.T, cfg Config) (*Engine, func() []map[string]any) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	cfg.Log.File = &audit.File{Path: path}
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
	e, read := logged(t, Config{Labels: map[string]string{"site": "east"}, Log: audit.Config{Mask: &mask}})
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
			e, read := logged(t, Config{Directory: w.directory, Log: audit.Config{Mask: &mask, OTLP: &audit.Server{URL: srv.URL + "/v1/logs"}}})
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
			e, read := logged(t, Config{Log: audit.Config{HTTP: &audit.Server{URL: srv.URL}, Queue: 3, WhenFull: whenFull}})
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
			if want := whenFull == "drop"; d.Allow != want || !want && d.Reason.Code != LogFull {
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
			if h := s.Destinations["http"]; h != (audit.DestinationStatus{Dropped: 3, Waiting: 3}) || (s.Denied == 1) != (whenFull == "deny") {
				t.Errorf("%+v", s)
			}
			close(gate)
			records := read()
			s = e.Status().Log
			if h, f := s.Destinations["http"], s.Destinations["file"]; h != (audit.DestinationStatus{Written: 3, Dropped: 3}) || f != (audit.DestinationStatus{Written: 6}) {
				t.Errorf("after closing %+v", s)
			}
			if r := records[3]; r["decision_id"] != d.ID || at(r, "result", "allow") != d.Allow || at(r, "result", "reason", "code") != d.Reason.Code {
				t.Errorf("decided %+v, recorded %v", d, r["result"])
			}
		})
	}
}
