package audit

import (
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// exported reads a request as a collector does.
func exported(t *testing.T, r *http.Request) *logs.ResourceLogs {
	t.Helper()
	z, err := gzip.NewReader(r.Body)
	if err != nil || r.Method != "POST" || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		t.Fatalf("%v, %s %v", err, r.Method, r.Header)
	}
	body, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var request collector.ExportLogsServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	if len(request.ResourceLogs) != 1 || len(request.ResourceLogs[0].ScopeLogs) != 1 {
		t.Fatalf("%v", &request)
	}
	return request.ResourceLogs[0]
}

func TestACollectorGetsOpenTelemetrysShape(t *testing.T) {
	var got *logs.ResourceLogs
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got = exported(t, r); r.URL.Path != "/v1/logs" || r.Header.Get("Authorization") != "Bearer sesame" {
			t.Errorf("%s, %v", r.URL, r.Header)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer srv.Close()
	dir := t.TempDir()
	token, ca := filepath.Join(dir, "token"), filepath.Join(dir, "ca.pem")
	pem := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := errors.Join(os.WriteFile(token, []byte("sesame\n"), 0o600), os.WriteFile(ca, pem, 0o600)); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{OTLP: &Server{URL: srv.URL + "/v1/logs", TokenFile: token, CAFile: ca}})
	full := document{
		"labels": document{"id": "host-1", "site": "east"}, "decision_id": "d1", "timestamp": "2026-11-26T07:00:00.000000005Z",
		"input":  document{"principal": document{"user": "ann@example.com"}, "route": document{"action": "a:b"}},
		"result": document{"allow": false, "reason": document{"code": "no_action"}},
		"custom": document{"policy": "sha256:p", "plugin": document{"digest": "sha256:q", "generation": uint64(3)}},
		"n":      []any{json.Number("7"), json.Number("1.5"), json.Number("1e400"), int64(-1), 0.25, nil, true, "caf\xe9"},
	}
	before := time.Now()
	if err := s.Write(t.Context(), []document{full, {"result": document{"allow": true}}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		got  proto.Message
		want string
	}{
		"resource": {got.Resource, `{"attributes":[{"key":"id","value":{"stringValue":"host-1"}},
			{"key":"service.instance.id","value":{"stringValue":"host-1"}},{"key":"service.name","value":{"stringValue":"bulkhead"}},
			{"key":"site","value":{"stringValue":"east"}}]}`},
		"scope": {got.ScopeLogs[0].Scope, `{"name":"github.com/seed-a3fb47d6/bulkhead/decisions"}`},
		"full": {got.ScopeLogs[0].LogRecords[0], `{"timeUnixNano":"1795676400000000005","severityNumber":"SEVERITY_NUMBER_INFO","severityText":"INFO",
			"eventName":"bulkhead.decision",
			"attributes":[{"key":"bulkhead.decision.id","value":{"stringValue":"d1"}},{"key":"user.id","value":{"stringValue":"ann@example.com"}},
			{"key":"bulkhead.action","value":{"stringValue":"a:b"}},{"key":"bulkhead.allow","value":{"boolValue":false}},
			{"key":"bulkhead.reason","value":{"stringValue":"no_action"}},{"key":"bulkhead.policy.digest","value":{"stringValue":"sha256:p"}},
			{"key":"bulkhead.plugin.digest","value":{"stringValue":"sha256:q"}}],
			"body":{"kvlistValue":{"values":[
			{"key":"custom","value":{"kvlistValue":{"values":[{"key":"plugin","value":{"kvlistValue":{"values":[
			{"key":"digest","value":{"stringValue":"sha256:q"}},{"key":"generation","value":{"intValue":"3"}}]}}},{"key":"policy","value":{"stringValue":"sha256:p"}}]}}},
			{"key":"decision_id","value":{"stringValue":"d1"}},
			{"key":"input","value":{"kvlistValue":{"values":[{"key":"principal","value":{"kvlistValue":{"values":[{"key":"user","value":{"stringValue":"ann@example.com"}}]}}},
			{"key":"route","value":{"kvlistValue":{"values":[{"key":"action","value":{"stringValue":"a:b"}}]}}}]}}},
			{"key":"labels","value":{"kvlistValue":{"values":[{"key":"id","value":{"stringValue":"host-1"}},{"key":"site","value":{"stringValue":"east"}}]}}},
			{"key":"n","value":{"arrayValue":{"values":[{"intValue":"7"},{"doubleValue":1.5},{"stringValue":"1e400"},{"intValue":"-1"},{"doubleValue":0.25},{},{"boolValue":true},{"stringValue":"caf\ufffd"}]}}},
			{"key":"result","value":{"kvlistValue":{"values":[{"key":"allow","value":{"boolValue":false}},
			{"key":"reason","value":{"kvlistValue":{"values":[{"key":"code","value":{"stringValue":"no_action"}}]}}}]}}},
			{"key":"timestamp","value":{"stringValue":"2026-11-26T07:00:00.000000005Z"}}]}}}`},
		"what is left after a mask": {got.ScopeLogs[0].LogRecords[1], `{"severityNumber":"SEVERITY_NUMBER_INFO","severityText":"INFO","eventName":"bulkhead.decision",
			"attributes":[{"key":"bulkhead.allow","value":{"boolValue":true}}],
			"body":{"kvlistValue":{"values":[{"key":"result","value":{"kvlistValue":{"values":[{"key":"allow","value":{"boolValue":true}}]}}}]}}}`},
	} {
		if l, ok := c.got.(*logs.LogRecord); ok {
			if seen := time.Unix(0, int64(l.ObservedTimeUnixNano)); seen.Before(before) || time.Since(seen) < 0 {
				t.Errorf("%s: observed %v", name, seen)
			}
			l.ObservedTimeUnixNano = 0
		}
		want := proto.Clone(c.got)
		proto.Reset(want)
		if err := protojson.Unmarshal([]byte(c.want), want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !proto.Equal(c.got, want) {
			t.Errorf("%s: %s", name, protojson.Format(c.got))
		}
	}
}

// A collector that was away for an hour learns when the effects were.
func TestARecordOfTheAuditHasItsTime(t *testing.T) {
	at := time.Date(2026, 11, 26, 7, 0, 0, 5, time.UTC)
	r := &record{id: "x", stage: StageEvent, at: at, event: Event{Kind: KindHost}}
	if got := auditStream.logRecord(r.Document(), at.Add(time.Hour)); int64(got.TimeUnixNano) != at.UnixNano() {
		t.Errorf("%d, want %d", got.TimeUnixNano, at.UnixNano())
	}
}

// A collector may take some records and not others; those come never again.
func TestWhatACollectorRejectsIsTold(t *testing.T) {
	encode := func(rejected int64, message string) string {
		text, err := proto.Marshal(&collector.ExportLogsServiceResponse{PartialSuccess: &collector.ExportLogsPartialSuccess{
			RejectedLogRecords: rejected, ErrorMessage: message,
		}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const ours = "application/x-protobuf"
	for name, c := range map[string]struct {
		kind, answer string
		rejected     int
		want         string // of the error; "" if there is none
	}{
		"all is well":              {ours, "", 0, ""},
		"a warning":                {ours, encode(0, "deprecated"), 0, ""},
		"another kind of answer":   {"application/json", "{}", 0, ""},
		"some":                     {ours, encode(2, "too old"), 2, "the server refuses records: too old"},
		"more than there were":     {ours, encode(1<<40, "too old"), 3, "the server refuses records: too old"},
		"fewer than none":          {ours, encode(-1, "what"), 0, ""},
		"for a reason of any kind": {ours, encode(1, "line\nbreak"+strings.Repeat("x", 1000)), 1, "the server refuses records: line break" + strings.Repeat("x", 190) + "…"},
		"an answer without end":    {ours, encode(1, strings.Repeat("x", 1<<20)), 0, "the server answers with success, but the body is not"},
		"a page":                   {ours, "<!DOCTYPE html>", 0, "the server answers with success, but the body is not"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			_, _ = io.WriteString(w, c.answer)
		}))
		s := open(t, Config{OTLP: &Server{URL: srv.URL}})
		err := s.Write(t.Context(), []document{{}, {}, {}})
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		var r *refused
		if errors.As(err, &r); r == nil && c.rejected > 0 || r != nil && (r.records != c.rejected || r.whole) {
			t.Errorf("%s: %+v", name, r)
		}
		srv.Close()
	}
}
