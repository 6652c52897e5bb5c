package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Claims are what an artifact's signature says against replaying it: an attacker
// who controls the place that artifacts come from could otherwise offer an old one
// again, or withhold every newer one.
type Claims struct {
	Digest  string    // of the content
	Serial  uint64    // grows with each artifact; 0: there is none
	Expires time.Time // it is refused from then on; zero: never
}

// Fresh returns an error if the artifact has expired.
func (c Claims) Fresh(now time.Time) error {
	if !c.Expires.IsZero() && !now.Before(c.Expires) {
		return fmt.Errorf("it expired at %s; sign a new one", c.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// remembered is the newest artifact that was published from a place.
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

// admits returns an error if an artifact is older than what r remembers.
func (r remembered) admits(c Claims) error {
	switch {
	case r.Serial == 0 || c.Serial > r.Serial:
		return nil
	case c.Serial == 0:
		return fmt.Errorf("it has no serial, and one with the serial %d was taken before; sign it with a higher one", r.Serial)
	case c.Serial < r.Serial:
		return fmt.Errorf("its serial %d is below %d, which was taken before: an old bundle is offered again; to go back to it, sign it with a higher serial",
			c.Serial, r.Serial)
	case c.Digest != r.Digest:
		return fmt.Errorf("its serial %d is that of another bundle, which was taken before; sign it with a higher one", r.Serial)
	}
	return nil
}
