package recording

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A file's index is beside it, with one line for each indexEvery bytes of events: the time
// of the event before them in microseconds, and their offset. It only makes seeking fast:
// without it, or if it was interrupted, the file is read from an earlier point.
const (
	indexExtension = ".idx"
	indexEvery     = 256 << 10
)

// point is where to begin to read: an offset in the file, and the time of the event
// before it.
type point struct {
	at     time.Duration
	offset int64
}

// mark adds a point to the index if it is due. It needs r.mu.
func (r *Recording) mark() {
	if r.written-r.marked >= indexEvery {
		r.marked = r.written
		if r.index == nil {
			name := r.file.Name()
			f, err := os.OpenFile(name[:len(name)-len(extension)]+indexExtension, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return
			}
			r.index = f
		}
		n, _ := fmt.Fprintf(r.index, "%d %d\n", r.last.Microseconds(), r.written)
		r.left -= int64(n)
	}
}

// seek returns the last point of the index before from; the zero point without one.
func seek(dir, id string, from time.Duration) (best point) {
	f, err := os.Open(filepath.Join(dir, id+indexExtension))
	if err != nil {
		return best
	}
	defer f.Close()
	for lines := bufio.NewReader(io.LimitReader(f, maxLine)); ; {
		text, err := lines.ReadString('\n')
		var at, offset int64
		if _, failed := fmt.Sscanf(text, "%d %d\n", &at, &offset); err != nil || failed != nil || time.Duration(at)*time.Microsecond > from {
			return best
		}
		best = point{time.Duration(at) * time.Microsecond, offset}
	}
}
