// Package logtest keeps a log for a test. Only tests import it.
package logtest

import (
	"bytes"
	"strings"
	"sync"
)

// Log keeps what is written to it. The zero value is empty; it is safe for concurrent
// use, so that a test may read while goroutines still write.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns everything that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count returns how often s was written.
func (l *Log) Count(s string) int { return strings.Count(l.String(), s) }

// Take returns the lines that contain all parts, and empties the log.
func (l *Log) Take(parts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
lines:
	for line := range strings.Lines(l.text.String()) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue lines
			}
		}
		found = append(found, line)
	}
	l.text.Reset()
	return found
}
