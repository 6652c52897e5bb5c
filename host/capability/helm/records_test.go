package helm

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

func gzipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(text)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(content []byte) []byte {
	return []byte(base64.StdEncoding.EncodeToString(content))
}

// plant creates a Secret that looks like a release's from outside, as the
// editor, for as long as the test runs.
func plant(t *testing.T, k key, data []byte) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // it ends before what is cleaned up
	editor, err := clustertest.Start(t).Open(t).As(ctx, clustertest.Name, clustertest.Editor, &clustertest.Authority{})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
		"metadata": map[string]any{"name": k.secret(), "labels": map[string]string{
			"owner": "helm", "name": k.release, "status": "deployed", "version": strconv.Itoa(k.revision)}},
		"data": map[string][]byte{"release": data},
	})
	if err != nil {
		t.Fatal(err)
	}
	do := func(r *cluster.Request) error {
		r.Limit = maxSecret
		resp, err := editor.Do(ctx, r)
		if err == nil {
			err = resp.Err()
		}
		return err
	}
	remove := &cluster.Request{Method: http.MethodDelete, Path: secretPath(k.namespace, k.secret())}
	_ = do(remove)
	if err := do(&cluster.Request{Method: http.MethodPost, Path: secretPath(k.namespace, ""), Body: body,
		Header: http.Header{"Content-Type": {"application/json"}}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = do(remove) })
}

// damage is what may be in a Secret that says it is a release.
func damage(t *testing.T) map[string][]byte {
	return map[string][]byte{
		"no-info":   packed([]byte(`{"name":"no-info","version":1}`)),
		"no-chart":  packed([]byte(`{"name":"no-chart","version":1,"info":{"status":"deployed"}}`)),
		"no-base64": []byte("!"),
		"no-json":   packed(gzipped(t, []byte("{"))),
		"cut":       packed(gzipped(t, []byte("{}"))[:12]),
		"empty":     {},
		"spoof":     packed([]byte(`{"name":"sound","namespace":"shop","version":99,"info":{"status":"failed"},"chart":{"metadata":{"name":"x"}}}`)),
		"bomb":      packed(gzipped(t, make([]byte, 4*maxRelease))),
		"no-hook":   packed([]byte(`{"name":"no-hook","version":1,"info":{"status":"deployed"},"chart":{"metadata":{"name":"x"}},"hooks":[null]}`)),
	}
}

func TestDamagedReleasesHideNothing(t *testing.T) {
	editor := someone(t, clustertest.Editor, host.Obligations{})
	const at = "helm://dev/shop/sound"
	_ = editor.call("DELETE "+at, "", nil)
	editor.must("POST "+at+"/upgrade", `{"chart":"demo/hello"}`, nil)
	t.Cleanup(func() { _ = editor.call("DELETE "+at, "", nil) })
	damaged := damage(t)
	for release, data := range damaged {
		plant(t, key{"shop", release, 1}, data)
	}
	for _, list := range []string{"GET helm://dev", "GET helm://dev/shop"} {
		var got releases
		editor.must(list, "", &got)
		if r := got.find("shop", "sound"); r == nil || r.Revision != 1 || r.Status != "deployed" {
			t.Errorf("%s shows %+v of the sound release", list, r)
		}
		for release := range damaged {
			if r := got.find("shop", release); r != nil && release != "no-hook" {
				t.Errorf("%s shows %+v", list, r)
			}
		}
	}
	for release := range damaged {
		at := "helm://dev/shop/" + release
		for _, c := range [][2]string{
			{"GET " + at + "/history", ""}, {"GET " + at + "/values", ""}, {"GET " + at + "/values?revision=1", ""},
			{"POST " + at + "/upgrade", `{"chart":"demo/hello"}`}, {"POST " + at + "/rollback", `{"revision":1}`}, {"DELETE " + at, ""},
		} {
			if release == "no-hook" && strings.HasSuffix(c[0], "/history") {
				continue // lists look at no hooks
			}
			if err := editor.call(c[0], c[1], nil); host.KindOf(err) != host.Unprocessable || !strings.Contains(err.Error(), release) {
				t.Errorf("%s: got %v", c[0], err)
			}
		}
	}
	for _, c := range [][2]string{{"GET " + at + "/history", ""}, {"GET " + at + "/values", ""}, {"POST " + at + "/upgrade", `{"chart":"demo/hello"}`}} {
		editor.must(c[0], c[1], nil)
	}
}

func TestDamagedNewestRevision(t *testing.T) {
	editor := someone(t, clustertest.Editor, host.Obligations{})
	const at = "helm://dev/shop/half-sound"
	_ = editor.call("DELETE "+at, "", nil)
	editor.must("POST "+at+"/upgrade", `{"chart":"demo/hello"}`, nil)
	t.Cleanup(func() { _ = editor.call("DELETE "+at, "", nil) })
	t.Run("", func(t *testing.T) { // the damage is gone at its end
		plant(t, key{"shop", "half-sound", 7}, packed([]byte(`{"name":"half-sound","version":7}`)))
		var list releases
		editor.must("GET helm://dev/shop", "", &list)
		if r := list.find("shop", "half-sound"); r == nil || r.Revision != 1 {
			t.Errorf("the list shows %+v", r)
		}
		var history struct{ History []revisionInfo }
		editor.must("GET "+at+"/history", "", &history)
		if len(history.History) != 1 || history.History[0].Revision != 1 {
			t.Errorf("the history is %+v", history)
		}
		editor.must("GET "+at+"/values?revision=1", "", nil)
		for _, c := range [][2]string{
			{"GET " + at + "/values", ""}, {"POST " + at + "/upgrade", `{"chart":"demo/hello"}`}, {"POST " + at + "/rollback", `{"revision":1}`}, {"DELETE " + at, ""},
		} {
			if err := editor.call(c[0], c[1], nil); host.KindOf(err) != host.Unprocessable || !strings.Contains(err.Error(), "revision 7") {
				t.Errorf("%s: got %v", c[0], err)
			}
		}
	})
}

func TestDamageOfOldRevisionsStopsNothing(t *testing.T) {
	editor := someone(t, clustertest.Editor, host.Obligations{})
	const at = "helm://dev/shop/scarred"
	_ = editor.call("DELETE "+at, "", nil)
	for range 3 {
		editor.must("POST "+at+"/upgrade", `{"chart":"demo/hello"}`, nil)
	}
	plant(t, key{"shop", "scarred", 1}, packed([]byte(`{"name":"scarred"}`))) // replaces it
	editor.must("POST "+at+"/upgrade", `{"chart":"demo/hello","values":"replicas: 1"}`, nil)
	editor.must("POST "+at+"/rollback", `{"revision":2}`, nil)
	var history struct{ History []revisionInfo }
	editor.must("GET "+at+"/history", "", &history)
	if h := history.History; len(h) != 4 || h[0].Revision != 5 || h[3].Revision != 2 {
		t.Errorf("the history is %+v", h)
	}
	editor.must("DELETE "+at, "", nil)
}

func TestUnpackingIsBounded(t *testing.T) {
	full := packed(gzipped(t, make([]byte, maxRelease)))
	if text, err := unpack(full, newBudget(maxRelease)); err != nil || len(text) != maxRelease {
		t.Errorf("the largest: %d bytes, %v", len(text), err)
	}
	if text, err := unpack(packed(gzipped(t, make([]byte, maxRelease+1))), newBudget(maxListed)); err == nil || text != nil {
		t.Errorf("a byte more: %d bytes, %v", len(text), err)
	}
	b := newBudget(maxRelease)
	k := key{"shop", "web", 1}
	for range 2 {
		if _, err := unpack(full, b); err != nil {
			err = k.damaged(err)
			if !errors.Is(err, errBudget) || errors.Is(err, errDamaged) || host.KindOf(err) != host.Unprocessable {
				t.Errorf("got %v", err)
			}
			return
		}
	}
	t.Error("the total has no bound")
}

func TestSkippedRecordsFillNoLog(t *testing.T) {
	var log bytes.Buffer
	s := &records{logger: slog.New(slog.NewTextHandler(&log, nil))}
	for i := range 3 * maxSkips {
		s.skip(key{"shop", "web", i}.damaged(errors.New("x")))
	}
	if n := strings.Count(log.String(), "\n"); n != maxSkips || !strings.Contains(log.String(), `revision 1 of release`) {
		t.Errorf("%d lines: %.200s", n, log.String())
	}
}

func TestNamesOfSecrets(t *testing.T) {
	for secret, want := range map[string]key{
		"sh.helm.release.v1.web.v3":     {"shop", "web", 3},
		"sh.helm.release.v1.a.b.v2.v10": {"shop", "a.b.v2", 10},
		"sh.helm.release.v1.web.v03":    {},
		"sh.helm.release.v1.web.v0":     {},
		"sh.helm.release.v1.web.v-1":    {},
		"sh.helm.release.v1..v1":        {},
		"sh.helm.release.v1.web":        {},
		"web.v1":                        {},
	} {
		if k, ok := parseKey("shop", secret); ok != (want.release != "") || ok && k != want {
			t.Errorf("%s: got %+v, %v", secret, k, ok)
		}
	}
}
