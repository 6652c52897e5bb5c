package helm

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A directory below a symbolic link that is exchanged, as git-sync does.
func TestADirectoryOfChartsIsFollowed(t *testing.T) {
	dir := t.TempDir()
	rev := func(n int) string { return fmt.Sprintf("%s/wt/rev%d", dir, n) }
	exchange := func(n int) {
		t.Helper()
		if err := os.Symlink(fmt.Sprintf("wt/rev%d", n), dir+"/next"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+"/next", dir+"/current"); err != nil {
			t.Fatal(err)
		}
	}
	for n := 1; n <= 3; n++ {
		write(t, rev(n)+"/charts/hello/Chart.yaml", []byte(chartYAML("hello", fmt.Sprintf("0.%d.0", n))))
		write(t, rev(n)+fmt.Sprintf("/charts/packed-0.%d.0.tgz", n), archive(t, "packed", fmt.Sprintf("0.%d.0", n)))
	}
	exchange(1)
	c := open(t, Repository{Name: "demo", Path: dir + "/current/charts"})
	for n := 1; n <= 3; n++ {
		for _, name := range []string{"hello", "packed"} {
			if ch, err := c.load(t.Context(), "demo/"+name, ""); err != nil || ch.Metadata.Version != fmt.Sprintf("0.%d.0", n) {
				t.Errorf("%s of revision %d: %v, %v", name, n, ch, err)
			}
		}
		if n < 3 {
			exchange(n + 1)
			if err := os.RemoveAll(rev(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(rev(3)); err != nil {
		t.Fatal(err)
	}
	e := c.failure(t, "demo/hello", "")
	if e.Kind != host.Upstream || e.Detail != "its repository cannot be read" || strings.Contains(e.Message+e.Detail, dir) || !strings.Contains(e.Error(), dir) {
		t.Errorf("a directory that is gone: %+v", e)
	}
}

func TestAnErrorDoesNotTellWhereADirectoryIs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/leak/Chart.yaml", []byte(chartYAML("leak", "1.0.0")))
	write(t, dir+"/outside", []byte("secret"))
	charts := dir + "/charts"
	write(t, charts+"/leak/Chart.yaml", []byte(chartYAML("leak", "1.0.0")))
	write(t, charts+"/pipe/Chart.yaml/x", nil)
	if err := os.Symlink("../../outside", charts+"/leak/secret"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "absent"), charts+"/gone-1.0.0.tgz"); err != nil {
		t.Fatal(err)
	}
	c := open(t, Repository{Name: "demo", Path: charts})
	for _, ref := range []string{"demo/leak", "demo/gone", "demo/pipe"} {
		if e := c.failure(t, ref, ""); strings.Contains(e.Message+e.Detail, dir) || strings.Contains(e.Detail, "outside") {
			t.Errorf("%s: %q", ref, e.Detail)
		}
	}
}

func TestFilesOfHelmPackageAreFound(t *testing.T) {
	dir := t.TempDir()
	for file, version := range map[string]string{
		"certs-v1.14.0.tgz": "v1.14.0", "certs-1.13.0.tgz": "1.13.0", "certs-v1.2.0+b.1.tgz": "v1.2.0+b.1", "certs-v1.15.0-rc.1.tgz": "v1.15.0-rc.1",
	} {
		write(t, dir+"/"+file, archive(t, "certs", version))
	}
	write(t, dir+"/certs-2-3.0.0.tgz", archive(t, "certs-2", "3.0.0"))
	write(t, dir+"/certs-v2.tgz", archive(t, "certs", "2"))
	write(t, dir+"/certs-4.0.0.zip", archive(t, "certs", "4.0.0"))
	c := open(t, Repository{Name: "demo", Path: dir})
	for version, want := range map[string]string{
		"": "v1.14.0", "1.14.0": "v1.14.0", "v1.14.0": "v1.14.0", "v1.13.0": "1.13.0", "~1.2": "v1.2.0+b.1", ">=1.0 <1.14": "1.13.0",
		"1.12.0 - 1.13": "1.13.0", "*": "v1.14.0", "v1.15.0-rc.1": "v1.15.0-rc.1",
	} {
		if ch, err := c.load(t.Context(), "demo/certs", version); err != nil || ch.Metadata.Version != want {
			t.Errorf("%s: got %v, %v, want %s", version, ch, err, want)
		}
	}
	if ch, err := c.load(t.Context(), "demo/certs-2", ""); err != nil || ch.Name() != "certs-2" {
		t.Errorf("got %v, %v", ch, err)
	}
	for version, want := range map[string]host.Kind{"2.0.0": host.NotFound, "no version": host.Invalid, ">>1": host.Invalid, strings.Repeat("1", 101): host.Invalid} {
		if e := c.failure(t, "demo/certs", version); e.Kind != want {
			t.Errorf("%s: got %v, want %v", version, e, want)
		}
	}
}

// A chart's files are measured before helm parses them, wherever they are.
func TestAChartIsReadWithinBounds(t *testing.T) {
	bomb := "a: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a,", 12_000) + "]\n"
	deep := "a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200)
	zeros := func(n int) string { return string(zipped(t, make([]byte, n))) }
	nested := archive(t, "inner", "1.0.0")
	for range maxNested + 1 {
		nested = packFiles(t, map[string]string{"c/Chart.yaml": chartYAML("c", "1.0.0"), "c/charts/inner.tgz": string(nested)})
	}
	many := map[string]string{}
	for i := range maxFiles + 1 {
		many[fmt.Sprintf("c/files/%d", i)] = ""
	}
	for want, files := range map[string]map[string]string{
		"values.yaml: line 1: is over 5242880 bytes with all aliases": {"c/values.yaml": bomb},
		"values.yaml: line 3: is over 5242880 bytes":                  {"c/values.yaml": "# nothing\n---\n" + bomb},
		"Chart.yaml: line":                               {"c/Chart.yaml": chartYAML("c", "1.0.0") + bomb},
		"Chart.lock: line":                               {"c/Chart.lock": bomb},
		"requirements.yaml: line":                        {"c/requirements.yaml": bomb},
		"requirements.lock: line":                        {"c/requirements.lock": bomb},
		"charts/d/values.yaml: line 1: is nested deeper": {"c/charts/d/Chart.yaml": chartYAML("d", "1.0.0"), "c/charts/d/values.yaml": deep},
		"charts/d.tgz!/values.yaml: line 1: is nested":   {"c/charts/d.tgz": string(packFiles(t, map[string]string{"d/Chart.yaml": chartYAML("d", "1.0.0"), "d/values.yaml": deep}))},
		"over 8 levels deep":                             {"c/charts/d.tgz": string(nested)},
		"unpacked it is over 33554432 bytes":             {"c/charts/d.tgz": string(packFiles(t, map[string]string{"d/a": string(make([]byte, 4<<20)), "d/b": string(make([]byte, 30<<20))}))},
		"charts/d.tgz: unexpected EOF":                   {"c/charts/d.tgz": "junk"},
		"or 4096 files":                                  many,
		"charts/d.tgz":                                   {"c/charts/d.tgz": zeros(1 << 20)},
	} {
		if files["c/Chart.yaml"] == "" {
			files["c/Chart.yaml"] = chartYAML("c", "1.0.0")
		}
		if ch, err := loadArchive(packFiles(t, files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %q", ch, err, want)
		}
	}
	// The same file elsewhere is data or a template.
	ch, err := loadArchive(packFiles(t, map[string]string{
		"c/Chart.yaml": chartYAML("c", "1.0.0"), "c/files/values.yaml": deep, "c/templates/values.yaml": "{{ .Values }}: [", "c/values.yaml": "a: 1\na: 2\n---\n# more\n",
	}))
	if err != nil || !reflect.DeepEqual(ch.Values, map[string]any{"a": 2.0}) {
		t.Errorf("got %v, %v", ch, err)
	}
}

func TestADirectoryOfAChartHasTheSameBounds(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/c/Chart.yaml", []byte(chartYAML("c", "1.0.0")))
	write(t, dir+"/c/charts/d.tgz", packFiles(t, map[string]string{"d/Chart.yaml": chartYAML("d", "1.0.0"), "d/a": string(make([]byte, 30<<20))}))
	write(t, dir+"/c/files/big", bytes.Repeat([]byte("x"), 3<<20))
	e := open(t, Repository{Name: "demo", Path: dir}).failure(t, "demo/c", "")
	if !strings.Contains(e.Detail, "unpacked it is over") {
		t.Errorf("got %v", e)
	}
}

// Dependencies in archives and directories come out as helm has them, with the
// digits of default values.
func TestDefaultsKeepTheirDigits(t *testing.T) {
	inner := packFiles(t, map[string]string{"d/Chart.yaml": chartYAML("d", "1.0.0"), "d/values.yaml": "\xef\xbb\xbfid: 12345678901234567\nsize: 3\n", "d/templates/x.yaml": "x"})
	ch, err := loadArchive(packFiles(t, map[string]string{
		"c/Chart.yaml": "\xef\xbb\xbf" + chartYAML("c", "1.0.0"), "c/values.yaml": "limit: 1000000\nsmall: 5\n", "c/charts/d-1.0.0.tgz": string(inner),
		"c/charts/e/Chart.yaml": chartYAML("e", "1.0.0"), "c/charts/_f.tgz": "not looked at",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if want := (map[string]any{"limit": int64(1000000), "small": 5.0}); !reflect.DeepEqual(ch.Values, want) {
		t.Errorf("got %#v", ch.Values)
	}
	if len(ch.Dependencies()) != 2 {
		t.Fatalf("it has %d dependencies", len(ch.Dependencies()))
	}
	for _, d := range ch.Dependencies() {
		if want := (map[string]any{"id": int64(12345678901234567), "size": 3.0}); d.Name() == "d" && (!reflect.DeepEqual(d.Values, want) || len(d.Templates) != 1) {
			t.Errorf("got %#v, %v", d.Values, d.Templates)
		}
	}
}

// FuzzLoadArchive holds that no archive makes the loader panic or is larger than
// its bounds.
func FuzzLoadArchive(f *testing.F) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_ = z.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		ch, err := loadArchive(data)
		if err != nil {
			return
		}
		var size int
		for _, r := range ch.Raw {
			size += len(r.Data)
		}
		if size > maxChart || ch.Metadata == nil {
			t.Fatalf("%d bytes became %d", len(data), size)
		}
	})
}
