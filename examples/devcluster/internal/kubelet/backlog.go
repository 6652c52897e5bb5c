package kubelet

import (
	"bytes"
	"io"
	"sync"
)

// backlogSize is how much input is read from a client before the command reads it.
const backlogSize = 4 << 20

// backlog is a bounded pipe between a client's stream and a command's input.
//
// The stream must be read even while the command reads nothing: the API server copies between client and kubelet, and while
// it waits for the kubelet to read, it does not detect that the client disconnected, so the command would continue. Input
// beyond the size of the backlog waits nevertheless.
type backlog struct {
	mu      sync.Mutex
	changed sync.Cond
	buf     bytes.Buffer
	ended   bool // no more input
	unread  bool // the command no longer reads it
}

func newBacklog() *backlog {
	b := &backlog{}
	b.changed.L = &b.mu
	return b
}

// copyInput copies the client's input to the command, and calls end at its end. It returns at once.
func copyInput(to io.Writer, from io.Reader, end func()) {
	b := newBacklog()
	go func() {
		_, _ = io.Copy(b, from)
		b.set(&b.ended)
	}()
	go func() {
		_, _ = io.Copy(to, b)
		b.set(&b.unread)
		end()
	}()
}

func (b *backlog) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.buf.Len() >= backlogSize && !b.unread {
		b.changed.Wait()
	}
	if b.unread {
		return len(p), nil // keep reading the stream to see it end
	}
	b.changed.Broadcast()
	return b.buf.Write(p)
}

func (b *backlog) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.buf.Len() == 0 && !b.ended {
		b.changed.Wait()
	}
	b.changed.Broadcast()
	return b.buf.Read(p) // io.EOF when empty
}

func (b *backlog) set(flag *bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*flag = true
	b.changed.Broadcast()
}
