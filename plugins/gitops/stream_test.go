package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

// clusters are a kube capability that answers requests for changes per cluster, one after
// the other; an error or the last answer counts from then on.
type changing struct {
	t       *testing.T
	answers map[string][]any // by cluster: texts and *abi.Errors
	cursors []string         // CLUSTER CURSOR of each request
}

func (c *changing) answer(r *abi.Request) (*abi.Response, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Query().Get("changes") != "true" {
		c.t.Errorf("asked for %s", r.URL)
	}
	c.cursors = append(c.cursors, strings.TrimSpace(u.Host+" "+u.Query().Get("cursor")))
	list := c.answers[u.Host]
	if len(list) == 0 {
		return nil, &abi.Error{Status: 404, Origin: abi.OriginUpstream, Code: abi.CodeNotFound}
	}
	if len(list) > 1 {
		c.answers[u.Host] = list[1:]
	}
	if e, ok := list[0].(*abi.Error); ok {
		return nil, e
	}
	return &abi.Response{Status: 200, Body: []byte(list[0].(string))}, nil
}

func streaming(t *testing.T, capability string, c *changing, clusters ...string) *sdktest.Harness {
	c.t = t
	h := sdktest.New(t, manifest)
	h.Config(map[string]any{"clusters": clusters})
	h.Capability(capability, c.answer)
	return h
}

// events are the names and data of what was sent, and the last id.
func events(t *testing.T, out *sdktest.Outcome) (list []string, id string) {
	t.Helper()
	for _, m := range out.Sent {
		name, last, data, ok := abi.SplitEvent(m.Data)
		if m.Kind != abi.MessageEvent || !ok {
			t.Errorf("sent %d %s", m.Kind, m.Data)
		}
		list, id = append(list, name+" "+string(data)), last
	}
	return list, id
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func subscriptionEvents(cursor, complete, events string) string {
	return fmt.Sprintf(`{"cursor":%q,"complete":%s,"events":[%s]}`, cursor, complete, events)
}

const (
	oneSubscription = `{"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":"shop"},"spec":{"name":"pkg","source":"s"}}}`
	shownOne        = `{"name":"a","namespace":"shop","cluster":"one","package":"pkg","source":"s","sourceNamespace":""}`
)

func TestAStreamTellsEachClusterAndIsDone(t *testing.T) {
	c := &changing{answers: map[string][]any{
		"one":   {subscriptionEvents("7/all", "true", oneSubscription)},
		"two":   {&abi.Error{Status: 503, Code: abi.CodeUnavailable, Origin: abi.OriginUpstream, Message: "cluster \"two\" cannot be reached"}},
		"three": {&abi.Error{Status: 403, Code: abi.CodeForbidden, Origin: abi.OriginUpstream, Message: "no"}},
		// four has no such type.
	}}
	out := streaming(t, "kube", c, "one", "two", "three", "four").Session(sdktest.Request{Path: "/operator-subscriptions/stream"})
	got, id := events(t, out)
	expect(t, got,
		`cluster_data {"cluster":"one","complete":true,"subscriptions":[`+shownOne+`]}`,
		`cluster_skipped {"cluster":"two","message":"cluster \"two\" cannot be reached","reason":"offline","status":503}`,
		`cluster_error {"cluster":"three","message":"no","status":403}`,
		`cluster_data {"cluster":"four","complete":false,"subscriptions":[]}`,
		`done {"totalClusters":4,"completedClusters":2,"skippedOffline":1}`)
	if text, err := base64.RawURLEncoding.DecodeString(id); err != nil || string(text) != "one=7/all two= three= four=" {
		t.Errorf("the id is %s, %v", text, err)
	}
}

func TestAStreamFollowsAndResumesWhereItsIdEnds(t *testing.T) {
	c := &changing{answers: map[string][]any{"one": {
		subscriptionEvents("7/all", "true", oneSubscription), subscriptionEvents("7/all", "false", ""),
		subscriptionEvents("9/all", "false", `{"type":"DELETED","object":{"metadata":{"name":"a","namespace":"shop"}}}`),
		&abi.Error{Status: 502, Code: abi.CodeUpstream, Origin: abi.OriginUpstream, Message: "away"},
		&abi.Error{Status: 502, Code: abi.CodeUpstream, Origin: abi.OriginUpstream, Message: "away"},
		subscriptionEvents("9/all", "false", ""),
	}}}
	h := streaming(t, "kube", c, "one")
	out := h.Session(sdktest.Request{Path: "/operator-subscriptions/stream?follow=true"},
		sdktest.Idle(), sdktest.Idle(), sdktest.Idle(), sdktest.Idle(), sdktest.Idle())
	got, id := events(t, out)
	expect(t, got,
		`cluster_data {"cluster":"one","complete":true,"subscriptions":[`+shownOne+`]}`,
		`cluster_data {"cluster":"one","complete":false,"removed":[{"namespace":"shop","name":"a"}],"subscriptions":[]}`,
		`cluster_error {"cluster":"one","message":"away","status":502}`)
	if out.CloseCode != 0 || out.Response != nil || len(c.cursors) != 6 {
		t.Errorf("closed with %d, %+v after %q", out.CloseCode, out.Response, c.cursors)
	}
	c.cursors, c.answers["one"] = nil, []any{subscriptionEvents("12/all", "false", oneSubscription)}
	out = h.Session(sdktest.Request{Path: "/operator-subscriptions/stream", Header: []abi.Pair{{Name: "Last-Event-ID", Value: id}}})
	got, _ = events(t, out)
	expect(t, got, `cluster_data {"cluster":"one","complete":false,"subscriptions":[`+shownOne+`]}`, `done {"totalClusters":1,"completedClusters":1,"skippedOffline":0}`)
	expect(t, c.cursors, "one 9/all")
	for _, bad := range []string{"x", "!", base64.RawURLEncoding.EncodeToString([]byte("two=9/all")), base64.RawURLEncoding.EncodeToString([]byte("one=1 two=2"))} {
		c.cursors = nil
		h.Session(sdktest.Request{Path: "/operator-subscriptions/stream", Header: []abi.Pair{{Name: "Last-Event-ID", Value: bad}}})
		expect(t, c.cursors, "one")
	}
}

func TestAStreamOfOneClusterIsRefusedAsItsListWouldBe(t *testing.T) {
	c := &changing{answers: map[string][]any{"one": {&abi.Error{Status: 403, Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Message: "you may not do this"}}}}
	h := streaming(t, "kube", c, "one")
	for path, want := range map[string]int{
		"/kustomizations/stream?cluster=one": 403, "/argocd/applications/stream": 403, "/operators/stream?namespace=-x": 400,
		"/operators/stream?cluster=a/b": 400, "/flux/objects/stream?kind=Pod": 400,
	} {
		if out := h.Session(sdktest.Request{Path: path}); out.Accepted || out.Response == nil || out.Response.Status != want {
			t.Errorf("%s: %+v", path, out)
		}
	}
}

func TestAStreamThatIsNoLongerPermittedEndsWithoutDone(t *testing.T) {
	c := &changing{answers: map[string][]any{"one": {subscriptionEvents("7/all", "true", ""), &abi.Error{Status: 403, Code: abi.CodeForbidden, Origin: abi.OriginPolicy, Message: "you may not do this"}}}}
	out := streaming(t, "kube", c, "one").Session(sdktest.Request{Path: "/operators/stream?follow=true"}, sdktest.Idle(), sdktest.Idle())
	got, _ := events(t, out)
	expect(t, got, `cluster_data {"cluster":"one","complete":true,"operators":[]}`, `cluster_error {"cluster":"one","message":"you may not do this","status":403}`)
	if out.Response == nil || out.Response.Status != 403 {
		t.Errorf("ended with %+v", out.Response)
	}
}

func TestTheStreamOfReleasesShowsThoseThatChanged(t *testing.T) {
	c := &changing{answers: map[string][]any{"dev": {
		`{"cursor":"4/all","complete":true,"releases":[{"name":"web","namespace":"shop","revision":1,"status":"deployed"}]}`,
		`{"cursor":"6/all","releases":[],"removed":[{"namespace":"shop","name":"web"}]}`,
	}}}
	out := streaming(t, "helm", c, "dev").Session(sdktest.Request{Path: "/helm-releases/stream?follow=true"}, sdktest.Idle())
	got, _ := events(t, out)
	if len(got) != 2 || !strings.HasPrefix(got[0], `cluster_data {"cluster":"dev","complete":true,"releases":[{"cluster":"dev","name":"web","namespace":"shop","revision":1`) ||
		got[1] != `cluster_data {"cluster":"dev","complete":false,"releases":[],"removed":[{"namespace":"shop","name":"web"}]}` {
		t.Errorf("got %q", got)
	}
}

func TestStreamsShowWhatTheirListsShow(t *testing.T) {
	object := func(text string) string {
		return subscriptionEvents("1/all", "true", `{"type":"MODIFIED","object":`+text+`}`)
	}
	for path, c := range map[string]struct{ object, want string }{
		"/argocd/applications/stream":           {`{"metadata":{"name":"a","namespace":"argocd"},"spec":{"project":"p"}}`, `"items":[{"name":"a","namespace":"argocd","cluster":"one","project":"p"`},
		"/argocd/applications/stream?project=q": {`{"metadata":{"name":"a","namespace":"argocd"},"spec":{"project":"p"}}`, `"items":[]`},
		"/kustomizations/stream":                {`{"metadata":{"name":"k","namespace":"flux"},"spec":{"suspend":true}}`, `"kustomizations":[{"kind":"Kustomization","name":"k","namespace":"flux","cluster":"one"`},
		"/flux/objects/stream?kind=HelmRelease": {`{"metadata":{"name":"h","namespace":"flux"}}`, `"items":[{"kind":"HelmRelease","name":"h"`},
		"/operators/stream":                     {`{"metadata":{"name":"c","namespace":"n","labels":{"olm.copiedFrom":"x"}}}`, `"operators":[]`},
	} {
		h := streaming(t, "kube", &changing{answers: map[string][]any{"one": {object(c.object)}}}, "one")
		got, _ := events(t, h.Session(sdktest.Request{Path: path}))
		if len(got) != 2 || !strings.Contains(got[0], c.want) || !json.Valid([]byte(strings.TrimPrefix(got[0], "cluster_data "))) {
			t.Errorf("%s: got %q", path, got)
		}
	}
}
