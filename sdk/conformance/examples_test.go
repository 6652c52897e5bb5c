package conformance

import (
	"context"
	"os"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// small is the most that a hello may have, in bytes, in languages without a runtime.
const small = 60_000

func TestHelloOfEveryLanguageGreetsAndTheSmallOnesAreSmall(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			wasm := l.plugin(t, l.hello)
			w, err := newWorld(t, wasm, `{}`, plugin.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			want(t, "the answer", w.get(t, "/hello"), "hello ann@example.com")
			info, err := os.Stat(wasm)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes", info.Size())
			if l.script != "" && info.Size() > small {
				t.Errorf("hello has %d bytes, the limit is %d", info.Size(), small)
			}
		})
	}
}

func TestPodsAreListedInEveryLanguage(t *testing.T) {
	for _, l := range languages {
		if l.pods == "" {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			w, err := newWorld(t, l.plugin(t, l.pods), `{}`, plugin.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			answer := func(status int, body string) {
				w.kube.answer(func(context.Context, *abi.Request) (*abi.Response, error) {
					return &abi.Response{Status: status, Body: []byte(body)}, nil
				})
			}
			const target = "/list?cluster=dev&namespace=sh%20op%2F.."
			for body, names := range map[string]string{
				`{"kind": "PodList", "metadata": {"x": [1, {"items": "}"}]}, "items": [
					{"spec": {"name": "no", "metadata": {}}, "metadata": {"labels": {"a": "\"b"}, "name": "web-0"}}, {"metadata": {"name": "ü\u00fc\ud83d\ude00\"\\\n"}}]}`: "[\"web-0\",\"üü😀\\\"\\\\\\u000a\"]",
				`{"items": []}`:   `[]`,
				`{"items": null}`: `[]`,
			} {
				answer(200, body)
				got := w.get(t, target)
				if got != names && got != "[\"web-0\",\"üü😀\\\"\\\\\\n\"]" {
					t.Errorf("%s gives %s", body, got)
				}
				want(t, "the call", w.kube.seen()[0].URL, "kube://dev/api/v1/namespaces/sh%20op%2F../pods")
			}
			// What is malformed neither traps nor loops.
			for _, body := range []string{"", "{", `{"items": [`, `{"items": [{"metadata": {"name": "x`, `{"items": [,,]}`, `{"items" 1}`, `["\`, `{"items": [{}{}]}`} {
				answer(200, body)
				if _, err := w.do(t, request{target: target}); err != nil && statusOf(err) != 502 {
					t.Errorf("%s: %v", body, err)
				}
			}
			answer(404, `{"kind": "Status", "message": "namespaces \"shop\" not found"}`)
			if _, err := w.do(t, request{target: target}); statusOf(err) != 404 || as[*host.Error](t, err).Message != `namespaces "shop" not found` {
				t.Errorf("%v", err)
			}
			w.allow.Store(false)
			if _, err := w.do(t, request{target: target}); statusOf(err) != 403 {
				t.Errorf("%v", err)
			}
		})
	}
}

func BenchmarkHello(b *testing.B) {
	for _, l := range languages {
		b.Run(l.name, func(b *testing.B) {
			w, err := newWorld(b, l.plugin(b, l.hello), `{}`, plugin.Limits{})
			if err != nil {
				b.Fatal(err)
			}
			c := w.call(b, request{target: "/hello"})
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			for b.Loop() {
				if _, err := w.plugin.Handle(ctx, c); err != nil {
					b.Fatal(err)
				}
				c.Release()
			}
		})
	}
}
