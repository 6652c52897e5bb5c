package audit

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, c Config) sink {
	t.Helper()
	if err := config.Check("policy.log", c.Check); err != nil {
		t.Fatal(err)
	}
	sinks, err := c.open(&decisions)
	if err != nil || len(sinks) != 1 {
		t.Fatalf("%d sinks, %v", len(sinks), err)
	}
	for _, s := range sinks {
		t.Cleanup(func() { s.Close() })
		return s
	}
	return nil
}

type document = map[string]any

func TestAFullFileIsRotatedAndNoLineIsLost(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{File: &File{Path: filepath.Join(dir, "d.jsonl"), MaxMiB: 1, Keep: 2}})
	line := strings.Repeat("x", 300<<10)
	for i := range 10 {
		if err := s.Write(t.Context(), []document{{strconv.Itoa(i): line}}); err != nil {
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
			got = append(got, l[2:3])
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

// What is at the path and is not a regular file belongs to someone else: a link
// such as /dev/stdout, a device, a pipe.
func TestOnlyARegularFileOfTheHostsOwnIsRotated(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "out.log"), filepath.Join(dir, "stdout")
	const others = "{\"half of another program's line"
	if err := errors.Join(os.WriteFile(target, []byte(others), 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	c := Config{File: &File{Path: link}}
	s := open(t, c).(*file)
	s.max = 64
	open(t, c) // a stream may have several writers
	line := strings.Repeat("x", 100)
	for range 5 {
		if err := s.Write(t.Context(), []document{{"a": line}}); err != nil {
			t.Fatal(err)
		}
	}
	if to, err := os.Readlink(link); err != nil || to != target {
		t.Errorf("the link became %q, %v", to, err)
	}
	if text, err := os.ReadFile(target); err != nil || !strings.HasPrefix(string(text), others) || strings.Count(string(text), line) != 5 {
		t.Errorf("%q, %v", text, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	for _, limits := range []File{{MaxMiB: 1}, {Keep: 1}} {
		for _, path := range []string{link, os.DevNull} {
			limits.Path = path
			c := Config{File: &limits}
			_, opening := c.open(&decisions)
			for _, err := range []error{config.Check("policy.log", c.Check), opening} {
				if err == nil || !strings.Contains(err.Error(), path+" is not a regular file") {
					t.Errorf("%+v: %v", limits, err)
				}
			}
		}
	}
}

// A file may be replaced by a link while it is written.
func TestALinkThatTakesAFilesPlaceIsNotRotated(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "d.jsonl"), filepath.Join(dir, "moved")
	s := open(t, Config{File: &File{Path: path}}).(*file)
	s.max = 64
	write := func() {
		t.Helper()
		if err := s.Write(t.Context(), []document{{"a": strings.Repeat("x", 100)}}); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if err := errors.Join(os.Rename(path, moved), os.Symlink(moved, path)); err != nil {
		t.Fatal(err)
	}
	write()
	write()
	if to, err := os.Readlink(path); err != nil || to != moved {
		t.Errorf("the link became %q, %v", to, err)
	}
	if _, err := os.Lstat(path + ".1"); err == nil {
		t.Error("it was rotated")
	}
}

func TestRotationReplacesRegularFilesOnly(t *testing.T) {
	dir := t.TempDir()
	path, target := filepath.Join(dir, "d.jsonl"), filepath.Join(dir, "kept")
	if err := errors.Join(os.WriteFile(target, nil, 0o600), os.Symlink(target, path+".2")); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{File: &File{Path: path, Keep: 2}}).(*file)
	s.max = 64
	full := document{"a": strings.Repeat("x", 100)}
	if err := s.Write(t.Context(), []document{full}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), []document{full}); err == nil || !strings.Contains(err.Error(), path+".2 is not a regular file") {
		t.Errorf("got %v", err)
	}
	if to, err := os.Readlink(path + ".2"); err != nil || to != target {
		t.Errorf("the link became %q, %v", to, err)
	}
	if err := errors.Join(os.Remove(path+".2"), s.Write(t.Context(), []document{full})); err != nil {
		t.Errorf("once it is moved away: %v", err)
	}
}

func TestAFileGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "d.jsonl")
	for range 2 {
		s := open(t, Config{File: &File{Path: path}})
		if err := s.Write(t.Context(), []document{{"a": 1}, {"b": 2}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if text, _ := os.ReadFile(path); string(text) != strings.Repeat(`{"a":1}`+"\n"+`{"b":2}`+"\n", 2) {
		t.Errorf("%q", text)
	}
}

func TestAFileIsMendedWhereACrashTookHalfARecord(t *testing.T) {
	for before, want := range map[string]string{
		"{\"a\":1}\n{\"b\":":   "{\"a\":1}\n{\"c\":1}\n",
		"{\"b\":\"{":           "{\"c\":1}\n",
		"{\"a\":1}\n":          "{\"a\":1}\n{\"c\":1}\n",
		"a letter of somebody": "a letter of somebody{\"c\":1}\n",
	} {
		path := filepath.Join(t.TempDir(), "d.jsonl")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(t, Config{File: &File{Path: path}}).Write(t.Context(), []document{{"c": 1}}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", before, got, err)
		}
	}
}

// As logrotate does, or somebody who tidies up.
func TestAFileThatIsMovedAwayIsBegunAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.jsonl")
	s := open(t, Config{File: &File{Path: path}})
	for i, take := range []func() error{
		func() error { return os.Rename(path, path+".old") },
		func() error { return os.Remove(path) },
		func() error { return nil },
	} {
		if err := s.Write(t.Context(), []document{{"n": i}}); err != nil {
			t.Fatal(err)
		}
		if text, _ := os.ReadFile(path); string(text) != fmt.Sprintf("{\"n\":%d}\n", i) {
			t.Errorf("%d: %q", i, text)
		}
		if err := take(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoOtherProcessWritesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.jsonl")
	c := Config{File: &File{Path: path}}
	lock := func() (*os.File, error) {
		other, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.Close() })
		return other, syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	other, err := lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.open(&decisions); err == nil || !strings.Contains(err.Error(), path+" is written by another process") {
		t.Errorf("a file of another process: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, c)
	if _, err := lock(); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("another process may write: %v", err)
	}
}

// A new configuration opens its log before the earlier one has written the last record.
func TestDestinationsOfOneProcessShareAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.jsonl")
	earlier, later := Config{File: &File{Path: path}}, Config{File: &File{Path: path, MaxMiB: 7}}
	write := func(sinks map[string]sink, n int) {
		t.Helper()
		if err := sinks["file"].Write(t.Context(), []map[string]any{{"n": n}}); err != nil {
			t.Fatal(err)
		}
	}
	a, err := earlier.open(&decisions)
	if err != nil {
		t.Fatal(err)
	}
	b, err := later.open(&decisions)
	if err != nil {
		t.Fatal(err)
	}
	write(b, 1)
	write(a, 2)
	if err := a["file"].Close(); err != nil {
		t.Fatal(err)
	}
	write(b, 3)
	if err := b["file"].Close(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n" {
		t.Errorf("%q", text)
	}
	if len(shared.files) != 0 {
		t.Error("the file is still open")
	}
}

func TestAServerGetsOPAsShape(t *testing.T) {
	var got []map[string]int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Authorization") != "Bearer sesame" {
			t.Errorf("%v, %v", err, r.Header)
		}
		text, _ := io.ReadAll(z)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}))
	defer srv.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{HTTP: &Server{URL: srv.URL + "/logs", TokenFile: token}})
	batch := []document{{"a": 1}, {"a": 2}}
	if err := s.Write(t.Context(), batch); err != nil || len(got) != 2 || got[1]["a"] != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

// Only what is about the records themselves is final.
func TestWhatAServerAnswersDecidesWhetherItIsAskedAgain(t *testing.T) {
	for _, c := range []struct {
		status  int
		later   string        // Retry-After
		after   time.Duration // that is waited
		refused bool
	}{
		{status: 200}, {status: 204},
		{status: 400, refused: true}, {status: 413, refused: true}, {status: 422, refused: true},
		{status: 401}, {status: 403}, {status: 404}, {status: 500}, {status: 502}, {status: 307},
		{status: 429, later: "7", after: 7 * time.Second}, {status: 503, later: "99999999999999999999"},
		{status: 503, later: "86400", after: time.Minute}, {status: 429, later: "-1"}, {status: 503},
		{status: 429, later: time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), after: time.Minute},
		{status: 503, later: "Thu, 01 Jan 1970 00:00:00 GMT"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.later)
			w.WriteHeader(c.status)
		}))
		s := open(t, Config{HTTP: &Server{URL: srv.URL + "/logs?key=sesame"}})
		err := s.Write(t.Context(), []document{{}, {}})
		var r *refused
		var l *later
		if (err == nil) != (c.status/100 == 2) || errors.As(err, &r) != c.refused || c.refused && r.records != 2 {
			t.Errorf("%d: %v", c.status, err)
		}
		if errors.As(err, &l) != (c.after > 0) || c.after > 0 && l.after != c.after {
			t.Errorf("%d with Retry-After %q: %+v", c.status, c.later, l)
		}
		srv.Close()
		if err := s.Write(t.Context(), []document{{}}); err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("away: %v", err)
		}
	}
}

func TestARedirectTakesDecisionsNowhere(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	for _, c := range []Config{{HTTP: &Server{URL: srv.URL}}, {OTLP: &Server{URL: srv.URL}}} {
		if err := open(t, c).Write(t.Context(), []document{{}}); err == nil {
			t.Error("what was sent elsewhere counts as written")
		}
	}
}

func TestAMaskErasesAndSaysWhat(t *testing.T) {
	c := Config{File: &File{Path: "x"}, Mask: &[]string{"/input/principal/claims", "/input/list/1/secret", "/input/a~1b", "/nowhere"}}
	if err := config.Check("policy.log", c.Check); err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	text := `{"input": {"principal": {"user": "ann", "claims": {"x": 1}}, "a/b": 1, "list": [{"secret": 1}, {"secret": 2, "c": 3}]}}`
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		t.Fatal(err)
	}
	erased := c.mask(decisions.Mask).erase(record)
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
		"policy.log.http.url: contains a":  {HTTP: &Server{URL: "https://bulkhead:hunter2@logs.example.com/logs"}},
		"policy.log.http.url":              {HTTP: &Server{URL: "http://logs.example.com/logs"}},
		"policy.log.otlp.url: contains a":  {OTLP: &Server{URL: "https://bulkhead:hunter2@collector:4318/v1/logs"}},
		"policy.log.otlp.url":              {OTLP: &Server{URL: "http://collector:4318/v1/logs"}},
		"policy.log.otlp.url: must be":     {File: file, OTLP: &Server{}},
		"policy.log.whenFull":              {File: file, WhenFull: "wait"},
		"policy.log.mask[0]":               {File: file, Mask: &[]string{"input.principal"}},
		"policy.log.queue":                 {File: file, Queue: -1},
	} {
		if err := config.Check("policy.log", c.Check); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Opening a pipe for reading waits for a writer.
func TestOnlyRegularFilesAreReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.jsonl")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&File{Path: path}).Read(); err == nil || !strings.Contains(err.Error(), path+" is not a regular file") {
		t.Errorf("got %v", err)
	}
}
