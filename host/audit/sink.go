package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Sink takes records, which are JSON values. Its methods are called by one
// goroutine.
type Sink interface {
	// Write keeps all of the records or returns why none or not all are kept. But
	// for a *Refused it may then be called with the same records again.
	Write(ctx context.Context, records []map[string]any) error
	Close() error
}

// Open opens every destination of c, by its name in the configuration.
func (c *Config) Open() (map[string]Sink, error) {
	sinks := map[string]Sink{}
	add := func(name string, s Sink, err error) error {
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
		if err := add("otlp", otlp{s}, err); err != nil {
			return nil, err
		}
	}
	return sinks, nil
}

// Refused is the error about records that the destination will never take.
type Refused struct {
	Records int  // how many of the call's; the others are kept
	Whole   bool // all of them, unread as it were: fewer at once may be taken
	Err     error
}

func (e *Refused) Error() string { return "it refuses records: " + e.Err.Error() }

func (e *Refused) Unwrap() error { return e.Err }

// Later is the error of a destination that says when to come again.
type Later struct {
	After time.Duration
	Err   error
}

func (e *Later) Error() string { return e.Err.Error() }

func (e *Later) Unwrap() error { return e.Err }
