package recording

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func open(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "recordings"), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t *testing.T, s *Store, what host.Record) *Recording {
	t.Helper()
	r, err := s.Begin(Meta{User: "ann", Cluster: "dev", Namespace: "shop", Pod: "web", TTY: true, Command: "/bin/sh", Cols: 80, Rows: 24, Reason: "<why>"}, what)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARecordingIsAsciicast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Input: true})
		r := begin(t, s, host.RecordAll)
		time.Sleep(1500 * time.Millisecond)
		for _, err := range []error{
			r.Input([]byte("é\r")), r.Output(false, []byte("caf\xc3")), r.Output(true, []byte("\xff!")),
			r.Output(false, []byte("\xa9 <\x1b[0m>\r\n")), r.Resize(100, 30), r.End("exit 0"), r.End("again"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(filepath.Join(s.dir, r.ID()+extension))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"version":2,"width":80,"height":24,"timestamp":946684800,"command":"/bin/sh","title":"ann in dev/shop/web",` +
			`"bulkhead":{"user":"ann","cluster":"dev","namespace":"shop","pod":"web","container":"","decision":"","requestId":"","reason":"<why>","record":"all","tty":true}}
[1.500000,"i","é\r"]
[1.500000,"o","caf"]
[1.500000,"o","�!"]
[1.500000,"o","é <\u001b[0m>\r\n"]
[1.500000,"r","100x30"]
[1.500000,"m","exit 0"]
`
		if string(text) != want {
			t.Errorf("recorded\n%s\nwant\n%s", text, want)
		}
		list, err := List(s.dir)
		if err != nil || len(list) != 1 || list[0].Ended != "exit 0" || list[0].Duration != 1500*time.Millisecond || list[0].Target() != "dev/shop/web" {
			t.Errorf("listed %+v, %v", list, err)
		}
	})
}

func TestOnlyTheHostsUserCanReadRecordings(t *testing.T) {
	s := open(t, Config{})
	r := begin(t, s, host.RecordOutput)
	defer r.End("")
	for name, mode := range map[string]fs.FileMode{s.dir: fs.ModeDir | 0o700, filepath.Join(s.dir, r.ID()+extension): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestInputIsRecordedOnlyIfRequested(t *testing.T) {
	s := open(t, Config{Input: true})
	r := begin(t, s, host.RecordOutput)
	if err := errors.Join(r.Input([]byte("hunter2")), r.End("")); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(filepath.Join(s.dir, r.ID()+extension)); strings.Contains(string(text), "hunter2") {
		t.Errorf("recorded %s", text)
	}
	if quiet := open(t, Config{}); quiet.Can(host.RecordAll) || !quiet.Can(host.RecordOutput) || !s.Can(host.RecordAll) {
		t.Error("what can be recorded does not follow recordings.input")
	}
	if (*Store)(nil).Can(host.RecordOutput) {
		t.Error("nothing records")
	}
}

func TestAFullRecordingFailsAndStillHasAnEnd(t *testing.T) {
	s := open(t, Config{MaxMiB: 1})
	r := begin(t, s, host.RecordOutput)
	var err error
	written := 0
	for chunk := []byte(strings.Repeat("x", 64<<10)); err == nil && written < 32; written++ {
		err = r.Output(false, chunk)
	}
	if host.KindOf(err) != host.Limited || written > 16 {
		t.Fatalf("after %d chunks: %v", written, err)
	}
	if again := r.Output(false, []byte("more")); again != err {
		t.Errorf("afterwards: %v", again)
	}
	if err := r.End("full"); err != nil {
		t.Fatal(err)
	}
	if e, err := Read(s.dir, r.ID(), nil); err != nil || e.Bytes > 1<<20+1<<10 || e.Ended != "full" {
		t.Errorf("left %+v, %v", e, err)
	}
}

func TestARecordingNeedsRoom(t *testing.T) {
	s := open(t, Config{TotalMiB: 1})
	if err := os.WriteFile(filepath.Join(s.dir, "20260101T000000Z-aaaaaaaaaa"+extension), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Begin(Meta{}, host.RecordOutput); r != nil || host.KindOf(err) != host.Unavailable {
		t.Errorf("got %v, %v", r, err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Begin(Meta{}, host.RecordOutput); r != nil || host.KindOf(err) != host.Unavailable {
		t.Errorf("without a directory: %v, %v", r, err)
	}
}

func TestOnlyExpiredRecordingsAreDeleted(t *testing.T) {
	s := open(t, Config{Keep: "24h"})
	old := time.Now().Add(-25 * time.Hour)
	const oldID, newID, link, dir = "20260101T000000Z-aaaaaaaaaa", "20260101T000000Z-bbbbbbbbbb", "20260101T000000Z-cccccccccc", "20260101T000000Z-dddddddddd"
	in := func(name string) string { return filepath.Join(s.dir, name) }
	for name, at := range map[string]time.Time{oldID + extension: old, newID + extension: time.Now(), "notes.txt": old, "mine.cast": old} {
		if err := errors.Join(os.WriteFile(in(name), nil, 0o600), os.Chtimes(in(name), at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("notes.txt", in(link+extension)), os.Mkdir(in(dir+extension), 0o700), os.Chtimes(in(dir+extension), old, old)); err != nil {
		t.Fatal(err)
	}
	s.keep = time.Nanosecond // the link's own time cannot be set here
	if err := os.Chtimes(in(newID+extension), time.Now().Add(time.Hour), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r := begin(t, s, host.RecordOutput)
	if err := r.Discard(); err != nil {
		t.Fatal(err)
	}
	files, _ := os.ReadDir(s.dir)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	want := []string{newID + extension, link + extension, dir + extension, "mine.cast", "notes.txt"}
	if !slices.Equal(names, want) {
		t.Errorf("left are %v, want %v", names, want)
	}
	if _, err := Read(s.dir, link, nil); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a link is read: %v", err)
	}
}

func TestAnInterruptedRecordingCanBeRead(t *testing.T) {
	s := open(t, Config{})
	r := begin(t, s, host.RecordOutput)
	if err := errors.Join(r.Output(false, []byte("one")), r.Output(false, []byte("two"))); err != nil {
		t.Fatal(err)
	}
	defer r.End("")
	name := filepath.Join(s.dir, r.ID()+extension)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, info.Size()-5); err != nil {
		t.Fatal(err)
	}
	var seen string
	e, err := Read(s.dir, r.ID(), func(v Event) error { seen += v.Data; return nil })
	if err != nil || seen != "one" || e.Ended != "" {
		t.Errorf("read %q, %+v, %v", seen, e, err)
	}
}

func TestIDsAreNotPaths(t *testing.T) {
	for _, id := range []string{"", "../x", "a/b", "20250101T000000Z-abc"} {
		if _, err := Read(t.TempDir(), id, nil); host.KindOf(err) != host.Invalid {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := Read(t.TempDir(), "20250101T000000Z-abcdefghij", nil); host.KindOf(err) != host.NotFound {
		t.Errorf("got %v", err)
	}
	if list, err := List(filepath.Join(t.TempDir(), "none")); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestConfigurationErrorsNameTheKey(t *testing.T) {
	for _, c := range []Config{{MaxMiB: -1}, {TotalMiB: -1}, {Keep: "30 days"}, {Keep: "-1h"}} {
		if _, err := Open(t.TempDir(), c, nil); host.KindOf(err) != host.Invalid || !strings.Contains(err.Error(), "recordings.") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestALineOfARecordingIsBounded(t *testing.T) {
	s := open(t, Config{})
	r := begin(t, s, host.RecordOutput)
	if err := r.End(""); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir, r.ID()+extension)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`[1,"o","` + strings.Repeat("x", maxLine) + "\"]\n"); errors.Join(err, f.Close()) != nil {
		t.Fatal(err)
	}
	if _, err := Read(s.dir, r.ID(), nil); err == nil || !strings.Contains(err.Error(), "a line is too long") {
		t.Errorf("got %v", err)
	}
}
