package recording

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Meta is the user, target and decision of a recorded terminal.
type Meta struct {
	User      string      `json:"user"`
	Login     string      `json:"login,omitempty"`
	Cluster   string      `json:"cluster"`
	Namespace string      `json:"namespace"`
	Pod       string      `json:"pod"`
	Container string      `json:"container"`
	Decision  string      `json:"decision"` // the id of the policy's decision
	RequestID string      `json:"requestId"`
	Reason    string      `json:"reason,omitempty"` // as stated by the user
	Record    host.Record `json:"record"`
	TTY       bool        `json:"tty"`

	Command    string `json:"-"`
	Cols, Rows uint16 `json:"-"`
}

// Target returns the terminal's cluster, namespace and pod: "dev/shop/web-0".
func (m *Meta) Target() string { return m.Cluster + "/" + m.Namespace + "/" + m.Pod }

// head is the first line of a file.
type head struct {
	Version   int    `json:"version"`
	Term      term   `json:"term,omitzero"`    // v3
	Width     uint16 `json:"width,omitempty"`  // v2
	Height    uint16 `json:"height,omitempty"` // v2
	Timestamp int64  `json:"timestamp"`
	Command   string `json:"command,omitempty"`
	Title     string `json:"title,omitempty"`
	Bulkhead  Meta   `json:"bulkhead"`
}

func newHead(began time.Time, command string, m Meta) head {
	return head{
		Version: 3, Term: term{m.Cols, m.Rows}, Timestamp: began.Unix(), Command: command,
		Title: m.User + " in " + m.Target(), Bulkhead: m,
	}
}

type term struct {
	Cols uint16 `json:"cols"`
	Rows uint16 `json:"rows"`
}

// Kinds of events.
const (
	output = "o"
	input  = "i"
	resize = "r"
	exit   = "x"
	marker = "m"
)

// Streams of a terminal.
const (
	stdin = iota
	stdout
	stderr
)

// Recording is a recording in progress. It is safe for concurrent use; events are in
// the order of the calls. After an error every call returns it, and only the end is
// still recorded.
type Recording struct {
	id    string
	began time.Time
	input bool
	tty   bool

	mu      sync.Mutex
	last    time.Duration // of the last event, since began, in whole microseconds
	file    *os.File      // nil after End or Discard
	index   *os.File      // nil until the first point
	written int64         // bytes of file
	marked  int64         // where the last point of the index is
	left    int64         // bytes
	failed  error
	partial [3][]byte // incomplete character at the end of each stream
}

// ID returns the recording's id.
func (r *Recording) ID() string { return r.id }

func (r *Recording) header(m Meta) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.line(newHead(r.began, m.Command, m))
}

// Output records output of the command.
func (r *Recording) Output(toStderr bool, p []byte) error {
	if toStderr {
		return r.text(output, stderr, p)
	}
	return r.text(output, stdout, p)
}

// Input records input of the user, if input is recorded.
func (r *Recording) Input(p []byte) error {
	if !r.input {
		return nil
	}
	return r.text(input, stdin, p)
}

// Resize records a new size of the terminal.
func (r *Recording) Resize(cols, rows uint16) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.event(resize, fmt.Sprintf("%dx%d", cols, rows))
}

// Exit records the exit code of the process.
func (r *Recording) Exit(code int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.event(exit, strconv.Itoa(code))
}

// End records how the session ended and closes the file. It may be called
// repeatedly.
func (r *Recording) End(how string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	// The end may exceed the limit.
	r.left = max(r.left, 0) + 1<<10
	if host.KindOf(r.failed) == host.Limited {
		r.failed = nil
	}
	_ = r.event(marker, how)
	err := r.file.Sync()
	if closing := r.file.Close(); err == nil {
		err = closing
	}
	r.file = nil
	if r.index != nil {
		_ = r.index.Close() // a file without an index can be read as well
	}
	return err
}

// Discard deletes an empty recording.
func (r *Recording) Discard() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	name := r.file.Name()
	_ = r.file.Close()
	r.file = nil
	return os.Remove(name)
}

func (r *Recording) text(kind string, stream int, p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(r.partial[stream], p...)
	n := whole(all)
	r.partial[stream] = bytes.Clone(all[n:])
	if n == 0 {
		return r.failed
	}
	data := bytes.ToValidUTF8(all[:n], []byte("\ufffd"))
	if kind == output && !r.tty {
		// Without a TTY nothing has added carriage returns.
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}
	return r.event(kind, string(data))
}

// whole returns the length of p without an incomplete character at its end.
func whole(p []byte) int {
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				return i
			}
			break
		}
	}
	return len(p)
}

// event needs r.mu.
func (r *Recording) event(kind, data string) error {
	at := time.Since(r.began).Truncate(time.Microsecond)
	interval := json.RawMessage(fmt.Sprintf("%.6f", (at - r.last).Seconds())) // since the event before
	r.mark()
	r.last = at
	return r.line([]any{interval, kind, data})
}

// line needs r.mu.
func (r *Recording) line(v any) error {
	if r.failed != nil {
		return r.failed
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		r.failed = failed(err)
		return r.failed
	}
	if r.left -= int64(b.Len()); r.left < 0 {
		r.failed = &host.Error{Kind: host.Limited, Op: op, Message: "the recording of the session is full; see recordings.maxMiB"}
		return r.failed
	}
	if r.file == nil {
		r.failed = failed(os.ErrClosed)
	} else if n, err := r.file.Write(b.Bytes()); err != nil {
		r.failed = failed(err)
	} else {
		r.written += int64(n)
	}
	return r.failed
}
