package authz

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestADecisionIsReadWhole(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(`{
		"allow": true, "reason": {"code": "x", "args": {"a": ["b"]}},
		"obligations": {
			"impersonate": {"user": "ann", "groups": ["bulkhead:role:viewer"]},
			"max_session": "30m", "idle": "90s", "namespaces": ["shop"], "resource_groups": [], "redact": ["/values"], "record": "all"
		}}`), &v); err != nil {
		t.Fatal(err)
	}
	got, err := ParseDecision(v)
	want := host.Decision{
		Allow:  true,
		Reason: host.Reason{Code: "x", Args: map[string]any{"a": []any{"b"}}},
		Obligations: host.Obligations{
			Impersonate: &host.Impersonation{User: "ann", Groups: []string{"bulkhead:role:viewer"}},
			MaxSession:  30 * time.Minute, Idle: 90 * time.Second,
			Namespaces: []string{"shop"}, ResourceGroups: []string{}, Redact: []string{"/values"}, Record: host.RecordAll,
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestAMisshapenDecisionIsAnError(t *testing.T) {
	for _, text := range []string{
		`null`, `true`, `[]`, `{}`, `{"allow": true}`, `{"reason": {"code": "x"}}`,
		`{"allow": 1, "reason": {"code": "x"}}`,
		`{"allow": true, "reason": "x"}`,
		`{"allow": true, "reason": {"code": ""}}`,
		`{"allow": true, "reason": {"code": "x", "args": []}}`,
		`{"allow": true, "reason": {"code": "x", "why": "y"}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligation": {}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": []}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"max_session": 30}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"max_session": "0s"}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"idle": "-5m"}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"namespaces": "shop"}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"namespaces": ["shop", 1]}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"record": "full"}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"record": ""}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"redact": ["data"]}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"redact": [""]}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"impersonate": {}}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"impersonate": {"user": ""}}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"impersonate": {"user": "system:admin"}}}`,
		`{"allow": true, "reason": {"code": "x"}, "obligations": {"impersonate": {"user": "a", "extra": {}}}}`,
		`{"allow": false, "reason": {"code": "x"}, "obligations": {"wear": "a hat"}}`,
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if d, err := ParseDecision(v); err == nil || !reflect.ValueOf(d).IsZero() {
			t.Errorf("%s is read as %+v, %v", text, d, err)
		}
	}
}

func FuzzParseDecision(f *testing.F) {
	f.Add([]byte(`{"allow": true, "reason": {"code": "x", "args": {}}, "obligations": {"impersonate": {"user": "a", "groups": ["b"]}, "idle": "1m"}}`))
	f.Add([]byte(`{"allow": false, "reason": {"code": "x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if json.Unmarshal(data, &v) != nil {
			return
		}
		d, err := ParseDecision(v)
		if err != nil && d.Allow {
			t.Error("an error that allows")
		}
		if i := d.Obligations.Impersonate; i != nil && i.User == "" {
			t.Error("acting as nobody")
		}
	})
}

func TestARefusalHasNoConditions(t *testing.T) {
	for allow, want := range map[bool]time.Duration{true: time.Minute, false: 0} {
		d, err := ParseDecision(map[string]any{"allow": allow, "reason": map[string]any{"code": "x"}, "obligations": map[string]any{"idle": "1m"}})
		if err != nil || d.Allow != allow || d.Obligations.Idle != want {
			t.Errorf("%+v, %v", d, err)
		}
	}
}
