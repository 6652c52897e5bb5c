package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// Stamp is what a bundle's signature says against replaying it: whoever holds the
// place that bundles come from can otherwise offer an old one again, or withhold
// every newer one.
type Stamp struct {
	Serial  uint64    // grows with each bundle; 0: there is none
	Expires time.Time // it is not taken from then on; zero: never
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

// readStamp reads the stamp in a manifest's metadata strictly: what is there and
// cannot be used may have been meant to hold something off.
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

// fresh returns an error if the stamp is over.
func (s Stamp) fresh(now time.Time) error {
	if !s.Expires.IsZero() && !now.Before(s.Expires) {
		return fmt.Errorf("it expired at %s; sign a new one", s.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// remembered is the newest bundle that was published from a place.
type remembered struct {
	Serial uint64 `json:"serial"`
	Digest string `json:"digest"`
}

// readRemembered returns the zero value if path does not exist.
func readRemembered(path string) (r remembered, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil && (r.Serial == 0 || r.Digest == "") {
		err = errors.New("it lacks serial or digest")
	}
	if err != nil {
		return r, fmt.Errorf("the serial of the last bundle cannot be read, so an old one could be taken for new: %s: %w; remove the file to forget it", path, err)
	}
	return r, nil
}

// admits returns an error if a bundle is older than what r remembers.
func (r remembered) admits(c *Content) error {
	switch {
	case r.Serial == 0 || c.Stamp.Serial > r.Serial:
		return nil
	case c.Stamp.Serial == 0:
		return fmt.Errorf("it has no serial, and one with the serial %d was taken before; sign it with a higher one", r.Serial)
	case c.Stamp.Serial < r.Serial:
		return fmt.Errorf("its serial %d is below %d, which was taken before: an old bundle is offered again; to go back to it, sign it with a higher serial",
			c.Stamp.Serial, r.Serial)
	case c.Digest != r.Digest:
		return fmt.Errorf("its serial %d is that of another bundle, which was taken before; sign it with a higher one", r.Serial)
	}
	return nil
}
