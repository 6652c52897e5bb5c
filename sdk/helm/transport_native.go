//go:build !wasip1

package helm

import "github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"

func fetch(req, resp []byte) int64 { return guest.Native.Fetch("helm", req, resp) }
