package kubelet

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// logInterval is the time between a container's log lines; the first is logged when the cluster starts. Line n is always the
// same, so a log can be read, followed and compared.
const logInterval = time.Second

var logged = []string{"GET /healthz 200", "GET / 200", "POST /orders 201", "GET /orders 200", "cache refreshed"}

func (s *Server) logLine(p pod, n int) (time.Time, string) {
	at := s.started.Add(time.Duration(n) * logInterval)
	if n == 0 {
		return at, fmt.Sprintf("%s/%s %s: listening on :8080", p.namespace, p.name, p.container)
	}
	return at, fmt.Sprintf("%s: request %d: %s", p.container, n, logged[n%len(logged)])
}

// logOptions are the supported parameters of kubectl logs.
type logOptions struct {
	follow, timestamps bool
	since              time.Time
	tail, limit        int // -1: all
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	o, err := readLogOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &limitedWriter{w: w, left: o.limit}
	next := int(time.Since(s.started)/logInterval) + 1
	first := 0
	if o.tail >= 0 {
		first = max(0, next-o.tail)
	}
	for n := first; n < next; n++ {
		s.writeLine(out, podOf(r), n, o)
	}
	if !o.follow {
		return
	}
	tick := time.NewTicker(logInterval)
	defer tick.Stop()
	for !out.full {
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		s.writeLine(out, podOf(r), next, o)
		next++
	}
}

func (s *Server) writeLine(w io.Writer, p pod, n int, o logOptions) {
	at, line := s.logLine(p, n)
	if at.Before(o.since) {
		return
	}
	if o.timestamps {
		line = at.UTC().Format(time.RFC3339Nano) + " " + line
	}
	_, _ = fmt.Fprintln(w, line)
}

func readLogOptions(q url.Values) (o logOptions, err error) {
	o.tail, o.limit = -1, -1
	o.follow = q.Get("follow") == "true"
	o.timestamps = q.Get("timestamps") == "true"
	for name, to := range map[string]*int{"tailLines": &o.tail, "limitBytes": &o.limit} {
		if text := q.Get(name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil {
				return o, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if text := q.Get("sinceSeconds"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil {
			return o, fmt.Errorf("sinceSeconds: %w", err)
		}
		o.since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		if o.since, err = time.Parse(time.RFC3339, text); err != nil {
			return o, fmt.Errorf("sinceTime: %w", err)
		}
	}
	return o, nil
}

// limitedWriter drops what exceeds the bytes left; a negative number means no limit.
type limitedWriter struct {
	w    io.Writer
	left int
	full bool
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left < 0 {
		return l.w.Write(p)
	}
	n := min(len(p), l.left)
	l.left -= n
	l.full = l.left == 0
	_, err := l.w.Write(p[:n])
	return len(p), err
}
