package source

import (
	"fmt"
	"strconv"
	"time"
)

// Stamp is what a bundle's signature says against replaying it: an attacker who
// controls the place that bundles come from could otherwise offer an old one again,
// or withhold every newer one.
type Stamp struct {
	Serial  uint64    // grows with each bundle; 0: there is none
	Expires time.Time // it is refused from then on; zero: never
}

// stampKey is the member of the manifest's metadata that holds a stamp.
const stampKey = "bulkhead"

// maxSerial is the largest whole number that every JSON reader keeps.
const maxSerial = 1<<53 - 1

// metadata is the stamp as a bundle's manifest has it, nil if it is empty.
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

// readStamp reads the stamp in a manifest's metadata strictly: a limit that cannot
// be read must not be ignored.
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
