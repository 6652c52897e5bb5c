package capability

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Contain turns a panic into err and a line for the operator. Capabilities
// defer it in every goroutine that they start: the broker contains its own
// goroutine only, and a panic in any other ends the host. A nil logger is
// slog's default.
func Contain(logger *slog.Logger, capability string, err *error) {
	if p := recover(); p != nil {
		*err = panicked(p, logger, "capability", capability)
	}
}

// panicked logs a panic with where it happened, and hides it in an error.
func panicked(p any, logger *slog.Logger, attributes ...any) error {
	if logger == nil {
		logger = slog.Default()
	}
	logger.With(attributes...).Error("capability panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return &host.Error{Kind: host.Internal, Err: fmt.Errorf("panic: %v", p)}
}
