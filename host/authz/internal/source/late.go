package source

import (
	"context"
	"time"
)

// reopen is the time between attempts to open a source.
const reopen = time.Second

// late is a source that is opened as soon as it can be.
type late struct {
	open   func() (Source, error)
	source Source // nil: not yet
}

func (l *late) Load(ctx context.Context) (*Content, error) {
	if l.source == nil {
		s, err := l.open()
		if err != nil {
			return nil, err
		}
		l.source = s
	}
	return l.source.Load(ctx)
}

func (l *late) Run(ctx context.Context, changed func()) {
	tick := time.NewTicker(reopen)
	defer tick.Stop()
	for l.source == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			changed() // calls Load, which opens the source
		}
	}
	l.source.Run(ctx, changed)
}

// Publish follows a Load that succeeded, so the source is open.
func (l *late) Publish(c *Content) error { return l.source.Publish(c) }

func (l *late) Close() error {
	if l.source == nil {
		return nil
	}
	return l.source.Close()
}
