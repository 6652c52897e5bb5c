//go:build !wasip1

package log

import "github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"

func record(level int32, text string, attributes []byte) {
	guest.Native.Record(level, text, attributes)
}
