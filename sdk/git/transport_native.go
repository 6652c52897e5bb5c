//go:build !wasip1

package git

import "github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"

func fetch(req, resp []byte) int64 { return guest.Native.Fetch("git", req, resp) }
