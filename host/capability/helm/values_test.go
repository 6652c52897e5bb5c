package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func readValues(t *testing.T, text string) (map[string]any, error) {
	t.Helper()
	body, err := json.Marshal(upgradeBody{Chart: "demo/hello", Values: text})
	if err != nil {
		t.Fatal(err)
	}
	q := &request{action: actUpgrade}
	err = q.readBody(body)
	return q.values, err
}

func TestValuesAreOneBoundedMapping(t *testing.T) {
	for want, text := range map[string]string{
		"bytes with all aliases replaced":  "a: &a " + strings.Repeat("x", 50_000) + "\nb: [" + strings.Repeat("*a,", 12_000) + "]",
		"100000 values with all aliases":   "a: &a [" + strings.Repeat("x,", 1000) + "]\nb: [" + strings.Repeat("*a,", 1000) + "]",
		"nested deeper than 100":           "a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"line 3: a second document begins": "replicas: 1\n---\nreplicas: 3\n",
		`line 2: has the key "a" twice`:    "a: 1\na: 2",
		"not a YAML mapping":               "[a]",
		"line 1: is not YAML":              "a: [",
		"more than 64 bits":                "a: 123456789012345678901234567890",
	} {
		if _, err := readValues(t, text); host.KindOf(err) != host.Unprocessable || !strings.Contains(detail(err), want) {
			t.Errorf("got %v, want %q", detail(err), want)
		}
	}
	if _, err := readValues(t, strings.Repeat("#", maxValues+1)); host.KindOf(err) != host.TooLarge {
		t.Errorf("values that are too long: %v", err)
	}
	for text, want := range map[string]map[string]any{
		"": {}, "# nothing": {}, "{}": {}, "~": {}, "\xef\xbb\xbfa: x": {"a": "x"}, "---\na: x\n---\n": {"a": "x"},
		"x: &x {a: yes}\nz: {<<: *x}": {"x": map[string]any{"a": true}, "z": map[string]any{"a": true}},
	} {
		if got, err := readValues(t, text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

// detail is the whole text of an error of the host.
func detail(err error) string {
	if e, ok := err.(*host.Error); ok {
		return e.Message + ": " + e.Detail
	}
	return fmt.Sprint(err)
}

// Templates print numbers as they were given, and compare small ones with floats
// as helm lets them.
func TestNumbersReachTemplatesAsGiven(t *testing.T) {
	for text, want := range map[string]any{
		"12345678901234567": int64(12345678901234567), "1000000": int64(1000000), "-1000000": int64(-1000000),
		"999999": 999999.0, "-7": -7.0, "18446744073709551615": uint64(1<<64 - 1), "1.5": 1.5,
	} {
		got, err := readValues(t, "a: ["+text+"]")
		if err != nil {
			t.Fatal(err)
		}
		v := got["a"].([]any)[0]
		if v != want || fmt.Sprint(v) != text {
			t.Errorf("%s: got %T %v, want %T", text, v, v, want)
		}
		again, err := json.Marshal(plain(json.Number(text)))
		if err != nil || string(again) != text {
			t.Errorf("%s is %s when it is read from a release, %v", text, again, err)
		}
	}
	if got := plain(json.Number("1e999")); got != plain(json.Number("1e9999")) {
		t.Errorf("got %v", got)
	}
}

// memory is helm with releases in memory and a cluster that takes everything.
func memory(t *testing.T) *action.Configuration {
	t.Helper()
	return &action.Configuration{
		Releases: storage.Init(driver.NewMemory()), KubeClient: &kubefake.PrintingKubeClient{Out: io.Discard},
		Capabilities: chartutil.DefaultCapabilities, Log: func(string, ...any) {},
	}
}

// growing is a chart that has new defaults in its second version, whose template
// needs them.
func growing(version string) *chart.Chart {
	c := &chart.Chart{
		Metadata:  &chart.Metadata{APIVersion: "v2", Name: "grow", Version: version},
		Templates: []*chart.File{{Name: "templates/cm.yaml", Data: []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {n: '{{ .Values.size }}'}}")}},
		Values:    map[string]any{"size": 1.0, "old": "one"},
	}
	if version == "2.0.0" {
		c.Templates[0].Data = []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {n: '{{ .Values.size }}{{ .Values.more.enabled }}'}}")
		c.Values = map[string]any{"size": 1.0, "old": "two", "more": map[string]any{"enabled": true}}
	}
	return c
}

func TestAnUpgradeKeepsTheValuesThatItIsAskedToKeep(t *testing.T) {
	for _, c := range []struct {
		body     upgradeBody
		config   string // values of the release afterwards
		n, fails string
	}{
		{upgradeBody{}, `{}`, "1true", ""},
		{upgradeBody{Values: "{}"}, `{}`, "1true", ""},
		{upgradeBody{Values: "b: 2"}, `{"b":2}`, "1true", ""},
		{upgradeBody{ReuseValues: true}, ``, "", "nil pointer evaluating interface {}.enabled"},
		{upgradeBody{ReuseValues: true, Values: "more: {enabled: no}"}, `{"more":{"enabled":false},"size":5}`, "5false", ""},
		{upgradeBody{ResetThenReuseValues: true}, `{"size":5}`, "5true", ""},
		{upgradeBody{ResetThenReuseValues: true, Values: "size: 6"}, `{"size":6}`, "6true", ""},
	} {
		config := memory(t)
		install := action.NewInstall(config)
		install.ReleaseName, install.Namespace = "web", "shop"
		if _, err := install.RunWithContext(context.Background(), growing("1.0.0"), map[string]any{"size": 5.0}); err != nil {
			t.Fatal(err)
		}
		q := &request{namespace: "shop", release: "web", upgrade: c.body}
		if err := q.readValues(); err != nil {
			t.Fatal(err)
		}
		upgrade := action.NewUpgrade(config)
		upgrade.Namespace = "shop"
		q.upgrade.keep(upgrade)
		rel, err := upgrade.RunWithContext(context.Background(), "web", growing("2.0.0"), q.values)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%+v: got %v, want %q as documented", c.body, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c.body, err)
			continue
		}
		got, err := json.Marshal(rel.Config)
		if err != nil || string(got) != c.config || !strings.Contains(rel.Manifest, "n: '"+c.n+"'") {
			t.Errorf("%+v: values are %s, the manifest is %s, %v; want %s and %s", c.body, got, rel.Manifest, err, c.config, c.n)
		}
	}
	q := &request{upgrade: upgradeBody{ReuseValues: true, ResetThenReuseValues: true}}
	if err := q.readValues(); host.KindOf(err) != host.Invalid {
		t.Errorf("both: %v", err)
	}
}

func TestNumbersOfAReleaseKeepTheirDigits(t *testing.T) {
	text := `{"name":"web","config":{"id":12345678901234567,"n":[7,1.5]},"chart":{"metadata":{"name":"c","version":"1.0.0"},"values":{"limit":1000000}}}`
	rel, err := decodeRelease([]byte(text), true)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"id": int64(12345678901234567), "n": []any{7.0, 1.5}}
	if !reflect.DeepEqual(rel.Config, want) || !reflect.DeepEqual(rel.Chart.Values, map[string]any{"limit": int64(1000000)}) {
		t.Errorf("got %v and %v", rel.Config, rel.Chart.Values)
	}
}
