package recording

import (
	"errors"
	"fmt"
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
			r.Output(false, []byte("\xa9 <\x1b[0m>\r\n")), r.Resize(100, 30), r.Exit(3), r.End("ended"), r.End("again"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(filepath.Join(s.dir, r.ID()+extension))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"version":3,"term":{"cols":80,"rows":24},"timestamp":946684800,"command":"/bin/sh","title":"ann in dev/shop/web",` +
			`"bulkhead":{"user":"ann","cluster":"dev","namespace":"shop","pod":"web","container":"","decision":"","requestId":"","reason":"<why>","record":"all","tty":true}}
[1.500000,"i","é\r"]
[0.000000,"o","caf"]
[0.000000,"o","�!"]
[0.000000,"o","é <\u001b[0m>\r\n"]
[0.000000,"r","100x30"]
[0.000000,"x","3"]
[0.000000,"m","ended"]
`
		if string(text) != want {
			t.Errorf("recorded\n%s\nwant\n%s", text, want)
		}
		list, err := List(s.dir)
		if err != nil || len(list) != 1 || list[0].Ended != "ended" || *list[0].ExitCode != 3 || list[0].Cols != 80 || list[0].Duration != 1500*time.Millisecond || list[0].Target() != "dev/shop/web" {
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

func TestARecordingInTheEarlierFormatIsRead(t *testing.T) {
	s := open(t, Config{})
	const id = "20260101T000000Z-aaaaaaaaaa"
	old := `{"version":2,"width":100,"height":30,"timestamp":1767225600,"bulkhead":{"user":"ann","cluster":"dev","namespace":"shop","pod":"web"}}
[0.5,"o","one"]
[1.25,"o","two"]
[2.5,"m","logged out"]
`
	if err := os.WriteFile(filepath.Join(s.dir, id+extension), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	var at []time.Duration
	e, err := Read(s.dir, id, func(v Event) error { at = append(at, v.At); return nil })
	want := []time.Duration{500 * time.Millisecond, 1250 * time.Millisecond, 2500 * time.Millisecond}
	if err != nil || !slices.Equal(at, want) || e.Duration != want[2] || e.Ended != "logged out" || e.Cols != 100 || e.ExitCode != nil {
		t.Errorf("read %v, %+v, %v", at, e, err)
	}
}

func TestIntervalsAddUpToTheTimesOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{})
		r := begin(t, s, host.RecordOutput)
		const events = 1000
		for range events {
			time.Sleep(1333333 * time.Nanosecond)
			if err := r.Output(false, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.End("ended"); err != nil {
			t.Fatal(err)
		}
		if e, err := Read(s.dir, r.ID(), nil); err != nil || e.Duration != (events*1333333*time.Nanosecond).Truncate(time.Microsecond) {
			t.Errorf("lasted %v, %v", e.Duration, err)
		}
	})
}

func TestRecordingsAreSearched(t *testing.T) {
	s := open(t, Config{Input: true})
	record := func(user, pod string, output ...string) {
		t.Helper()
		r, err := s.Begin(Meta{User: user, Cluster: "dev", Namespace: "shop", Pod: pod, TTY: true}, host.RecordAll)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range output {
			if err := errors.Join(r.Output(false, []byte(part)), r.Input([]byte("s"))); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.End("ended"); err != nil {
			t.Fatal(err)
		}
	}
	record("ann", "web-1", "drop ta", "ble \x1b[1mord\x1b[0mers")
	record("ben", "db-0", "hello")
	hour := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		filter Filter
		want   string
	}{
		"all": {Filter{}, "ann ben"}, "a user": {Filter{User: "a*"}, "ann"}, "a target": {Filter{Target: "dev/shop/db-*"}, "ben"},
		"a text in parts, with control sequences": {Filter{Text: "table orders"}, "ann"}, "what was typed": {Filter{Text: "ss"}, "ann"},
		"no such text": {Filter{Text: "tables"}, ""}, "later": {Filter{Since: hour}, ""}, "until then": {Filter{Until: hour}, "ann ben"}, "before": {Filter{Until: hour.Add(-25 * time.Hour)}, ""},
	} {
		list, err := Search(s.dir, c.filter)
		var users []string
		for _, e := range list {
			users = append(users, e.User)
		}
		slices.Sort(users)
		if got := strings.Join(users, " "); err != nil || got != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestALongRecordingIsReadFromItsMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Keep: "24h"})
		r := begin(t, s, host.RecordOutput)
		for i := range 1000 {
			time.Sleep(time.Second)
			if err := r.Output(false, []byte(fmt.Sprint(i, strings.Repeat("x", 1<<10)))); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.End("ended"); err != nil {
			t.Fatal(err)
		}
		index := filepath.Join(s.dir, r.ID()+indexExtension)
		read := func() (first time.Duration, n int) {
			t.Helper()
			e, err := ReadFrom(s.dir, r.ID(), 900*time.Second, func(v Event) error {
				if n++; n == 1 {
					first = v.At
				}
				if i := int(v.At/time.Second) - 1; v.Kind == output && !strings.HasPrefix(v.Data, fmt.Sprint(i, "x")) {
					t.Errorf("at %v is %.10s", v.At, v.Data)
				}
				return nil
			})
			if err != nil || e.Duration != 1000*time.Second || e.Ended != "ended" {
				t.Errorf("%+v, %v", e, err)
			}
			return first, n
		}
		if first, n := read(); first > 900*time.Second || n > 400 {
			t.Errorf("read %d events from %v", n, first)
		}
		text, err := os.ReadFile(index)
		if err != nil {
			t.Fatal(err)
		}
		for _, broken := range []string{string(text[:len(text)-3]), "nonsense\n", ""} {
			if err := os.WriteFile(index, []byte(broken), 0o600); err != nil {
				t.Fatal(err)
			}
			read()
		}
		if err := os.Remove(index); err != nil {
			t.Fatal(err)
		}
		if first, n := read(); first != time.Second || n != 1001 {
			t.Errorf("without an index, read %d events from %v", n, first)
		}
	})
}

// BenchmarkSeek reads one event at the end of a recording of 100 MB.
func BenchmarkSeek(b *testing.B) {
	s, err := Open(b.TempDir(), Config{MaxMiB: 128}, nil)
	if err != nil {
		b.Fatal(err)
	}
	r, err := s.Begin(Meta{TTY: true}, host.RecordOutput)
	if err != nil {
		b.Fatal(err)
	}
	for chunk := []byte(strings.Repeat("x", 4<<10)); r.written < 100<<20; {
		if err := r.Output(false, chunk); err != nil {
			b.Fatal(err)
		}
	}
	end := r.last
	if err := r.End("ended"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ReadFrom(s.dir, r.ID(), end, func(Event) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
