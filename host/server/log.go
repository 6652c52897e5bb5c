package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
)

func (l Log) level() (level slog.Level, err error) {
	if l.Level == "" {
		return slog.LevelInfo, nil
	}
	err = level.UnmarshalText([]byte(l.Level))
	return level, err
}

// Logger returns the host's logger, which writes to w. A configuration that is loaded
// later changes its level and format.
func (l Log) Logger(w io.Writer) *slog.Logger {
	h := &logHandler{level: &slog.LevelVar{}, json: &atomic.Bool{}, recent: &recent{}}
	options := &slog.HandlerOptions{Level: h.level}
	w = io.MultiWriter(w, h.recent)
	h.asText, h.asJSON = slog.NewTextHandler(w, options), slog.NewJSONHandler(w, options)
	log := slog.New(h)
	l.set(log)
	return log
}

// set has a logger of Logger log by l; others stay as they are.
func (l Log) set(log *slog.Logger) {
	h, ok := log.Handler().(*logHandler)
	if !ok {
		return
	}
	if level, err := l.level(); err == nil { // Load has refused it otherwise
		h.level.Set(level)
	}
	h.json.Store(l.Format == "json")
}

// logHandler writes in one of two formats. What With adds is in both.
type logHandler struct {
	level          *slog.LevelVar
	json           *atomic.Bool
	asText, asJSON slog.Handler
	recent         *recent
}

// recentBytes is how much of the log is kept for a support bundle.
const recentBytes = 256 << 10

// recent is the end of the log, in whole lines.
type recent struct {
	mu    sync.Mutex
	text  []byte
	since bool // there is more than at the last call of news
}

func (r *recent) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text, r.since = append(r.text, line...), true
	if len(r.text) > 2*recentBytes {
		tail := r.text[len(r.text)-recentBytes:]
		r.text = append([]byte(nil), tail[bytes.IndexByte(tail, '\n')+1:]...)
	}
	return len(line), nil
}

// news returns what is kept, nil if nothing has come since the last call.
func (r *recent) news() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since {
		return nil
	}
	r.since = false
	return bytes.Clone(r.text)
}

func (h *logHandler) current() slog.Handler {
	if h.json.Load() {
		return h.asJSON
	}
	return h.asText
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.current().Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.level, h.json, h.asText.WithAttrs(attrs), h.asJSON.WithAttrs(attrs), h.recent}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.level, h.json, h.asText.WithGroup(name), h.asJSON.WithGroup(name), h.recent}
}
