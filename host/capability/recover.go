package capability

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Recover recovers a panic, logs it and sets err. Capabilities defer it in every
// goroutine that they start: the broker recovers panics in its own goroutine only, and
// a panic in any other would end the host. A nil logger is slog's default.
func Recover(logger *slog.Logger, capability string, err *error) {
	if p := recover(); p != nil {
		*err = panicked(p, logger, "capability", capability)
	}
}

// panicked logs a panic with its stack, and returns an internal error for it.
func panicked(p any, logger *slog.Logger, attributes ...any) error {
	if logger == nil {
		logger = slog.Default()
	}
	logger.With(attributes...).Error("capability panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return &host.Error{Kind: host.Internal, Err: fmt.Errorf("panic: %v", p)}
}
