// Package retryafter parses the header Retry-After.
package retryafter

import (
	"net/http"
	"strconv"
	"time"
)

// Max is the longest wait; longer ones count as Max.
const Max = 24 * time.Hour

// Parse reads the value of the header Retry-After (RFC 9110, section 10.2.3): whole
// seconds, or a date, from which now is subtracted. The result is between 0 and Max;
// an absent, malformed or past value gives 0.
func Parse(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, Max)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), Max)
	}
	return 0
}

// Seconds returns d in whole seconds, rounded up, so that a client does not retry too
// early.
func Seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
