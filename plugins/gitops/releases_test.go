package main

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

// fleet is a helm capability of several clusters, which honours limit and after.
type fleet struct {
	names map[string][]string // by cluster; a cluster without an entry answers 503
	asked []string
}

func (f *fleet) answer(r *abi.Request) (*abi.Response, error) {
	f.asked = append(f.asked, r.URL)
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	names, ok := f.names[u.Host]
	if !ok {
		return nil, &abi.Error{Code: abi.CodeUnavailable, Origin: abi.OriginUpstream, Status: 503, Message: "the cluster is starting"}
	}
	type release struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	}
	var out struct {
		Releases []release        `json:"releases"`
		Errors   []map[string]any `json:"errors,omitempty"`
		Next     string           `json:"next,omitempty"`
	}
	limit := len(names)
	if text := u.Query().Get("limit"); text != "" {
		_ = json.Unmarshal([]byte(text), &limit)
	}
	for _, name := range names {
		if after := strings.TrimPrefix(u.Query().Get("after"), "shop/"); name <= after {
			continue
		}
		if len(out.Releases) == limit {
			out.Next = "shop/" + out.Releases[limit-1].Name
			break
		}
		out.Releases = append(out.Releases, release{name, "shop"})
	}
	if u.Host == "b" {
		out.Errors = []map[string]any{{"namespace": "bank", "status": 403, "message": "secrets is forbidden"}}
	}
	body, err := json.Marshal(out)
	return &abi.Response{Status: 200, Body: body}, err
}

func (f *fleet) serve(t *testing.T) *sdktest.Harness {
	h := sdktest.New(t, manifest)
	h.Config(map[string]any{"defaultCluster": "a", "clusters": []string{"a", "away", "b"}})
	h.Capability("helm", f.answer)
	return h
}

func listed(t *testing.T, h *sdktest.Harness, path string) releasesBody {
	t.Helper()
	resp := h.Do(sdktest.Request{Path: path})
	var out releasesBody
	if err := json.Unmarshal([]byte(resp.Text()), &out); resp.Status != 200 || err != nil {
		t.Fatalf("%s: %d %s", path, resp.Status, resp.Text())
	}
	return out
}

func TestAListOverClustersShowsWhatItCanAndSaysWhatItCannot(t *testing.T) {
	f := &fleet{names: map[string][]string{"a": {"web"}, "b": {"api", "web"}}}
	h := f.serve(t)
	out := listed(t, h, "/helm-releases")
	var got []string
	for _, r := range out.Releases {
		got = append(got, r.Cluster+"/"+r.Name)
	}
	if !slices.Equal(got, []string{"a/web", "b/api", "b/web"}) || out.Continue != "" {
		t.Errorf("got %v, continue %q", got, out.Continue)
	}
	want := []listError{
		{"cluster_error", "away", "", 503, "the cluster is starting", ""},
		{"namespace_forbidden", "b", "bank", 403, "secrets is forbidden", ""},
	}
	if !slices.Equal(out.Errors, want) {
		t.Errorf("errors are %+v", out.Errors)
	}
	for _, asked := range f.asked {
		if !strings.Contains(asked, "within=13") {
			t.Errorf("%s may take all of the request's time", asked)
		}
	}
	if resp := h.Do(sdktest.Request{Path: "/helm-releases?cluster=away"}); resp.Status != 503 {
		t.Errorf("a cluster that the query names: %d %s", resp.Status, resp.Text())
	}
}

func TestPagesOfAListHaveEachReleaseOnce(t *testing.T) {
	f := &fleet{names: map[string][]string{"a": {"a1", "a2", "a3"}, "away": {}, "b": {"b1", "b2"}}}
	h := f.serve(t)
	for limit := 1; limit <= 6; limit++ {
		var got []string
		path := "/helm-releases?limit=" + string(rune('0'+limit))
		next := ""
		for range 10 {
			out := listed(t, h, path+next)
			if len(out.Releases) > limit {
				t.Errorf("limit %d: %d releases", limit, len(out.Releases))
			}
			for _, r := range out.Releases {
				got = append(got, r.Name)
			}
			if out.Continue == "" {
				break
			}
			next = "&continue=" + url.QueryEscape(out.Continue)
		}
		if !slices.Equal(got, []string{"a1", "a2", "a3", "b1", "b2"}) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}
