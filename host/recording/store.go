package recording

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

const (
	op        = "recording"
	extension = ".cast"

	defaultMaxMiB   = 64
	defaultTotalMiB = 10 << 10
)

// Config is the section "recordings" of the host's configuration.
type Config struct {
	// Input permits recording the input of terminals, including passwords. Without
	// it a terminal whose input policy wants to record does not open.
	Input bool `json:"input,omitempty"`
	// MaxMiB limits one recording; a session that exceeds it ends. Default 64.
	MaxMiB int `json:"maxMiB,omitempty"`
	// TotalMiB limits all recordings together; beyond it recorded terminals do not
	// open. Default 10,240.
	TotalMiB int `json:"totalMiB,omitempty"`
	// Keep is the age at which recordings are deleted, such as "720h"; if empty,
	// they are kept.
	Keep string `json:"keep,omitempty"`
}

// Check adds all problems of c to bad.
func (c *Config) Check(bad *config.Problems) {
	if c.MaxMiB < 0 {
		bad.Add("maxMiB", "must not be negative")
	}
	if c.TotalMiB < 0 {
		bad.Add("totalMiB", "must not be negative")
	}
	if _, err := c.keep(); err != nil {
		bad.Add("keep", "%w", err)
	}
}

func (c *Config) keep() (time.Duration, error) {
	if c.Keep == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(c.Keep)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q must be a positive duration such as 720h", c.Keep)
	}
	return d, nil
}

// Store is a directory of recordings. It is safe for concurrent use.
type Store struct {
	dir        string
	input      bool
	max, total int64
	keep       time.Duration
	log        *slog.Logger
	mu         sync.Mutex // held while measuring and deleting
}

// Open makes the directory, readable by the host's user only, and deletes expired
// recordings. Errors are of kind host.Invalid and name the key.
func Open(dir string, c Config, log *slog.Logger) (*Store, error) {
	if err := config.Check("recordings", c.Check); err != nil {
		return nil, host.E(host.Invalid, op, "%w", err)
	}
	keep, err := c.keep()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, host.E(host.Invalid, op, "recordings: %w", err)
	}
	s := &Store{
		dir: dir, input: c.Input, keep: keep, log: cmp.Or(log, slog.New(slog.DiscardHandler)),
		max: int64(cmp.Or(c.MaxMiB, defaultMaxMiB)) << 20, total: int64(cmp.Or(c.TotalMiB, defaultTotalMiB)) << 20,
	}
	if _, err := s.measure(); err != nil {
		return nil, host.E(host.Invalid, op, "recordings: %w", err)
	}
	return s, nil
}

// Can reports whether the store records sessions in this way.
func (s *Store) Can(what host.Record) bool {
	return s != nil && (what == host.RecordOutput || what == host.RecordAll && s.input)
}

// measure deletes expired recordings and returns the size of the others, in bytes.
func (s *Store) measure() (total int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, err
	}
	for _, f := range list {
		info, err := f.Info()
		id, named := strings.CutSuffix(f.Name(), extension)
		switch {
		case strings.HasSuffix(f.Name(), indexExtension) && err == nil:
			total += info.Size()
		case errors.Is(err, fs.ErrNotExist) || !named || !idRE.MatchString(id):
		case err != nil:
			return 0, err
		case !info.Mode().IsRegular(): // not a recording, despite its name
		case s.keep > 0 && time.Since(info.ModTime()) > s.keep:
			if err := os.Remove(filepath.Join(s.dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
			if err := os.Remove(filepath.Join(s.dir, id+indexExtension)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
			s.log.Info("recording deleted", "recording", id, "keep", s.keep)
		default:
			total += info.Size()
		}
	}
	return total, nil
}

// Begin starts a recording. The error is of kind host.Unavailable if the recordings
// exceed their limit or the file cannot be written.
func (s *Store) Begin(m Meta, what host.Record) (*Recording, error) {
	total, err := s.measure()
	if err != nil {
		return nil, failed(err)
	}
	if total >= s.total {
		s.log.Error("no room for a recording; delete some or raise recordings.totalMiB", "bytes", total)
		return nil, &host.Error{Kind: host.Unavailable, Op: op, Message: "the terminal cannot be recorded: the recordings have reached their limit"}
	}
	now := time.Now()
	id := now.UTC().Format("20060102T150405Z-") + strings.ToLower(rand.Text()[:10])
	f, err := os.OpenFile(filepath.Join(s.dir, id+extension), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, failed(err)
	}
	r := &Recording{id: id, file: f, began: now, left: s.max, input: what == host.RecordAll, tty: m.TTY}
	m.Record = what
	if err := r.header(m); err != nil {
		_ = f.Close()
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return r, nil
}

func failed(err error) error {
	return &host.Error{Kind: host.Unavailable, Op: op, Message: "the terminal cannot be recorded", Err: err}
}
