package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

const watched = "kube://dev/api/v1/namespaces/shop/pods?watch=true&allowWatchBookmarks=true&resourceVersion=5"

func allow(*host.Question) host.Decision { return host.Decision{Allow: true} }

// A call answers soon after the first event, while the API server's answer goes on.
func TestAWatchAnswersWithTheEventsThatCome(t *testing.T) {
	var gone = make(chan struct{})
	a := newAPIServer(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"6"}}}`)
		fmt.Fprintln(w, `{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}`)
		fmt.Fprint(w, `{"type":"ADDED","obj`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	})
	resp, err := a.as(t, everything, allow)("GET", watched, "")
	if err != nil || strings.Count(string(resp.Body), "\n") != 2 || !strings.HasSuffix(string(resp.Body), `"7"}}}`+"\n") {
		t.Fatalf("%v, %v", resp, err)
	}
	<-gone
	if want := "GET /api/v1/namespaces/shop/pods?allowWatchBookmarks=true&resourceVersion=5&timeoutSeconds=25&watch=true"; a.got[0] != want {
		t.Errorf("asked for %s", a.got[0])
	}
}

func TestAWatchWithoutEventsAnswersWithNone(t *testing.T) {
	a := newAPIServer(t, func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() })
	resp, err := a.as(t, everything, allow)("GET", watched+"&timeoutSeconds=1", "")
	if err != nil || resp.Status != 200 || len(resp.Body) != 0 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestAnAnswerOfAWatchIsBounded(t *testing.T) {
	line := `{"type":"ADDED","object":{"metadata":{"name":"` + strings.Repeat("a", 300<<10) + `"}}}`
	a := newAPIServer(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprintln(w, line)
		}
	})
	resp, err := a.as(t, everything, allow)("GET", watched, "")
	if err != nil || len(resp.Body) > 2<<20 || !bytes.HasSuffix(resp.Body, []byte("}}}\n")) {
		t.Errorf("%v", err)
	}
	endless := newAPIServer(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprint(w, strings.Repeat("a", 1<<20))
		}
	})
	if _, err := endless.as(t, everything, allow)("GET", watched, ""); host.KindOf(err) != host.Upstream || !strings.Contains(err.Error(), "too large") {
		t.Error(err)
	}
}

func TestAFailureOfAWatchIsTold(t *testing.T) {
	expired := `{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version: 5 (9)"}}`
	for text, want := range map[string]int{
		expired: 410, "<html>": 502, `{"type":"ERROR","object":{}}`: 502, `{"type":"ERROR","object":{"code":99999}}`: 502,
	} {
		a := newAPIServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text) })
		_, err := a.as(t, everything, allow)("GET", watched, "")
		if x := capability.ErrorFrame(err); err == nil || x.Status != want {
			t.Errorf("%s: %v", text, err)
		}
		// What came before it is not lost.
		a = newAPIServer(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `{"type":"ADDED","object":{}}`)
			fmt.Fprintln(w, text)
		})
		if resp, err := a.as(t, everything, allow)("GET", watched, ""); err != nil || strings.Count(string(resp.Body), "\n") != 1 {
			t.Errorf("%s after an event: %v, %v", text, resp, err)
		}
	}
	refused := newAPIServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","code":403,"message":"pods is forbidden"}`)
	})
	_, err := refused.as(t, everything, allow)("GET", watched, "")
	if x := capability.ErrorFrame(err); x.Status != 403 || x.Message != "pods is forbidden" {
		t.Error(err)
	}
}

// A watch is a verb of its own, and reaches no further than one.
func TestAWatchIsPermittedAsSuch(t *testing.T) {
	grant := everything
	grant.Verbs = []string{"get", "list"}
	shop := everything
	shop.Namespaces = []string{"shop"}
	const all = "kube://dev/api/v1/pods?watch=true&resourceVersion=5"
	for name, c := range map[string]struct {
		grant  capability.Grant
		target string
		decide func(*host.Question) host.Decision
	}{
		"not granted":    {grant, watched, allow},
		"all namespaces": {shop, all, allow},
		"not permitted":  {everything, watched, func(q *host.Question) host.Decision { return host.Decision{Allow: q.Capability.Verb != "watch"} }},
		"values must be redacted": {everything, watched, func(*host.Question) host.Decision {
			return host.Decision{Allow: true, Obligations: host.Obligations{Redact: []string{"/items/*/x"}}}
		}},
		"only some are permitted": {everything, all, func(*host.Question) host.Decision {
			return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: []string{"shop"}}}
		}},
		"no namespace is permitted": {everything, watched, func(*host.Question) host.Decision {
			return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: []string{}}}
		}},
	} {
		a := newAPIServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"type":"ADDED","object":{}}`) })
		_, err := a.as(t, c.grant, c.decide)("GET", c.target, "")
		if x := capability.ErrorFrame(err); err == nil || x.Status != 403 || len(a.got) > 0 {
			t.Errorf("%s: %v, asked for %s", name, err, a.got)
		}
	}
}

// A real API server: what is created after a list is in the watch that begins there.
func TestAWatchOfARealCluster(t *testing.T) {
	editor := person(t, clustertest.Editor, host.Obligations{})
	const at = "kube://dev/api/v1/namespaces/shop/configmaps"
	_, _ = editor("DELETE", at+"/watch-test", "")
	resp, err := editor("GET", at+"?limit=1", "")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(resp.Body, &list); err != nil {
		t.Fatal(err)
	}
	if _, err := editor("POST", at, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"watch-test"}}`); err != nil {
		t.Fatal(err)
	}
	defer editor("DELETE", at+"/watch-test", "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for version := list.Metadata.ResourceVersion; ctx.Err() == nil; {
		resp, err := editor("GET", at+"?watch=true&fieldSelector=metadata.name%3Dwatch-test&resourceVersion="+version, "")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(resp.Body), `"type":"ADDED"`) && strings.Contains(string(resp.Body), `"name":"watch-test"`) {
			break
		}
	}
	if ctx.Err() != nil {
		t.Error("the object was not seen")
	}
}
