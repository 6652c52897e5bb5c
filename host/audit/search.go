package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Store reads a chain. It is safe for concurrent use, also while a host writes.
type Store struct {
	Dir   string
	chain *chain // nil: another process writes it
}

// Filter selects records. An empty field selects all.
type Filter struct {
	// By field: user, login, kind, stage, action, outcome, id, decision, plugin, requestId,
	// traceId, target. "*" in a value matches any characters.
	Fields       map[string]string
	Since, Until time.Time // of the time; Until is exclusive
}

// filterPaths is where each field of a filter is in a record.
var filterPaths = map[string][]string{
	"user": {"user"}, "login": {"login"}, "kind": {"kind"}, "stage": {"stage"}, "action": {"action"}, "outcome": {"outcome"}, "id": {"id"},
	"decision": {"decision"}, "plugin": {"plugin", "name"}, "request": {"requestId"}, "trace": {"traceId"}, "target": {"target"},
	"session": {"session"}, "replica": {"replica"}, "onBehalfOf": {"onBehalfOf"},
}

// FilterNames returns the names of the fields, sorted.
func FilterNames() (names []string) {
	for name := range filterPaths {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Query is a filter and what part of the selected records is wanted.
type Query struct {
	Filter
	// Cursor is where to go on, exclusive; 0: at the beginning, or at the end.
	Cursor uint64
	// Oldest orders by age, the oldest first; otherwise the newest is first.
	Oldest bool
	Limit  int // 1 to MaxPage; 0 means 100
}

// Bounds of one page.
const (
	MaxPage     = 1000
	defaultPage = 100
	maxScanned  = 64 << 20 // bytes that are read for one page
)

// ParseQuery reads the names of FilterNames, since, until (RFC 3339, or a duration before
// now such as 24h), cursor, order (newest, oldest) and limit. Errors are of kind
// host.Invalid.
func ParseQuery(values url.Values) (*Query, error) {
	q := &Query{Filter: Filter{Fields: map[string]string{}}}
	for key, list := range values {
		if len(list) != 1 || list[0] == "" {
			return nil, host.E(host.Invalid, "audit", "%s is empty or given more than once", key)
		}
		if err := q.set(key, list[0]); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func (q *Query) set(key, value string) (err error) {
	switch key {
	case "since":
		q.Since, err = parseTime(value)
	case "until":
		q.Until, err = parseTime(value)
	case "cursor":
		q.Cursor, err = strconv.ParseUint(value, 10, 64)
	case "limit":
		if q.Limit, err = strconv.Atoi(value); err == nil && (q.Limit < 1 || q.Limit > MaxPage) {
			err = fmt.Errorf("must be from 1 to %d", MaxPage)
		}
	case "order":
		if q.Oldest = value == "oldest"; !q.Oldest && value != "newest" {
			err = errors.New("must be newest or oldest")
		}
	case "user":
		q.Fields[key] = string(host.CanonicalID(host.UserID(value)))
	default:
		if _, ok := filterPaths[key]; !ok {
			return host.E(host.Invalid, "audit", "%q is not a filter; the filters are %s, since and until", key, strings.Join(FilterNames(), ", "))
		}
		q.Fields[key] = value
	}
	if err != nil {
		return host.E(host.Invalid, "audit", "%s: %q is not valid: %w", key, value, err)
	}
	return nil
}

func parseTime(s string) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, errors.New("give a time such as 2026-01-31T08:00:00Z, or a duration before now such as 24h")
	}
	return t, nil
}

// Match reports whether f selects the record.
func (f *Filter) Match(r map[string]any) bool {
	for name, want := range f.Fields {
		got, _ := at(r, filterPaths[name]).(string)
		if got != want && !(strings.Contains(want, "*") && host.Glob(want, got)) {
			return false
		}
	}
	if f.Since.IsZero() && f.Until.IsZero() {
		return true
	}
	when, err := time.Parse(time.RFC3339Nano, field(r, "time"))
	return err == nil && !when.Before(f.Since) && (f.Until.IsZero() || when.Before(f.Until))
}

// Page is part of the selected records.
type Page struct {
	Records []json.RawMessage `json:"records"`
	// Next is the cursor of the next page, 0 after the last one. A page may have fewer
	// records than the limit and yet not be the last.
	Next uint64 `json:"next,omitempty"`
}

var errEnough = errors.New("the page is full")

// Search returns one page. It reads a bounded part of the chain.
func (s *Store) Search(ctx context.Context, q *Query) (*Page, error) {
	limit := min(cmp.Or(q.Limit, defaultPage), MaxPage)
	p, scanned, last := &Page{Records: []json.RawMessage{}}, 0, uint64(0)
	err := s.scan(q.Oldest, q.Cursor, func(line []byte) error {
		var r map[string]any
		if json.Unmarshal(line, &r) != nil {
			return nil // Verify reports it
		}
		seq := seqOf(r)
		if q.Cursor != 0 && (q.Oldest && seq <= q.Cursor || !q.Oldest && seq >= q.Cursor) {
			return nil
		}
		if len(p.Records) == limit || scanned > maxScanned {
			p.Next = last
			return errEnough
		}
		scanned += len(line)
		last = seq
		if q.Match(r) {
			p.Records = append(p.Records, bytes.Clone(line))
		}
		return ctx.Err()
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return p, err
}

func seqOf(r map[string]any) uint64 {
	n, _ := r["seq"].(float64)
	return uint64(n)
}

// scan calls f with the lines from the cursor on, or from the file that has it.
func (s *Store) scan(oldest bool, cursor uint64, f func([]byte) error) error {
	files, err := chainFiles(s.Dir)
	if err != nil {
		return err
	}
	if !oldest {
		slices.Reverse(files)
	}
	for i, name := range files {
		first, err := firstOf(name)
		if err != nil {
			return err
		}
		if !oldest && cursor != 0 && first >= cursor {
			continue
		}
		if oldest && i+1 < len(files) {
			if next, err := firstOf(files[i+1]); err == nil && next <= cursor+1 {
				continue
			}
		}
		if err := s.file(name, oldest, f); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) file(name string, oldest bool, f func([]byte) error) error {
	file, err := os.Open(filepath.Join(s.Dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil // it was removed meanwhile
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if oldest {
		return eachLine(file, func(line []byte, whole bool) error {
			if !whole {
				return nil
			}
			return f(line)
		})
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return backwards(file, info.Size(), f)
}

// After returns the records after the cursor that the filter selects, the oldest first, and
// the cursor for the next call. If they are more than one page, it returns the first ones.
func (s *Store) After(ctx context.Context, cursor uint64, filter *Filter) (records []json.RawMessage, next uint64, err error) {
	next = cursor
	size := 0
	err = s.scan(false, 0, func(line []byte) error {
		var r map[string]any
		if json.Unmarshal(line, &r) != nil {
			return nil
		}
		seq := seqOf(r)
		if seq <= cursor {
			return errEnough
		}
		if size += len(line); size > maxScanned {
			return errBehind
		}
		next = max(next, seq)
		if filter.Match(r) {
			records = append(records, bytes.Clone(line))
		}
		return ctx.Err()
	})
	switch {
	case errors.Is(err, errEnough):
		err = nil
	case errors.Is(err, errBehind):
		page, err := s.Search(ctx, &Query{Filter: *filter, Cursor: cursor, Oldest: true, Limit: MaxPage})
		if err != nil {
			return nil, cursor, err
		}
		return page.Records, cmp.Or(page.Next, next), nil
	}
	slices.Reverse(records)
	return records, next, err
}

var errBehind = errors.New("there are too many records after the cursor")

// Changed returns a channel that is closed when records are written, or the chain is
// closed. It is nil if another process writes the chain.
func (s *Store) Changed() <-chan struct{} {
	if s.chain == nil {
		return nil
	}
	s.chain.mu.Lock()
	defer s.chain.mu.Unlock()
	return s.chain.changed
}

// Last returns the number of the newest record, 0 if there is none.
func (s *Store) Last() (last uint64, err error) {
	err = s.scan(false, 0, func(line []byte) error {
		var r linked
		if json.Unmarshal(line, &r) != nil {
			return nil
		}
		last = r.Seq
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return last, err
}

// Export calls f with each record that the filter selects, the oldest first.
func (s *Store) Export(ctx context.Context, filter *Filter, f func(line []byte) error) error {
	return s.scan(true, 0, func(line []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var r map[string]any
		if json.Unmarshal(line, &r) != nil || !filter.Match(r) {
			return nil
		}
		return f(line)
	})
}

// Verify is the function Verify with the key of the host that writes the chain.
func (s *Store) Verify() (*Report, error) {
	var key []byte
	if s.chain != nil {
		key = s.chain.key
	}
	return Verify(s.Dir, key)
}
