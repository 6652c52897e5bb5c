package azure

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/retryafter"
)

// retryAfter is how long an answer asks to wait, by the longest of the headers that
// Azure uses: Retry-After, the SDK's two in milliseconds, and those of Cost
// Management for each of its quotas (Query - Usage, 429). 0: it does not say.
func retryAfter(h http.Header) time.Duration {
	longest, now := time.Duration(0), time.Now()
	for name, values := range h {
		if len(values) == 0 {
			continue
		}
		switch name = strings.ToLower(name); {
		case name == "retry-after", strings.HasPrefix(name, "x-ms-ratelimit-microsoft.costmanagement-") && strings.HasSuffix(name, "-retry-after"):
			longest = max(longest, retryafter.Parse(values[0], now))
		case name == "retry-after-ms", name == "x-ms-retry-after-ms":
			if n, err := strconv.ParseUint(values[0], 10, 32); err == nil {
				longest = max(longest, min(time.Duration(n)*time.Millisecond, retryafter.Max))
			}
		}
	}
	return longest
}
