package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
)

// Status is what a host writes down of itself for the operator on its machine, who
// can then look also while nobody can sign in.
type Status struct {
	At            time.Time                `json:"at"` // when it was written
	Started       time.Time                `json:"started"`
	Version       string                   `json:"version"`
	Commit        string                   `json:"commit,omitempty"`
	PID           int                      `json:"pid"`
	Checks        map[string]string        `json:"checks"`   // what must work, by name: why it does not, or ""
	Degraded      map[string]string        `json:"degraded"` // what the host can serve without, likewise
	Configuration config.Status            `json:"configuration"`
	Policy        authz.Status             `json:"policy"`
	Problems      []directory.Problem      `json:"directoryProblems"`
	Sources       []directory.SourceStatus `json:"directoryClusters"`
	Clusters      []cluster.Status         `json:"clusters"`
}

// Stale is how old a status is when its host no longer runs, or hangs.
const Stale = 30 * time.Second

const (
	statusFile  = "status.json"
	recentFile  = "recent.log"
	statusLook  = time.Second
	statusEvery = 10 * time.Second // it is written at least, though nothing changed
	maxStatus   = 16 << 20
)

// ReadStatus reads what the host of c wrote last. Only the user that the host runs
// as may. An error that wraps fs.ErrNotExist says that none ran in this data
// directory, or that it ended in good order.
func ReadStatus(c *Config) (*Status, error) {
	path := filepath.Join(c.Data, statusFile)
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxStatus:
		return nil, fmt.Errorf("%s is not a file that a host wrote", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &Status{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Ready reports whether everything works that must for the host to serve.
func (s *Status) Ready() bool {
	for _, why := range s.Checks {
		if why != "" {
			return false
		}
	}
	return true
}

func (s *Server) status() *Status {
	text := func(checks map[string]error) map[string]string {
		out := make(map[string]string, len(checks))
		for name, err := range checks {
			out[name] = ""
			if err != nil {
				out[name] = err.Error()
			}
		}
		return out
	}
	rt := s.pin()
	defer s.unpin(rt)
	return &Status{
		Started: s.started.Round(0), Version: Version(), Commit: Commit(), PID: os.Getpid(), Checks: text(s.checks()), Degraded: text(s.degraded()),
		Configuration: s.ConfigStatus(),
		Policy:        rt.policy.Status(), Problems: rt.people.Problems(), Sources: rt.people.Sources(), Clusters: rt.clusters.Ready(),
	}
}

// openStatus begins to write the status down. It is the last thing that is opened,
// and so the first that ends.
func (s *Server) openStatus(ctx context.Context) error {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); s.writeStatus(ctx) }()
	s.closing(func(context.Context) error { stop(); <-done; return nil })
	return nil
}

// writeStatus keeps the status file current until ctx is done, and removes it then.
func (s *Server) writeStatus(ctx context.Context) {
	path := filepath.Join(s.first.Data, statusFile)
	defer func() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("the status file cannot be removed", "error", err)
		}
	}()
	tick := time.NewTicker(statusLook)
	defer tick.Stop()
	var last []byte
	var at time.Time
	failing := false
	for {
		now := s.status()
		text, err := json.Marshal(now)
		if err == nil && (!bytes.Equal(text, last) || time.Since(at) >= statusEvery) {
			last, at = text, time.Now()
			now.At = at.Round(0)
			if text, err = json.MarshalIndent(now, "", "  "); err == nil {
				err = replaceFile(path, text)
			}
		}
		if err != nil && !failing {
			s.log.Warn("the status file cannot be written; bulkhead status shows nothing new", "error", err)
		}
		failing = err != nil
		s.writeRecent()
		select {
		case <-ctx.Done():
			s.writeRecent()
			return
		case <-tick.C:
		}
	}
}

// writeRecent keeps the end of the log in a file, for a support bundle. The file stays when
// the host ends: what it said last is often what one wants to know.
func (s *Server) writeRecent() {
	h, ok := s.log.Handler().(*logHandler)
	if !ok {
		return
	}
	if text := h.recent.news(); text != nil {
		if err := replaceFile(filepath.Join(s.first.Data, recentFile), text); err != nil {
			s.log.Debug("the end of the log cannot be kept", "error", err)
		}
	}
}

// RecentLog returns the end of the log of the host of c, or of the one that ran last.
func RecentLog(c *Config) ([]byte, error) {
	f, err := os.Open(filepath.Join(c.Data, recentFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4*recentBytes))
}

// replaceFile leaves either the old or the new content.
func replaceFile(path string, text []byte) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
