//go:build !wasip1

package log_test

import (
	"log/slog"

	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guesttest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/log"
)

func ExampleInfo() {
	defer guesttest.Answer("")()

	log.Info("scaled", "deployment", "web", "replicas", 3)
	// Output: 0 scaled deployment=web replicas=3
}

// For code that logs with log/slog.
func ExampleNewHandler() {
	defer guesttest.Answer("")()

	logger := slog.New(log.NewHandler()).WithGroup("release")
	logger.Warn("upgrade failed", "name", "web", "revision", 4)
	// Output: 4 upgrade failed release.name=web release.revision=4
}
