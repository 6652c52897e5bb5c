package pods

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
)

const (
	maxLine    = 16 << 10 // bytes; what is longer is cut
	retryAfter = time.Second
)

// line is one line of a log, or a change of state.
type line struct {
	Pod       string    `json:"pod"`
	Container string    `json:"container"`
	At        time.Time `json:"at"`
	Text      string    `json:"text"`
	Cut       bool      `json:"cut,omitempty"`
	state     string    // "following", "restarted", "ended"; not a line then
}

func (x *line) before(y *line) bool { return x.At.Before(y.At) }

// source is the log of one container of one pod.
type source struct {
	pod, uid, container string
	lines               chan *line // closed at its end
	stop                func()     // ends the reading of a pod that is gone

	head  *line // taken from lines and not sent yet
	since time.Time
	last  time.Time // of the last line that was read
}

// read reads the log of a container until reading ends, again after each restart if it is
// followed.
func (l *logs) read(ctx, reading context.Context, s *source) {
	defer l.wake()
	defer close(s.lines)
	defer s.stop()
	o := &l.request.logs
	for state := "following"; ; state = "restarted" {
		err := l.readOnce(reading, s, state)
		if ctx.Err() != nil {
			return
		}
		reason := ""
		if err != nil && reading.Err() == nil {
			reason = told(err)
		}
		if !o.follow || !l.goesOn(ctx, s) {
			l.emit(ctx, s, &line{At: s.last, Text: reason, state: "ended"})
			return
		}
	}
}

// goesOn waits a moment and reports whether there can be more of the container's log.
func (l *logs) goesOn(ctx context.Context, s *source) bool {
	timer := time.NewTimer(retryAfter)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		q := *l.request
		q.pod = s.pod
		pod, err := q.get(ctx, l.client)
		kind := host.KindOf(err)
		switch {
		case err != nil && (kind == host.Unavailable || kind == host.Timeout || kind == host.Upstream):
			timer.Reset(retryAfter) // the API server may come back
			continue
		case err != nil || pod.Metadata.UID != s.uid || pod.running() != nil:
			return false
		}
		return true
	}
}

func (l *logs) readOnce(ctx context.Context, s *source, state string) error {
	o := &l.request.logs
	query := url.Values{"container": {s.container}, "timestamps": {"true"}}
	if o.follow {
		query.Set("follow", "true")
	}
	if o.previous {
		query.Set("previous", "true")
	}
	if o.tail >= 0 && s.last.IsZero() {
		query.Set("tailLines", strconv.FormatInt(o.tail, 10))
	}
	if since := later(o.since, s.last); !since.IsZero() {
		query.Set("sinceTime", since.UTC().Format(time.RFC3339))
	}
	body, err := l.client.Open(ctx, &cluster.Request{Method: http.MethodGet, Path: l.request.path(s.pod) + "/log", Query: query})
	if err != nil {
		return err
	}
	defer body.Close()
	if o.follow && !l.emit(ctx, s, &line{At: s.last, state: state}) {
		return nil
	}
	lines, began := bufio.NewReaderSize(body, maxLine), later(o.since, s.last)
	for {
		text, cut, err := cutLine(lines)
		if len(text) > 0 {
			x := parseLine(text, s.last)
			// The API server compares whole seconds, so lines come again.
			if old := !x.At.After(began) && !began.IsZero(); !old && o.match.MatchString(x.Text) {
				x.Cut = cut
				if !l.emit(ctx, s, x) {
					return nil
				}
			}
			s.last = later(s.last, x.At)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return l.client.Failure(name, "the log was interrupted", err)
		}
	}
}

// cutLine returns the next line without its end, or the beginning of a line that is too
// long.
func cutLine(r *bufio.Reader) (text []byte, cut bool, err error) {
	part, err := r.ReadSlice('\n')
	text = bytes.Clone(part)
	for errors.Is(err, bufio.ErrBufferFull) {
		cut = true
		_, err = r.ReadSlice('\n')
	}
	return bytes.TrimRight(text, "\r\n"), cut, err
}

// parseLine takes the time off a line; a line without one gets the time before it.
func parseLine(text []byte, before time.Time) *line {
	stamp, rest, _ := bytes.Cut(text, []byte(" "))
	if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil {
		return &line{At: at, Text: strings.ToValidUTF8(string(rest), "\ufffd")}
	}
	return &line{At: before, Text: strings.ToValidUTF8(string(text), "\ufffd")}
}

// emit hands a line to the merge and waits until it takes it.
func (l *logs) emit(ctx context.Context, s *source, x *line) bool {
	x.Pod, x.Container = s.pod, s.container
	select {
	case s.lines <- x:
		l.wake()
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *logs) wake() {
	select {
	case l.notify <- struct{}{}:
	default:
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
