package audit

import (
	"context"
	"errors"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// A sink writes records, which are JSON values. One goroutine calls its methods.
type sink interface {
	// Write writes all records or returns an error. Unless the error is a *refused, it
	// may then be called with the same records again.
	Write(ctx context.Context, records []map[string]any) error
	Close() error
}

// profile is how a sink differs from a server that answers.
type profile struct {
	lastRetry   time.Duration // the longest wait between two attempts; 0: that of a server
	unconfirmed bool          // a successful Write does not mean that the records have arrived
}

type profiled interface{ profile() profile }

// open opens every destination of c; the result is by their names in the configuration.
func (c *Config) open(stream *Stream) (map[string]sink, error) {
	sinks := map[string]sink{}
	add := func(name string, s sink, err error) error {
		if err == nil {
			sinks[name] = s
			return nil
		}
		err = config.At(name, err)
		for _, s := range sinks {
			err = errors.Join(err, s.Close())
		}
		return err
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
	if c.Syslog != nil {
		s, err := openSyslog(c.Syslog, stream)
		if err := add("syslog", s, err); err != nil {
			return nil, err
		}
	}
	return sinks, nil
}

// refused is the error about records that the destination will never accept.
type refused struct {
	records int  // number of refused records; the others were written
	whole   bool // the batch was refused as a whole; parts of it may be accepted
	err     error
}

func (e *refused) Error() string { return "the server refuses records: " + e.err.Error() }

func (e *refused) Unwrap() error { return e.err }

// later is an error with the time after which to try again.
type later struct {
	after time.Duration
	err   error
}

func (e *later) Error() string { return e.err.Error() }

func (e *later) Unwrap() error { return e.err }
