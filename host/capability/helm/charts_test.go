package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func chartYAML(name, version string) string {
	return fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)
}

// archive packs a chart of one file.
func archive(t *testing.T, name, version string) []byte {
	t.Helper()
	return packFiles(t, map[string]string{name + "/Chart.yaml": chartYAML(name, version)})
}

func packFiles(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	var err error
	for _, file := range slices.Sorted(maps.Keys(files)) {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: file, Mode: 0o600, Size: int64(len(files[file]))}))
		if err == nil {
			_, err = w.Write([]byte(files[file]))
		}
	}
	for _, c := range []interface{ Close() error }{w, z} {
		if err == nil {
			err = c.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestChartsOfADirectory(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	write(t, outside+"/Chart.yaml", []byte(chartYAML("outside", "1.0.0")))
	write(t, dir+"/hello/Chart.yaml", []byte(chartYAML("hello", "1.0.0-dev")))
	write(t, dir+"/hello/templates/x.yaml", []byte("kind: X"))
	write(t, dir+"/hello/.git/config", []byte("secret"))
	write(t, dir+"/hello/.helmignore", []byte(".git/\n"))
	write(t, dir+"/leak/Chart.yaml", []byte(chartYAML("leak", "1.0.0")))
	for _, v := range []string{"1.9.0", "1.10.0", "2.0.0-rc1"} {
		write(t, dir+"/packed-"+v+".tgz", archive(t, "packed", v))
	}
	write(t, dir+"/broken-1.0.0.tgz", []byte("no archive"))
	for link, target := range map[string]string{"/away": outside, "/leak/secret": outside + "/Chart.yaml"} {
		if err := os.Symlink(target, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	c, err := openCharts(Config{Repositories: []Repository{{Name: "demo", Path: dir}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for ref, want := range map[string]any{
		"demo/hello":          "1.0.0-dev",
		"demo/hello 1.0.0":    host.NotFound,
		"demo/packed":         "1.10.0",
		"demo/packed 1.9.0":   "1.9.0",
		"demo/packed <1.10":   "1.9.0",
		"demo/packed ^3":      host.NotFound,
		"demo/absent":         host.NotFound,
		"other/hello":         host.NotFound,
		"demo/broken":         host.Upstream,
		"demo/away":           host.Upstream,
		"demo/leak":           host.Upstream,
		"demo/..":             host.Invalid,
		"demo/../hello":       host.Invalid,
		"hello":               host.Invalid,
		"/etc/passwd":         host.Invalid,
		"https://example/x":   host.Invalid,
		"oci://example/x":     host.Invalid,
		"demo/hello/../hello": host.Invalid,
	} {
		name, version, _ := strings.Cut(ref, " ")
		ch, err := c.load(t.Context(), name, version)
		switch want := want.(type) {
		case string:
			if err != nil || ch.Metadata.Version != want {
				t.Errorf("%s: got %v, %v", ref, ch, err)
			}
		case host.Kind:
			if ch != nil || host.KindOf(err) != want {
				t.Errorf("%s: got %v, want %v", ref, err, want)
			}
		}
	}
	ch, err := c.load(t.Context(), "demo/hello", "")
	if err != nil || len(ch.Templates) != 1 || len(ch.Raw) != 3 {
		t.Errorf("hello has %d templates and %d files, %v; ignored files belong to nobody", len(ch.Templates), len(ch.Raw), err)
	}
}

func TestChartsOfAnHTTPRepository(t *testing.T) {
	good := archive(t, "good", "1.0.0")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/charts/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{apiVersion: v1, entries: {
			good: [{name: good, version: 1.0.0, apiVersion: v2, urls: [good-1.0.0.tgz], digest: %x}],
			forged: [{name: forged, version: 1.0.0, apiVersion: v2, urls: [good-1.0.0.tgz], digest: %064d}],
			away: [{name: away, version: 1.0.0, apiVersion: v2, urls: ["%s/x.tgz"]}],
			moved: [{name: moved, version: 1.0.0, apiVersion: v2, urls: [moved.tgz]}]}}`, sha256.Sum256(good), 1, other.URL)
	})
	mux.HandleFunc("/charts/good-1.0.0.tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) })
	mux.Handle("/charts/moved.tgz", http.RedirectHandler(other.URL+"/x.tgz", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()

	c, err := openCharts(Config{Repositories: []Repository{{Name: "stable", URL: server.URL + "/charts"}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if ch, err := c.load(t.Context(), "stable/good", ""); err != nil || ch.Name() != "good" {
		t.Errorf("got %v, %v", ch, err)
	}
	for ref, want := range map[string]string{
		"stable/forged": "digest", "stable/away": "not https", "stable/moved": "redirect is refused", "stable/absent": "does not exist",
	} {
		if _, err := c.load(t.Context(), ref, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", ref, err)
		}
	}
}

func TestBadRepositoryNamesItsField(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/junk.pem", []byte("junk"))
	for want, r := range map[string][]Repository{
		"helm.repositories[0].name":                         {{Name: "No", Path: dir}},
		"helm.repositories[1].name":                         {{Name: "a", Path: dir}, {Name: "a", Path: dir}},
		"helm.repositories[0].path: give":                   {{Name: "a"}},
		"not both":                                          {{Name: "a", Path: dir, URL: "https://x"}},
		"helm.repositories[0].path: open":                   {{Name: "a", Path: dir + "/absent"}},
		"helm.repositories[0].url: must begin":              {{Name: "a", URL: "http://example.com"}},
		"helm.repositories[0].url: must have":               {{Name: "a", URL: "https://user:pass@example.com"}},
		"helm.repositories[0].url: must be oci":             {{Name: "a", URL: "oci://example.com/Charts"}},
		"path: user, tokenFile":                             {{Name: "a", Path: dir, CAFile: "ca.pem"}},
		"tokenEnv: give":                                    {{Name: "a", URL: "https://example.com", TokenFile: "x", TokenEnv: "X"}},
		"user: requires tokenFile":                          {{Name: "a", URL: "https://example.com", User: "x"}},
		"user: must not contain":                            {{Name: "a", URL: "https://example.com", User: "x:y", TokenEnv: "X"}},
		"helm.repositories[0].tokenFile: open":              {{Name: "a", URL: "https://example.com", TokenFile: dir + "/absent"}},
		"helm.repositories[0].tokenEnv: the token is empty": {{Name: "a", URL: "oci://example.com/x", TokenEnv: "BULKHEAD_TEST_ABSENT"}},
		"helm.repositories[0].caFile: open":                 {{Name: "a", URL: "https://example.com", CAFile: dir + "/absent"}},
		"contains no certificate":                           {{Name: "a", URL: "https://example.com", CAFile: dir + "/junk.pem"}},
	} {
		if c, err := openCharts(Config{Repositories: r}, slog.New(slog.DiscardHandler)); c != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
