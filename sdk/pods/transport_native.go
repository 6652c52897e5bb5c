//go:build !wasip1

package pods

import "github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"

func open(req, resp []byte) int64 { return guest.Native.Open("pods", req, resp) }
