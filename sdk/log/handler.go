package log

import (
	"context"
	"log/slog"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// NewHandler returns a handler that writes records to the host's log:
//
//	slog.SetDefault(slog.New(log.NewHandler()))
//
// It handles every level, since the host decides which it keeps, and leaves out the time, which
// the host adds. The name of an attribute in a group is GROUP.NAME. Values are texts in the
// host's log. Safe for concurrent use.
func NewHandler() slog.Handler { return &handler{} }

type handler struct {
	prefix string // of the names of attributes that follow
	list   []abi.Pair
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	list := slices.Clone(h.list)
	r.Attrs(func(a slog.Attr) bool {
		list = appendAttr(list, h.prefix, a)
		return true
	})
	write(int32(min(max(r.Level, slog.LevelDebug), slog.LevelError)), r.Message, list)
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := &handler{h.prefix, slices.Clone(h.list)}
	for _, a := range attrs {
		out.list = appendAttr(out.list, h.prefix, a)
	}
	return out
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &handler{h.prefix + name + ".", h.list}
}

func appendAttr(list []abi.Pair, prefix string, a slog.Attr) []abi.Pair {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return list
	case v.Kind() != slog.KindGroup:
		return append(list, abi.Pair{Name: prefix + a.Key, Value: v.String()})
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, inner := range v.Group() {
		list = appendAttr(list, prefix, inner)
	}
	return list
}
