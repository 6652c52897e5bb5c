package main

import (
	"fmt"
	"io"
	"time"
)

// progress tells a person what is going on and how long it has taken since the start.
type progress struct {
	out   io.Writer
	start time.Time
}

func newProgress(out io.Writer, quiet bool) progress {
	if quiet {
		out = io.Discard
	}
	return progress{out: out, start: time.Now()}
}

func (p progress) step(format string, args ...any) {
	fmt.Fprintf(p.out, "devcluster %5.1fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}
