package adapter

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/sandboxtest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// policy compiles testdata/policy.
func policy(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "policy.wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-o", out, "./testdata/policy")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func TestAPolicyOfKubewardenJudgesAnObject(t *testing.T) {
	wasm := policy(t)
	e := &env{t: t}
	for _, c := range []struct{ why, settings, body, want string }{
		{"accepted", `{"labels": ["owner"]}`, `{"object": {"metadata": {"labels": {"owner": "ann"}}}}`, `"accepted":true`},
		{"rejected", `{"labels": ["owner"]}`, `{"object": {"metadata": {}}}`, "label owner is missing"},
		{"no settings", "", `{"object": {}}`, `"accepted":true`},
		{"mutated", `{"mutate": true}`, `{"object": {"metadata": {}}}`, `"mutated_object":`},
		{"a host call", `{"call": true}`, `{"object": {}}`, "Bulkhead does not answer the host call kubewarden/kubernetes/get_resource of a policy"},
		{"not an object", "{}", `[]`, "the body must be the request of an AdmissionReview"},
		{"empty", "{}", ``, "the body must be the request of an AdmissionReview"},
	} {
		a, module := load(t, wasm, &manifest.Manifest{ABI: manifest.Kubewarden}, c.settings, e)
		i, err := module.Acquire(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := a.Handle(t.Context(), i, e, &abi.Request{Method: "POST", URL: "/", Body: []byte(c.body)})
		module.Release(i)
		got := ""
		if x, ok := err.(*abi.Error); ok {
			got = x.Detail
		} else if err != nil {
			got = err.Error()
		} else {
			got = string(resp.Body)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %q", c.why, got, c.want)
		}
	}
}

func TestAPolicyThatCannotWorkIsRefusedAtTheLoad(t *testing.T) {
	wasm := policy(t)
	answers := func(text string) []byte {
		return sandboxtest.AssembleText(`(module (import "wapc" "__guest_response" (func $answer (param i32 i32)))
			(memory (export "memory") 1) (data (i32.const 0) "` + strings.ReplaceAll(text, `"`, `\22`) + `")
			(func (export "__guest_call") (param i32 i32) (result i32) (call $answer (i32.const 0) (i32.const ` + strconv.Itoa(len(text)) + `)) (i32.const 1)))`)
	}
	e := &env{t: t}
	for _, c := range []struct {
		why, settings string
		wasm          []byte
		want          string
	}{
		{"works", `{"labels": []}`, wasm, ""},
		{"its settings are wrong", `{"labels": "owner"}`, wasm, "config: the policy refuses these settings: json"},
		{"another protocol", "", answers(`"v2"`), `protocol "v2"`},
		{"no validation of settings", "", answers(`"v1"`), "is not a validation of settings"},
		{"not of Kubewarden", "", sandboxtest.AssembleText(`(module (memory (export "memory") 1) (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 0)))`), "is it a policy of Kubewarden?"},
	} {
		a, module := load(t, c.wasm, &manifest.Manifest{ABI: manifest.Kubewarden}, c.settings, e)
		i, err := module.Acquire(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		err = a.Check(t.Context(), i, e)
		module.Release(i)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.why, err, c.want)
		}
	}
	if _, err := New(&manifest.Manifest{ABI: manifest.Kubewarden}, "x", []byte(`[]`)); err == nil {
		t.Error("a list was accepted as settings")
	}
}
