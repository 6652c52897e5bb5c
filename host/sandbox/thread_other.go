//go:build !linux

package sandbox

import "time"

// threadTime is the time that has passed: elsewhere than on Linux, a busy machine
// counts.
func threadTime() time.Duration { return time.Since(processStart) }
