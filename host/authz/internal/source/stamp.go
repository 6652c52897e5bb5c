package source

import (
	"fmt"
	"strconv"
	"time"
)

// Stamp is the signed data that protects a bundle against replay: without it, an attacker who
// controls the source could serve an old bundle again, or withhold every newer one.
type Stamp struct {
	Serial  uint64    // grows with each bundle; 0 if absent
	Expires time.Time // the bundle is refused from then on; zero: never
}

// stampKey is the member of the manifest's metadata that contains a stamp.
const stampKey = "bulkhead"

// maxSerial is the largest integer that every JSON parser preserves.
const maxSerial = 1<<53 - 1

// metadata returns the stamp for a bundle's manifest, nil if it is empty.
func (s Stamp) metadata() map[string]any {
	in := map[string]any{}
	if s.Serial > 0 {
		in["serial"] = s.Serial
	}
	if !s.Expires.IsZero() {
		in["expires"] = s.Expires.UTC().Format(time.RFC3339)
	}
	if len(in) == 0 {
		return nil
	}
	return map[string]any{stampKey: in}
}

// readStamp parses the stamp in a manifest's metadata strictly, because an unreadable limit
// must not be ignored.
func readStamp(metadata map[string]any) (s Stamp, err error) {
	v, ok := metadata[stampKey]
	if !ok {
		return s, nil
	}
	in, ok := v.(map[string]any)
	if !ok {
		return s, fmt.Errorf("its manifest's metadata.%s is not an object", stampKey)
	}
	for key, v := range in {
		text := fmt.Sprint(v)
		switch key {
		case "serial":
			if s.Serial, err = strconv.ParseUint(text, 10, 64); err != nil || s.Serial == 0 || s.Serial > maxSerial {
				return s, fmt.Errorf("its manifest's metadata.%s.serial %q is not a whole number from 1", stampKey, text)
			}
		case "expires":
			if s.Expires, err = time.Parse(time.RFC3339, text); err != nil {
				return s, fmt.Errorf("its manifest's metadata.%s.expires %q is not a time such as 2026-12-01T18:00:00Z", stampKey, text)
			}
		default:
			return s, fmt.Errorf("its manifest's metadata.%s has an unknown key %q; it may have serial and expires", stampKey, key)
		}
	}
	return s, nil
}
