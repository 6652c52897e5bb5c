package capability

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/retryafter"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// waits are the times that upstreams asked a caller to wait, by the status of the
// refusal. The zero value is empty. It is safe for concurrent use.
type waits struct {
	mu sync.Mutex
	by map[int]time.Duration // at most one for each status of 400 to 599
}

func (w *waits) of(status int) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.by[status]
}

// note records the waiting time that the outcome of a call asks for.
func (w *waits) note(resp *abi.Response, err error) {
	status, wait := 0, time.Duration(0)
	if e, ok := errors.AsType[*host.Error](err); ok {
		status, wait = e.HTTPStatus(), e.RetryAfter
	} else if err == nil && resp.Status >= http.StatusBadRequest {
		status = resp.Status
		for _, p := range resp.Header {
			if strings.EqualFold(p.Name, "Retry-After") {
				wait = retryafter.Parse(p.Value, time.Now())
			}
		}
	}
	if status == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[int]time.Duration{}
	}
	w.by[status] = wait // a later refusal without a time counts as well
}
