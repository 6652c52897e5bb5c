package gateway

import (
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestAnUpstreamsWaitComesBeforeTheHostsOwn(t *testing.T) {
	for name, c := range map[string]struct {
		err  host.Error
		want time.Duration
	}{
		"limited":                    {host.Error{Kind: host.Limited}, defaultRetry},
		"unavailable":                {host.Error{Kind: host.Unavailable}, defaultRetry},
		"limited by an upstream":     {host.Error{Kind: host.Limited, RetryAfter: 37 * time.Second}, 37 * time.Second},
		"shorter than the host's":    {host.Error{Kind: host.Unavailable, RetryAfter: time.Second}, time.Second},
		"an upstream's 503":          {host.Error{Kind: host.Upstream, RetryAfter: time.Minute}, time.Minute},
		"a refusal without a remedy": {host.Error{Kind: host.Forbidden}, 0},
		"a failure":                  {host.Error{Kind: host.Upstream}, 0},
	} {
		if got := retryAfter(&c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
