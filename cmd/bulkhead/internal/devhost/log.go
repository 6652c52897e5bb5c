package devhost

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// NewLogger returns a logger for Options. It prints, one line at a time, what the plugin
// logs and prints in requests, and what the host warns of. It calls print concurrently.
func NewLogger(print func(line string)) *slog.Logger { return slog.New(&logHandler{print: print}) }

type logHandler struct {
	print func(string)
	attrs []slog.Attr
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

// hidden are attributes that say nothing new to the author.
var hidden = []string{"requestId", "user", "plugin", "output", "module"}

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clone(h.attrs)
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	has := func(key string) bool {
		return slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == key })
	}
	if r.Level < slog.LevelWarn && !(has("plugin") && has("requestId")) {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", strings.ToLower(r.Level.String()), r.Message)
	for _, a := range attrs {
		switch {
		case a.Value.Kind() == slog.KindGroup: // the plugin's own
			for _, own := range a.Value.Group() {
				fmt.Fprintf(&b, " %s=%v", own.Key, own.Value)
			}
		case !slices.Contains(hidden, a.Key):
			fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		}
	}
	h.print(b.String())
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.print, append(slices.Clip(h.attrs), attrs...)}
}

// WithGroup implements slog.Handler; the host's records have no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
