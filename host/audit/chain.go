package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Chain is a directory with the audit: files of JSON lines in which each line has the
// SHA-256 of the line before it.
type Chain struct {
	// Dir is the directory; by default "audit" below data. One host writes it.
	Dir    string `json:"dir,omitempty"`
	MaxMiB int    `json:"maxMiB,omitempty"` // size at which another file is begun; 0 means 16
	// Keep is the number of files that are kept, the current one included; 0 means 64.
	// The chain says which records were removed with older files.
	Keep int `json:"keep,omitempty"`
}

const (
	defaultChainMiB  = 16
	defaultChainKeep = 64

	checkpointEvery  = 256 // records
	checkpointWithin = time.Minute

	chainPrefix, chainSuffix = "audit-", ".jsonl"
	headFile                 = "head"
	lockFile                 = "lock"
	headSize                 = 1024 // bytes; it is written in place
	maxLine                  = 4 << 20
)

func (c *Chain) check(problems *config.Problems) {
	if c.MaxMiB < 0 || c.Keep < 0 {
		problems.Add("", "maxMiB and keep must not be negative")
	}
	if c.Keep == 1 {
		problems.Add("keep", "must be at least 2, so that the records of the file before are not lost when a file is begun")
	}
}

// head says up to where the chain is written. It is written before each batch, with the
// end after it, and again after it. So the chain ends at From or at To, or between them if
// the host was killed meanwhile.
type head struct {
	From position `json:"from"`
	To   position `json:"to"`
	MAC  string   `json:"mac"` // of From and To
}

// position is a record of the chain: the hash is that of its line.
type position struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// chain writes the directory. It is one sink, shared by the configurations that name the
// same directory.
type chain struct {
	dir   string
	key   []byte
	users int // guarded by chains

	mu      sync.Mutex // guards what follows
	max     int64
	keep    int
	lock    *os.File
	head    *os.File
	file    *os.File // nil: must be opened
	name    string
	size    int64
	at      position
	changed chan struct{}       // closed when records were written
	open    map[string]struct{} // ids of intents without an outcome
	since   int                 // records since the last checkpoint
	last    time.Time           // of the last checkpoint
}

// chains is the open chains of this process, by directory.
var chains = struct {
	sync.Mutex
	dirs map[string]*chain
}{dirs: map[string]*chain{}}

// openChain opens the chain and continues it. found has what was found amiss; it is empty
// for a chain that is open already.
func openChain(c *Chain, key []byte) (_ *chain, found []map[string]any, err error) {
	chains.Lock()
	defer chains.Unlock()
	s := chains.dirs[c.Dir]
	if s == nil {
		s = &chain{dir: c.Dir, key: key, changed: make(chan struct{}), open: map[string]struct{}{}, last: time.Now()}
		if found, err = s.start(); err != nil {
			return nil, nil, errors.Join(err, s.closeFiles())
		}
		chains.dirs[c.Dir] = s
	}
	s.users++
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max, s.keep = int64(cmp.Or(c.MaxMiB, defaultChainMiB))<<20, cmp.Or(c.Keep, defaultChainKeep)
	return s, found, nil
}

// start takes the directory and finds the end of the chain.
func (s *chain) start() (found []map[string]any, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = os.OpenFile(filepath.Join(s.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("%s is written by another process", s.dir)
	}
	before, headErr := readHead(s.dir, s.key)
	if s.head, err = os.OpenFile(filepath.Join(s.dir, headFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	tell := func(what string, args ...any) {
		found = append(found, map[string]any{"kind": KindAudit, "stage": "damaged", "error": fmt.Sprintf(what, args...)})
	}
	more, err := s.resume(before, tell)
	if err != nil {
		return nil, err
	}
	if headErr != nil && (s.file != nil || !errors.Is(headErr, fs.ErrNotExist)) {
		tell("%s cannot be used: %v; records at the end of the chain may have been removed", headFile, headErr)
	}
	return append(found, more...), nil
}

// resume continues the last file that has a record. before is the head, or nil.
func (s *chain) resume(before *head, tell func(string, ...any)) (found []map[string]any, err error) {
	files, err := chainFiles(s.dir)
	if err != nil {
		return nil, err
	}
	var end *ending
	for len(files) > 0 && s.file == nil {
		if end, err = s.openLast(files[len(files)-1], before); err != nil {
			return nil, err
		}
		if torn := end.torn; len(torn) > 0 {
			found = append(found, map[string]any{"kind": KindAudit, "stage": "mended", "details": map[string]any{
				"file": files[len(files)-1], "bytes": len(torn), "sha256": hashOf(torn),
				"what": "the last line was not complete, because the host was stopped while it wrote; it was removed",
			}})
		}
		files = files[:len(files)-1]
	}
	if before != nil {
		s.at = before.From
	}
	switch {
	case s.file == nil && before != nil && before.From.Seq > 0:
		tell("all %d records are missing", before.From.Seq)
	case s.file == nil:
	case before == nil:
		s.at = end.at
	default:
		end.compare(before, tell)
		if end.at.Seq >= s.at.Seq {
			s.at = end.at
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.open)) {
		found = append(found, abandoned(id, end.intents[id]))
	}
	return found, nil
}

// ending is what the last file has.
type ending struct {
	first   uint64   // number of its first record
	at      position // of its last record
	known   bool     // it has the record of the head
	torn    []byte   // what follows its last complete line
	intents map[string]map[string]any
}

// openLast opens a file to append to it. A file without a complete line, which was only
// just begun, is removed, and s.file stays nil.
func (s *chain) openLast(name string, before *head) (*ending, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	e, size := &ending{intents: map[string]map[string]any{}}, int64(0)
	e.first, _ = firstOf(name)
	err = eachLine(f, func(line []byte, whole bool) error {
		if !whole {
			e.torn = bytes.Clone(line)
			return nil
		}
		size += int64(len(line)) + 1
		e.note(s, line)
		e.known = e.known || before != nil && e.at == before.From
		return nil
	})
	switch {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	case size == 0:
		return e, errors.Join(f.Close(), os.Remove(f.Name()))
	case len(e.torn) > 0:
		if err := f.Truncate(size); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	s.file, s.name, s.size = f, name, size
	return e, nil
}

// note reads one line.
func (e *ending) note(s *chain, line []byte) {
	var r linked
	if json.Unmarshal(line, &r) != nil {
		return // Verify reports it
	}
	e.at = position{r.Seq, hashOf(line)}
	r.track(s.open)
	switch r.Stage {
	case StageIntent:
		var whole map[string]any
		if json.Unmarshal(line, &whole) == nil {
			e.intents[r.ID] = whole
		}
	case StageOutcome:
		delete(e.intents, r.ID)
	}
}

// compare tells how the end of the chain differs from the head.
func (e *ending) compare(before *head, tell func(string, ...any)) {
	switch {
	case e.at.Seq < before.From.Seq:
		tell("records %d to %d are missing at the end", e.at.Seq+1, before.From.Seq)
	case e.at.Seq > before.To.Seq:
		tell("records %d to %d were not written by this host", before.To.Seq+1, e.at.Seq)
	case !e.known && e.first <= before.From.Seq:
		tell("record %d is not the one that was written", before.From.Seq)
	}
}

// abandoned returns the outcome of an intent whose host did not live to record one.
func abandoned(id string, intent map[string]any) map[string]any {
	doc := map[string]any{}
	for _, key := range []string{"kind", "action", "target", "user", "login", "method", "onBehalfOf", "plugin", "decision", "requestId", "traceId"} {
		if v, ok := intent[key]; ok {
			doc[key] = v
		}
	}
	if doc["kind"] == nil {
		doc["kind"] = KindAudit
	}
	doc["id"], doc["stage"], doc["outcome"] = id, StageOutcome, string(Unknown)
	doc["error"] = "the host ended before it recorded the outcome; the effect may have happened"
	return doc
}

// linked is what makes a record part of the chain.
type linked struct {
	Seq   uint64 `json:"seq"`
	Prev  string `json:"prev"`
	Kind  string `json:"kind"`
	Stage string `json:"stage"`
	ID    string `json:"id"`
	Key   string `json:"key"`
	MAC   string `json:"mac"`
	// Open is the intents without an outcome at the beginning of a file.
	Open []string `json:"open"`
	UpTo uint64   `json:"upTo"`
}

// track keeps the ids of intents without an outcome.
func (r *linked) track(open map[string]struct{}) {
	switch r.Stage {
	case StageIntent:
		open[r.ID] = struct{}{}
	case StageOutcome:
		delete(open, r.ID)
	case stageFile:
		for _, id := range r.Open {
			open[id] = struct{}{}
		}
	}
}

// Stages of records about the chain itself.
const (
	stageFile       = "file"       // the first record of each file
	stageCheckpoint = "checkpoint" // signs the chain up to it
	stageRemoved    = "removed"    // older files were removed, as configured
)

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// keyID names a key without revealing it.
func keyID(key []byte) string {
	sum := sha256.Sum256(append([]byte("bulkhead audit key id v1\n"), key...))
	return hex.EncodeToString(sum[:8])
}

func macOf(key []byte, format string, args ...any) string {
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, format, args...)
	return hex.EncodeToString(m.Sum(nil))
}

func checkpointMAC(key []byte, seq uint64, prev string) string {
	return macOf(key, "bulkhead audit checkpoint v1\n%d %s", seq, prev)
}

func (h *head) mac(key []byte) string {
	return macOf(key, "bulkhead audit head v1\n%d %s\n%d %s", h.From.Seq, h.From.Hash, h.To.Seq, h.To.Hash)
}

// readHead returns the head, nil with an error.
func readHead(dir string, key []byte) (*head, error) {
	text, err := os.ReadFile(filepath.Join(dir, headFile))
	if err != nil {
		return nil, err
	}
	if len(text) == 0 { // it was created, and nothing was written yet
		return nil, fs.ErrNotExist
	}
	var h head
	if err := json.Unmarshal(bytes.TrimRight(text, " \n"), &h); err != nil {
		return nil, errors.New("it is not readable")
	}
	if key != nil && !hmac.Equal([]byte(h.MAC), []byte(h.mac(key))) {
		return nil, errors.New("it was changed, or signed with another key")
	}
	return &h, nil
}

// Write appends the records, and returns when they are on the disk. Records that are
// offered meanwhile are written together by the next call, so that they share one
// fsync(2).
func (s *chain) Write(_ context.Context, records []map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return os.ErrClosed
	}
	if s.file == nil || s.size >= s.max {
		if err := s.begin(); err != nil {
			return err
		}
	}
	checkpoint := s.since+len(records) >= checkpointEvery || time.Since(s.last) >= checkpointWithin
	if checkpoint {
		records = append(slices.Clip(records), nil)
	}
	if err := s.append(records); err != nil {
		return err
	}
	if s.since += len(records); checkpoint {
		s.since, s.last = 0, time.Now()
	}
	return nil
}

// append writes records; nil is a checkpoint. It has no effect if it fails. It needs s.mu.
func (s *chain) append(records []map[string]any) error {
	var lines bytes.Buffer
	at := s.at
	for _, r := range records {
		if r == nil {
			r = map[string]any{
				"kind": KindAudit, "stage": stageCheckpoint, "time": now(),
				"key": keyID(s.key), "mac": checkpointMAC(s.key, at.Seq+1, at.Hash),
			}
		}
		r["seq"], r["prev"] = at.Seq+1, at.Hash
		from := lines.Len()
		enc := json.NewEncoder(&lines)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(r); err != nil {
			return &refused{records: len(records), whole: true, err: err}
		}
		if n := lines.Len() - from; n > maxLine {
			return &refused{records: len(records), whole: true, err: fmt.Errorf("a record has %d bytes, the limit is %d", n, maxLine)}
		}
		at = position{at.Seq + 1, hashOf(lines.Bytes()[from : lines.Len()-1])}
	}
	// The head is on the disk first: after a power failure, a file that is ahead of it would
	// look as if somebody had added records.
	if err := errors.Join(s.writeHead(s.at, at), s.head.Sync()); err != nil {
		return err
	}
	_, err := s.file.Write(lines.Bytes())
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		// After a failed fsync it is not known what the disk has; all of it is written again.
		err = errors.Join(err, s.file.Truncate(s.size))
		return errors.Join(err, s.writeHead(s.at, s.at))
	}
	s.size += int64(lines.Len())
	s.at = at
	for _, r := range records {
		(&linked{Stage: field(r, "stage"), ID: field(r, "id")}).track(s.open)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return s.writeHead(at, at)
}

func field(r map[string]any, key string) string {
	s, _ := r[key].(string)
	return s
}

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

func (s *chain) writeHead(from, to position) error {
	h := &head{From: from, To: to}
	h.MAC = h.mac(s.key)
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	_, err = s.head.WriteAt(append(append(text, bytes.Repeat([]byte(" "), headSize-1-len(text))...), '\n'), 0)
	return err
}

// begin begins another file, after a checkpoint in the one before. It needs s.mu.
func (s *chain) begin() (err error) {
	if s.file != nil && s.since > 0 {
		if err := s.append([]map[string]any{nil}); err != nil {
			return err
		}
		s.since = 0
	}
	name := fmt.Sprintf("%s%012d%s", chainPrefix, s.at.Seq+1, chainSuffix)
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_APPEND|os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	before, beforeName, beforeSize := s.file, s.name, s.size
	s.file, s.name, s.size = f, name, 0
	open := make([]any, 0, len(s.open))
	for _, id := range slices.Sorted(maps.Keys(s.open)) {
		open = append(open, id)
	}
	err = errors.Join(s.append([]map[string]any{{"kind": KindAudit, "stage": stageFile, "time": now(), "open": open}}), syncDir(s.dir))
	if err != nil {
		s.file, s.name, s.size = before, beforeName, beforeSize
		return errors.Join(err, f.Close())
	}
	if before != nil {
		_ = before.Close() // every line of it was synchronized
	}
	return s.trim()
}

// trim removes the oldest files, and first writes that it does. It needs s.mu.
func (s *chain) trim() error {
	files, err := chainFiles(s.dir)
	if err != nil || len(files) <= s.keep {
		return err
	}
	old := files[:len(files)-s.keep]
	kept, err := firstOf(files[len(old)])
	if err != nil {
		return err
	}
	if err := s.append([]map[string]any{{"kind": KindAudit, "stage": stageRemoved, "time": now(), "upTo": kept - 1}}); err != nil {
		return err
	}
	for _, name := range old {
		err = errors.Join(err, os.Remove(filepath.Join(s.dir, name)))
	}
	return err
}

// Close ends the chain with a checkpoint.
func (s *chain) Close() error {
	chains.Lock()
	defer chains.Unlock()
	if s.users--; s.users != 0 {
		return nil // another configuration uses it, or it is closed already
	}
	delete(chains.dirs, s.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.file != nil && s.since > 0 {
		err = s.append([]map[string]any{nil})
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return errors.Join(err, s.closeFiles())
}

func (s *chain) closeFiles() (err error) {
	for _, f := range []**os.File{&s.file, &s.head, &s.lock} {
		if *f != nil {
			err = errors.Join(err, (*f).Close())
			*f = nil
		}
	}
	return err
}

func (*chain) profile() profile { return profile{lastRetry: time.Second} }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// chainFiles returns the names of the chain's files, oldest first.
func chainFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, err := firstOf(e.Name()); err == nil && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// firstOf returns the number of the first record in a file, by its name.
func firstOf(name string) (n uint64, err error) {
	digits, ok := strings.CutPrefix(name, chainPrefix)
	digits, ok2 := strings.CutSuffix(digits, chainSuffix)
	if !ok || !ok2 || len(digits) < 12 {
		return 0, fs.ErrNotExist
	}
	_, err = fmt.Sscanf(digits, "%d", &n)
	return n, err
}
