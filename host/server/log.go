package server

import (
	"context"
	"io"
	"log/slog"
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
	h := &logHandler{level: &slog.LevelVar{}, json: &atomic.Bool{}}
	options := &slog.HandlerOptions{Level: h.level}
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
	return &logHandler{h.level, h.json, h.asText.WithAttrs(attrs), h.asJSON.WithAttrs(attrs)}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.level, h.json, h.asText.WithGroup(name), h.asJSON.WithGroup(name)}
}
