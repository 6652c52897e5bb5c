package helm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// keeping is a chart with a Secret, whose value is also elsewhere.
var keeping = map[string]map[string]string{"keeping": {
	"templates/x.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}}\nstringData: {k: {{ .Values.db.key | quote }}}\n---\n" +
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {copy: {{ .Values.db.key | quote }}, a: {{ .Values.a | quote }}}\n",
	"templates/NOTES.txt": "log in with {{ .Values.db.key }}",
	"values.yaml":         "a: x\ndb: {key: none}\napiToken: fallback\n",
}}

func TestWhoMayNotReadSecretsSeesNoneOfARelease(t *testing.T) {
	s := onStage(t, keeping)
	s.fresh("keeping")
	for i, v := range []string{"a: one\ndb: {key: sesame-0001}", "a: two\ndb: {key: sesame-0002}"} {
		s.decide = refusing(func(c *host.CapabilityCall) bool { return i == 1 && c.Via == viaShow })
		resp, err := s.call(t.Context(), "POST keeping/upgrade", upgrade("keeping", v))
		if want := []string{"log in with sesame-0001", `"output":"log in with \u003credacted\u003e","redacted":true`}[i]; err != nil || !strings.Contains(string(resp.Body), want) {
			t.Errorf("the answer to an upgrade is %s, %v", resp.Body, err)
		}
	}
	paths := []string{"values", "values?all=true", "values?revision=1", "notes", "manifest", "diff", "diff?from=2&to=1"}
	for _, may := range []bool{true, false} {
		s.decide = refusing(func(c *host.CapabilityCall) bool { return !may && c.Via == viaShow })
		for _, path := range paths {
			resp, err := s.call(t.Context(), "GET keeping/"+path, "")
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			body := string(resp.Body)
			if strings.Contains(body, "sesame") != may || strings.Contains(body, `"redacted":`) == may {
				t.Errorf("%s, may %v: %s", path, may, body)
			}
			if strings.HasPrefix(path, "values") && !strings.Contains(body, `"a":`) {
				t.Errorf("%s, may %v: what is no secret is missing: %s", path, may, body)
			}
		}
	}
	resp, err := s.call(t.Context(), "GET keeping/diff", "")
	if err != nil {
		t.Fatal(err)
	}
	var d diffShown
	if err := json.Unmarshal(resp.Body, &d); err != nil || d.From != 1 || d.To != 2 || len(d.Objects) != 2 {
		t.Fatalf("the difference is %s, %v", resp.Body, err)
	}
	all := d.Objects[0].Diff + d.Objects[1].Diff
	if !strings.Contains(all, "+  k: <redacted, changed>") || !strings.Contains(all, "two") {
		t.Errorf("the difference is\n%s", all)
	}

	// Policy is asked only if there is something to hide.
	s.must("POST keeping/upgrade", `{"chart":"own/keeping","values":"a: 1\ndb: {key: none}"}`)
	s.asked = nil
	if _, err := s.call(t.Context(), "GET keeping/history", ""); err != nil {
		t.Error(err)
	}
	if slices.ContainsFunc(s.asked, func(c host.CapabilityCall) bool { return c.Via == viaShow }) {
		t.Error("a history asks whether Secrets may be seen")
	}
	for path, want := range map[string]string{"diff?from=9": "has no revision 9", "notes?revision=9": "has no revision 9", "diff?to=1": "no revision before 1"} {
		_, err := s.call(t.Context(), "GET keeping/"+path, "")
		if x := capability.ErrorFrame(err); x.Status != 404 || !strings.Contains(x.Message, want) {
			t.Errorf("%s: %+v", path, x)
		}
	}
}

func TestPagesOfAClustersReleases(t *testing.T) {
	editor := someone(t, clustertest.Editor, host.Obligations{})
	for _, at := range []string{"bank/paged-a", "shop/paged-a", "shop/paged-b"} {
		editor.must("POST helm://dev/"+at+"/upgrade", `{"chart":"demo/hello"}`, nil)
		t.Cleanup(func() { _ = editor.call("DELETE helm://dev/"+at, "", nil) })
	}
	var whole releases
	editor.must("GET helm://dev", "", &whole)
	for limit := 1; limit <= len(whole.Releases)+1; limit++ {
		var got []releaseInfo
		next := ""
		for range len(whole.Releases) + 1 {
			var part struct {
				Releases []releaseInfo
				Next     string
			}
			editor.must(fmt.Sprintf("GET helm://dev?limit=%d%s", limit, next), "", &part)
			if got = append(got, part.Releases...); part.Next == "" {
				break
			}
			next = "&after=" + strings.ReplaceAll(part.Next, "/", "%2F")
		}
		if !slices.Equal(got, whole.Releases) {
			t.Errorf("limit %d: %+v, want %+v", limit, got, whole.Releases)
		}
	}
}
