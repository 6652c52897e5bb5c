package decisionlog

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, c Config) Sink {
	t.Helper()
	if err := c.Check("policy.log"); err != nil {
		t.Fatal(err)
	}
	sinks, err := c.Open()
	if err != nil || len(sinks) != 1 {
		t.Fatalf("%d sinks, %v", len(sinks), err)
	}
	t.Cleanup(func() { sinks[0].Close() })
	return sinks[0]
}

func TestAFullFileIsRotatedAndNoLineIsLost(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{File: &File{Path: filepath.Join(dir, "d.jsonl"), MaxMiB: 1, Keep: 2}})
	line := strings.Repeat("x", 300<<10)
	for i := range 10 {
		if err := s.Write(t.Context(), [][]byte{fmt.Appendf(nil, "%d%s", i, line)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, name := range []string{"d.jsonl.2", "d.jsonl.1", "d.jsonl"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			got = append(got, l[:1])
		}
	}
	// Three lines fit into a file; the first file of four is gone.
	if want := []string{"3", "4", "5", "6", "7", "8", "9"}; !reflect.DeepEqual(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "d.jsonl.3")); err == nil {
		t.Error("more files than configured are kept")
	}
	info, err := os.Stat(filepath.Join(dir, "d.jsonl"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestAFileGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.jsonl")
	for range 2 {
		s := open(t, Config{File: &File{Path: path}})
		if err := s.Write(t.Context(), [][]byte{[]byte("a"), []byte("b")}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if text, _ := os.ReadFile(path); string(text) != "a\nb\na\nb\n" {
		t.Errorf("%q", text)
	}
}

func TestAServerGetsOPAsShape(t *testing.T) {
	var got []map[string]int
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Authorization") != "Bearer sesame" {
			t.Errorf("%v, %v", err, r.Header)
		}
		text, _ := io.ReadAll(z)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{HTTP: &HTTP{URL: srv.URL + "/logs", TokenFile: token}})
	batch := [][]byte{[]byte(`{"a":1}`), []byte(`{"a":2}`)}
	if err := s.Write(t.Context(), batch); err != nil || len(got) != 2 || got[1]["a"] != 2 {
		t.Errorf("%v, %v", got, err)
	}
	status = http.StatusServiceUnavailable
	if err := s.Write(t.Context(), batch); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("%v", err)
	}
}

func TestARedirectTakesDecisionsNowhere(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	s := open(t, Config{HTTP: &HTTP{URL: srv.URL}})
	if err := s.Write(t.Context(), [][]byte{[]byte(`{}`)}); err == nil {
		t.Error("what was sent elsewhere counts as written")
	}
}

func TestAMaskErasesAndSaysWhat(t *testing.T) {
	c := Config{File: &File{Path: "x"}, Mask: &[]string{"/input/principal/claims", "/input/list/1/secret", "/input/a~1b", "/nowhere"}}
	if err := c.Check("policy.log"); err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	text := `{"input": {"principal": {"user": "ann", "claims": {"x": 1}}, "a/b": 1, "list": [{"secret": 1}, {"secret": 2, "c": 3}]}}`
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		t.Fatal(err)
	}
	erased := c.Pointers().Erase(record)
	if want := []string{"/input/principal/claims", "/input/list/1/secret", "/input/a~1b"}; !reflect.DeepEqual(erased, want) {
		t.Errorf("erased %v", erased)
	}
	left, _ := json.Marshal(record)
	if want := `{"input":{"list":[{"secret":1},{"c":3}],"principal":{"user":"ann"}}}`; string(left) != want {
		t.Errorf("left %s", left)
	}
}

func TestMistakesNameTheirField(t *testing.T) {
	file := &File{Path: "x"}
	for want, c := range map[string]Config{
		"policy.log: names no destination": {WhenFull: "deny"},
		"policy.log.file.path":             {File: &File{}},
		"policy.log.http.url: contains a":  {HTTP: &HTTP{URL: "https://bulkhead:hunter2@logs.example.com/logs"}},
		"policy.log.http.url":              {HTTP: &HTTP{URL: "http://logs.example.com/logs"}},
		"policy.log.whenFull":              {File: file, WhenFull: "wait"},
		"policy.log.mask[0]":               {File: file, Mask: &[]string{"input.principal"}},
		"policy.log.queue":                 {File: file, Queue: -1},
	} {
		if err := c.Check("policy.log"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
