package audit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A sink takes records, which are JSON values. Its methods are called by one
// goroutine.
type sink interface {
	// Write keeps all of the records or returns why not all are kept. Except after a
	// *refused it may then be called with the same records again.
	Write(ctx context.Context, records []map[string]any) error
	Close() error
}

// open opens every destination of c, by its name in the configuration.
func (c *Config) open(stream *Stream) (map[string]sink, error) {
	sinks := map[string]sink{}
	add := func(name string, s sink, err error) error {
		if err == nil {
			sinks[name] = s
			return nil
		}
		for _, s := range sinks {
			err = errors.Join(err, s.Close())
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	if c.File != nil {
		s, err := openFile(c.File)
		if err := add("file", s, err); err != nil {
			return nil, err
		}
	}
	if c.HTTP != nil {
		s, err := openServer(c.HTTP)
		if err := add("http", opa{s}, err); err != nil {
			return nil, err
		}
	}
	if c.OTLP != nil {
		s, err := openServer(c.OTLP)
		if err := add("otlp", otlp{s, stream}, err); err != nil {
			return nil, err
		}
	}
	return sinks, nil
}

// refused is the error about records that the destination will never take.
type refused struct {
	records int  // how many of the call's; the others are kept
	whole   bool // all of them, without looking at each: fewer at once may be taken
	err     error
}

func (e *refused) Error() string { return "it refuses records: " + e.err.Error() }

func (e *refused) Unwrap() error { return e.err }

// later is the error of a destination that says when to try again.
type later struct {
	after time.Duration
	err   error
}

func (e *later) Error() string { return e.err.Error() }

func (e *later) Unwrap() error { return e.err }
