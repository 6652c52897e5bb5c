package sdktest_test

import (
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

// A test of a plugin's own package. The manifest is the plugin's manifest.json,
// embedded by //go:embed.
func ExampleHarness_Do() {
	_ = func(t *testing.T) { // func TestPodsAreListed(t *testing.T)
		h := sdktest.New(t, manifest)
		h.Capability("kube", func(r *abi.Request) (*abi.Response, error) {
			if r.URL != "kube://dev/api/v1/namespaces/shop/pods" {
				return nil, &abi.Error{Status: 403, Origin: abi.OriginPolicy, Message: "not permitted"}
			}
			return &abi.Response{Status: 200, Body: []byte(`{"items": []}`)}, nil
		})
		if resp := h.Do(sdktest.Request{Path: "/list?namespace=shop"}); resp.Status != 200 {
			t.Errorf("got %d %s", resp.Status, resp.Text())
		}
		if resp := h.Do(sdktest.Request{Path: "/list?namespace=bank"}); resp.Status != 403 {
			t.Errorf("got %d %s, want the refusal", resp.Status, resp.Text())
		}
	}
}

// A client that says two things and leaves.
func ExampleHarness_Session() {
	_ = func(t *testing.T) { // func TestTalk(t *testing.T)
		h := sdktest.New(t, manifest)
		out := h.Session(sdktest.Request{Path: "/talk"}, sdktest.Text("hi"), sdktest.Text("bye"))
		if len(out.Sent) != 2 || string(out.Sent[0].Data) != "you said hi" {
			t.Errorf("got %+v", out)
		}
	}
}
