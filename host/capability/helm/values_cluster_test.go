package helm

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// What a chart prints of its values on a cluster, and what is kept of them.
func TestValuesOnACluster(t *testing.T) {
	const configMap = "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}'}, data: {a: b}}"
	s := onStage(t, map[string]map[string]string{"x": {"templates/x.yaml": configMap}})
	dir := filepath.Dir(chartDir(s))
	for version, more := range map[string]string{"v1.0.0": "", "2.0.0": "more: {enabled: yes}\n"} {
		notes := "id={{ .Values.id }} limit={{ .Values.limit }} size={{ .Values.size }}"
		if more != "" {
			notes += " more={{ .Values.more.enabled }}"
		}
		write(t, dir+"/grow-"+version+".tgz", packFiles(t, map[string]string{
			"grow/Chart.yaml": chartYAML("grow", version), "grow/values.yaml": "size: 1\nid: 0\nlimit: 1000000\n" + more,
			"grow/templates/x.yaml": configMap, "grow/templates/NOTES.txt": notes,
		}))
	}
	upgrade := func(body upgradeBody) (string, error) {
		t.Helper()
		body.Chart = "own/grow"
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.call(t.Context(), "POST values-test/upgrade", string(text))
		if err != nil {
			return "", err
		}
		var done changed
		if err := json.Unmarshal(resp.Body, &done); err != nil {
			t.Fatal(err)
		}
		return done.Output, nil
	}
	s.fresh("values-test")
	for _, c := range []struct{ name, version, values, keep, prints, has string }{
		{"an installation", "1.0.0", "size: 5\nid: 12345678901234567", "", "id=12345678901234567 limit=1000000 size=5", `{"id":12345678901234567,"size":5}`},
		{"reuse, with nothing new", "~1.0", "", "reuse", "id=12345678901234567 limit=1000000 size=5", `{"id":12345678901234567,"size":5}`},
		{"reset, then reuse", "2.0.0", "", "reset", "id=12345678901234567 limit=1000000 size=5 more=true", `{"id":12345678901234567,"size":5}`},
		{"the defaults again", "2.0.0", "", "", "id=0 limit=1000000 size=1 more=true", `{}`},
		{"the defaults of an older chart", "^1", "{}", "", "id=0 limit=1000000 size=1", `{}`},
	} {
		got, err := upgrade(upgradeBody{Version: c.version, Values: c.values, ReuseValues: c.keep == "reuse", ResetThenReuseValues: c.keep == "reset"})
		if err != nil || strings.TrimSpace(got) != c.prints {
			t.Errorf("%s: prints %q, %v, want %q", c.name, got, err, c.prints)
		}
		resp, err := s.call(t.Context(), "GET values-test/values", "")
		if err != nil || string(resp.Body) != `{"values":`+c.has+`}` {
			t.Errorf("%s: %s, %v, want %s", c.name, resp.Body, err, c.has)
		}
	}
	if _, err := upgrade(upgradeBody{Version: "2.0.0", ReuseValues: true}); host.KindOf(err) != host.Unprocessable {
		t.Errorf("reuse of values that lack a new default: %v", err)
	}
	for _, values := range []string{"a: 1\n---\na: 2", "a: 1\na: 2", "a: &a " + strings.Repeat("x", 50_000) + "\nb: [" + strings.Repeat("*a,", 12_000) + "]"} {
		if _, err := upgrade(upgradeBody{Values: values}); host.KindOf(err) != host.Unprocessable {
			t.Errorf("got %v", err)
		}
	}
}
