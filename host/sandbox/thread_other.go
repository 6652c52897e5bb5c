//go:build !linux

package sandbox

import "time"

// threadTime returns the elapsed time: on systems other than Linux, other load of the
// machine counts.
func threadTime() time.Duration { return time.Since(processStart) }
