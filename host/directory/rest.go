package directory

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
)

// lookAgain is how long after a change the files are read again. A change applies
// once two readings that far apart are equal: half of a file may be well-formed, and
// the entries of the other half would be missing.
const lookAgain = 150 * time.Millisecond

// patience is how long files may keep changing before that is a fault.
const patience = 5 * time.Second

var errChanging = errors.New("the files are changing")

// resting detects files that are being written.
type resting struct {
	seen  [sha256.Size]byte // of the previous reading; zero if it equalled the files in force
	since time.Time         // the first of the equal readings
}

// look returns errChanging unless files equal those in force or have not changed
// for lookAgain.
func (r *resting) look(files []dirwatch.File, inForce map[string]cachedFile) error {
	same := len(files) == len(inForce)
	all := sha256.New()
	for i := range files {
		f := &files[i]
		sum := sumOf(f)
		c, ok := inForce[f.Name]
		same = same && ok && c.sum == sum
		fmt.Fprintf(all, "%d:%s%x", len(f.Name), f.Name, sum)
		if f.Err != nil {
			fmt.Fprintf(all, "%d:%s", len(f.Err.Error()), f.Err)
		}
	}
	sum := [sha256.Size]byte(all.Sum(nil))
	switch {
	case same || sum == r.seen && time.Since(r.since) >= lookAgain:
		*r = resting{}
		return nil
	case sum != r.seen:
		*r = resting{sum, time.Now()}
	}
	return errChanging
}

// sumOf returns the hash of a file; zero if it cannot be read.
func sumOf(f *dirwatch.File) [sha256.Size]byte {
	if f.Err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(f.Data)
}

// staleFiles is why the last state of the files is in force, not the present one.
type staleFiles struct {
	since time.Time
	err   error
}

func (s *staleFiles) Error() string {
	return fmt.Sprintf("directory.files: since %s the last state stays in force, so rights removed there still count: %v",
		s.since.UTC().Format(time.RFC3339), s.err)
}

// noteFiles stores and logs the result of reading the files. It reports changing
// files only after patience.
func (d *Directory) noteFiles(err error) {
	old := d.stale.Load()
	switch {
	case err == nil:
		d.changing = time.Time{}
		if old != nil {
			d.stale.Store(nil)
			d.log.Info("directory.files is current again")
		}
		return
	case !errors.Is(err, errChanging):
		d.changing = time.Time{}
	case d.changing.IsZero():
		d.changing = time.Now()
		return
	case time.Since(d.changing) < patience:
		return
	}
	next := &staleFiles{time.Now(), err}
	if old != nil {
		next.since = old.since
	}
	d.stale.Store(next)
	if old == nil || old.err.Error() != err.Error() {
		d.log.Error("directory.files cannot be read; its last state stays in force", "error", err)
	}
}
