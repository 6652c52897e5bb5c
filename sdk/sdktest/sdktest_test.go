package sdktest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

const manifest = `{
  "name": "probe", "version": "1.0.0",
  "routes": [
    {"name": "who", "method": "GET", "path": "/who", "action": "who.read"},
    {"name": "item", "method": "GET", "path": "/{cluster}/item", "action": "item.read",
     "resource": {"cluster": "path:cluster", "namespace": "query:ns"}, "required": ["cluster", "namespace"]},
    {"name": "listed", "method": "GET", "path": "/listed", "action": "listed.read"},
    {"name": "unlisted", "method": "GET", "path": "/unlisted", "action": "unlisted.read"},
    {"name": "trap", "method": "GET", "path": "/trap", "action": "trap.read"},
    {"name": "talk", "kind": "socket", "method": "GET", "path": "/", "action": "talk.read"}
  ],
  "capabilities": [{"name": "kube", "reason": "test", "optional": true}]
}`

var (
	color   struct{ Color string }
	handled int // lost when the plugin is started again
)

func init() {
	sdk.OnStart(func(s *sdk.Start) error {
		color.Color, handled = "", 0
		if s.Denied("nothing") {
			return sdk.Errorf(500, "denied what nobody asked for")
		}
		return s.Config(&color)
	})
	sdk.Handle("who", func(*sdk.Request) (*sdk.Response, error) {
		handled++
		return sdk.Text(200, fmt.Sprint(color.Color, " ", handled)), nil
	})
	sdk.Handle("item", func(r *sdk.Request) (*sdk.Response, error) {
		return sdk.Text(200, r.Param("cluster")+" "+r.Query("ns")), nil
	})
	sdk.Handle("listed", func(*sdk.Request) (*sdk.Response, error) { return nil, kube.Cluster("c").Get("/api", nil) })
	sdk.Handle("unlisted", func(*sdk.Request) (*sdk.Response, error) {
		_, err := helm.Cluster("c").Releases("", helm.Page{})
		return nil, err
	})
	sdk.Handle("trap", func(*sdk.Request) (*sdk.Response, error) { panic("trap") })
	session.Handle("talk", func(r *sdk.Request, s *session.Session) error {
		if err := s.SendText("hi"); err != nil || r.Query("fail") == "" {
			return err
		}
		return failures[r.Query("fail")]
	})
}

// failures are what the handler of the socket returns after it has said hi.
var failures = map[string]error{"client": sdk.Errorf(422, "as you wish"), "plugin": errors.New("private"), "upstream": sdk.Errorf(502, "the cluster failed")}

// watched is a TB whose failures are the outcome of a test.
type watched struct {
	testing.TB
	failures []string
}

func (w *watched) Errorf(format string, args ...any) {
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}

func TestAHarnessFailsTheTestWhenManifestAndHandlersDiffer(t *testing.T) {
	w := &watched{TB: t}
	sdktest.New(w, strings.NewReplacer(`"name": "who"`, `"name": "whom"`, `"kind": "socket", `, "").Replace(manifest))
	want := []string{`route "whom" (GET /who) of the manifest has no handler`, `"talk"`, `the handler "who" has no route in the manifest`}
	for _, text := range want {
		if !strings.Contains(strings.Join(w.failures, "\n"), text) {
			t.Errorf("no failure %q in %q", text, w.failures)
		}
	}
}

func TestACapabilityThatIsNotInTheManifestFailsTheTestAndIsRefused(t *testing.T) {
	w := &watched{TB: t}
	h := sdktest.New(w, manifest)
	resp := h.Do(sdktest.Request{Path: "/unlisted"})
	if len(w.failures) != 1 || !strings.Contains(w.failures[0], `"helm"`) {
		t.Errorf("failures: %q", w.failures)
	}
	if resp.Status != 403 || resp.Err.Code != abi.CodeNotGranted || resp.Err.Origin != abi.OriginGrant {
		t.Errorf("got %+v", resp.Err)
	}
	h.Capability("helm", nil)
	if len(w.failures) != 2 {
		t.Errorf("granting it did not fail: %q", w.failures)
	}
}

func TestACapabilityWithoutAGrantIsRefusedAsByTheHost(t *testing.T) {
	resp := sdktest.New(t, manifest).Do(sdktest.Request{Path: "/listed"})
	if resp.Status != 403 || resp.Err.Code != abi.CodeNotGranted || resp.Err.Origin != abi.OriginGrant {
		t.Errorf("got %+v", resp.Err)
	}
}

func TestRoutesMatchAsInTheHost(t *testing.T) {
	h := sdktest.New(t, manifest)
	for _, c := range []struct {
		r      sdktest.Request
		status int
		text   string
	}{
		{sdktest.Request{Path: "/dev/item?ns=shop"}, 200, "dev shop"},
		{sdktest.Request{Path: "/dev/item"}, 400, "namespace is required"},
		{sdktest.Request{Path: "//item?ns=shop"}, 404, "not found"},
		{sdktest.Request{Path: "/dev/item/x?ns=shop"}, 404, "not found"},
		{sdktest.Request{Path: "/who", Method: "POST"}, 404, "not found"},
		{sdktest.Request{Path: "/"}, 404, "not found"},
	} {
		if resp := h.Do(c.r); resp.Status != c.status || !strings.Contains(resp.Text(), c.text) {
			t.Errorf("%+v: got %d %s", c.r, resp.Status, resp.Text())
		}
	}
	if out := h.Session(sdktest.Request{Path: "/who"}); out.Accepted || out.Response.Status != 404 {
		t.Errorf("a unary route as a session: %+v", out)
	}
}

func TestATrapStartsThePluginAgain(t *testing.T) {
	h := sdktest.New(t, manifest)
	h.Config(map[string]string{"color": "red"})
	for _, want := range []string{"red 1", "red 2"} {
		if got := h.Do(sdktest.Request{Path: "/who"}).Text(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if resp := h.Do(sdktest.Request{Path: "/trap"}); resp.Status != 502 || resp.Err.Code != abi.CodeTrap {
		t.Errorf("got %+v", resp.Err)
	}
	if got := h.Do(sdktest.Request{Path: "/who"}).Text(); got != "red 1" {
		t.Errorf("after the trap: %q", got)
	}
}

func TestHarnessesInParallelKeepTheirOwnConfig(t *testing.T) {
	var wg sync.WaitGroup
	for _, name := range []string{"red", "green", "blue"} {
		wg.Go(func() {
			h := sdktest.New(t, manifest)
			h.Config(map[string]string{"color": name})
			for range 50 {
				if got := h.Do(sdktest.Request{Path: "/who"}).Text(); !strings.HasPrefix(got, name+" ") {
					t.Errorf("%s saw %q", name, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestAHandlersErrorClosesASessionAsTheHostDoes(t *testing.T) {
	h := sdktest.New(t, manifest)
	for fail, want := range map[string]string{"": "0 ", "client": "4000 as you wish", "plugin": "1011 the plugin failed", "upstream": "1011 the cluster failed"} {
		out := h.Session(sdktest.Request{Path: "/?fail=" + fail})
		if got := fmt.Sprint(out.CloseCode, " ", out.CloseReason); !out.Accepted || len(out.Sent) != 1 || got != want {
			t.Errorf("%q: %s, %+v, want %s", fail, got, out, want)
		}
	}
}

// A test that goes on in spite of the failure sees what the plugin itself answers.
func TestARouteWithoutAHandlerFailsTheTestAndAnswers404(t *testing.T) {
	w := &watched{TB: t}
	h := sdktest.New(w, strings.Replace(manifest, `"name": "who"`, `"name": "whom"`, 1))
	resp := h.Do(sdktest.Request{Path: "/who"})
	if len(w.failures) == 0 || resp.Status != 404 || resp.Err.Code != abi.CodeNoHandler {
		t.Errorf("%q, %+v", w.failures, resp.Err)
	}
}
