package recording

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	Meta
}

// Event is one event of a recording.
type Event struct {
	At   time.Duration // since the beginning
	Kind string        // "o" output, "i" input, "r" resize, "m" marker
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
	if err := json.Unmarshal(first, &h); err != nil || h.Version != 2 {
		return nil, fmt.Errorf("recording %s is not asciicast v2", id)
	}
	e := &Entry{ID: id, Began: time.Unix(h.Timestamp, 0).UTC(), Command: h.Command, Meta: h.Bulkhead}
	e.Cols, e.Rows = h.Width, h.Height
	if info, err := f.Stat(); err == nil {
		e.Bytes = info.Size()
	}
	for {
		text, err := line(lines)
		if err == io.EOF {
			return e, nil
		} else if err != nil {
			return nil, fmt.Errorf("recording %s: %w", id, err)
		}
		var v Event
		if err := v.parse(text); err != nil {
			return nil, fmt.Errorf("recording %s: %w", id, err)
		}
		e.Duration, e.Seconds = v.At, v.At.Seconds()
		if v.Kind == marker {
			e.Ended = v.Data
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
	v.At = time.Duration(at * float64(time.Second))
	return nil
}
