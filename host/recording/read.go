package recording

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// maxLine bounds a line of a file, in bytes.
const maxLine = 16 << 20

// Entry describes a recording.
type Entry struct {
	ID       string        `json:"id"`
	Began    time.Time     `json:"began"`
	Duration time.Duration `json:"-"`
	Seconds  float64       `json:"seconds"`
	Bytes    int64         `json:"bytes"`
	Command  string        `json:"command,omitempty"`
	Ended    string        `json:"ended,omitempty"` // how; empty if in progress or interrupted
	ExitCode *int          `json:"exitCode,omitempty"`
	Meta
}

// Event is one event of a recording.
type Event struct {
	At   time.Duration // since the beginning
	Kind string        // "o" output, "i" input, "r" resize, "x" exit, "m" marker
	Data string
}

var idRE = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[a-z0-9]{10}$`)

// List returns the recordings in a directory, oldest first. It skips other files; a
// directory that does not exist has none.
func List(dir string) ([]Entry, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	list := []Entry{}
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), extension)
		if !ok {
			continue
		}
		if e, err := Read(dir, id, nil); err == nil {
			list = append(list, *e)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Read reads a recording and calls each, if not nil, with every event until that
// returns an error. The last line of a recording in progress may be missing.
func Read(dir, id string, each func(Event) error) (*Entry, error) {
	return ReadFrom(dir, id, 0, each)
}

// ReadFrom is Read that begins at a time, or up to indexEvery bytes of events before it.
// How the terminal looked then is not known.
func ReadFrom(dir, id string, from time.Duration, each func(Event) error) (*Entry, error) {
	if !idRE.MatchString(id) {
		return nil, host.E(host.Invalid, op, "%q is not the id of a recording", id)
	}
	path := filepath.Join(dir, id+extension)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, host.E(host.NotFound, op, "there is no recording %s", id)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // opening a named pipe would wait for a writer
		return nil, fmt.Errorf("recording %s: %s is not a regular file", id, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 64<<10)
	first, err := line(lines)
	if err != nil {
		return nil, fmt.Errorf("recording %s: %w", id, err)
	}
	var h head
	if err := json.Unmarshal(first, &h); err != nil || h.Version != 2 && h.Version != 3 {
		return nil, fmt.Errorf("recording %s is not asciicast v2 or v3", id)
	}
	e := &Entry{ID: id, Began: time.Unix(h.Timestamp, 0).UTC(), Command: h.Command, Meta: h.Bulkhead}
	if e.Cols, e.Rows = h.Term.Cols, h.Term.Rows; h.Version == 2 {
		e.Cols, e.Rows = h.Width, h.Height
	}
	if info, err := f.Stat(); err == nil {
		e.Bytes = info.Size()
	}
	if p := seek(dir, id, from); p.offset > 0 && h.Version == 3 {
		if _, err := f.Seek(p.offset, io.SeekStart); err != nil {
			return nil, err
		}
		lines.Reset(f)
		e.Duration = p.at
	}
	for {
		text, err := line(lines)
		if err == io.EOF {
			return e, nil
		} else if err != nil {
			return nil, fmt.Errorf("recording %s: %w", id, err)
		}
		if text[0] == '#' && h.Version == 3 {
			continue // a comment
		}
		var v Event
		if err := v.parse(text); err != nil {
			return nil, fmt.Errorf("recording %s: %w", id, err)
		}
		if h.Version == 3 { // which has intervals
			v.At += e.Duration
		}
		e.Duration, e.Seconds = v.At, v.At.Seconds()
		if v.Kind == marker {
			e.Ended = v.Data
		}
		if code, err := strconv.Atoi(v.Data); v.Kind == exit && err == nil {
			e.ExitCode = &code
		}
		if each == nil {
			continue
		}
		if err := each(v); err != nil {
			return e, err
		}
	}
}

// line returns the next complete line, or io.EOF.
func line(r *bufio.Reader) ([]byte, error) {
	var all []byte
	for {
		part, err := r.ReadSlice('\n')
		if all = append(all, part...); len(all) > maxLine {
			return nil, errors.New("a line is too long")
		}
		switch err {
		case nil:
			return all, nil
		case bufio.ErrBufferFull:
		default:
			return nil, err
		}
	}
}

func (v *Event) parse(text []byte) error {
	var parts []json.RawMessage
	var at float64
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != 3 {
		return errors.New("a line is not an event")
	}
	for i, to := range []any{&at, &v.Kind, &v.Data} {
		if err := json.Unmarshal(parts[i], to); err != nil {
			return fmt.Errorf("an event is malformed: %w", err)
		}
	}
	v.At = time.Duration(math.Round(at*1e6)) * time.Microsecond
	return nil
}

// Filter selects recordings. The zero value selects all.
type Filter struct {
	User   string    // a pattern with "*"
	Target string    // a pattern of CLUSTER/NAMESPACE/POD
	Since  time.Time // began then or later
	Until  time.Time // began before
	Text   string    // occurs in the output or the input, without control sequences
}

// Search returns the recordings that f selects, oldest first.
func Search(dir string, f Filter) ([]Entry, error) {
	list, err := List(dir)
	if err != nil {
		return nil, err
	}
	found := list[:0]
	for _, e := range list {
		ok, err := f.selects(dir, &e)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, e)
		}
	}
	return found, nil
}

func (f *Filter) selects(dir string, e *Entry) (bool, error) {
	switch {
	case f.User != "" && !host.Glob(f.User, e.User),
		f.Target != "" && !host.Glob(f.Target, e.Target()),
		e.Began.Before(f.Since),
		!f.Until.IsZero() && !e.Began.Before(f.Until):
		return false, nil
	case f.Text == "":
		return true, nil
	}
	// Each stream by itself: what is typed is echoed between.
	finders := map[string]*finder{output: {text: f.Text}, input: {text: f.Text}}
	_, err := Read(dir, e.ID, func(v Event) error {
		if x := finders[v.Kind]; x != nil && x.found(v.Data) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	if host.KindOf(err) == host.NotFound { // deleted meanwhile
		err = nil
	}
	return false, err
}

var errFound = errors.New("found")

// control matches the control sequences of a terminal (ECMA-48, section 5.4).
var control = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[ -/]*[0-~])")

// finder looks for a text that may come in parts.
type finder struct{ text, rest string }

func (f *finder) found(part string) bool {
	all := control.ReplaceAllString(f.rest+part, "")
	if strings.Contains(all, f.text) {
		return true
	}
	// Keep what could be the beginning of the text.
	f.rest = all[len(all)-min(len(all), len(f.text)-1):]
	return false
}

// Export writes a recording as asciicast v3, whatever its format here.
func Export(dir, id string, to io.Writer) error {
	e, err := Read(dir, id, nil)
	if err != nil {
		return err
	}
	out := json.NewEncoder(to)
	out.SetEscapeHTML(false)
	if err := out.Encode(newHead(e.Began, e.Command, e.Meta)); err != nil {
		return err
	}
	var last time.Duration
	_, err = Read(dir, id, func(v Event) error {
		interval := json.RawMessage(fmt.Sprintf("%.6f", (v.At - last).Seconds()))
		last = v.At
		return out.Encode([]any{interval, v.Kind, v.Data})
	})
	return err
}
