// Package retryafter reads how long an upstream asks its clients to wait.
package retryafter

import (
	"net/http"
	"strconv"
	"time"
)

// Max bounds what is taken for a wait; a longer one counts as this.
const Max = 24 * time.Hour

// Parse reads the value of the header Retry-After (RFC 9110, section 10.2.3): whole
// seconds, or a date, which now is subtracted from. The result is within 0 and Max;
// a value that is absent, malformed or over already gives 0.
func Parse(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, Max)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), Max)
	}
	return 0
}

// Seconds is d in whole seconds, rounded up: a client that comes earlier is too
// early.
func Seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
