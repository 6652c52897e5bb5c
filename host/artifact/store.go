package artifact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Limits of a Store.
const (
	DefaultStoreBytes = 1 << 30 // of all content
	// grace is how long after its last use content is not collected: another process may
	// be about to use it.
	grace     = time.Hour
	maxRecord = 1 << 16 // bytes
	maxProofs = 8 << 20 // bytes of the signatures of one artifact
)

// Store fetches plugins and keeps them on disk by digest, with their signatures, so that
// a restart and a rollback need no network. What it keeps is verified at each use like
// what is fetched: by digest, so that a changed bit is found, and under the policy as it
// is now. A Store is safe for concurrent use, by several processes too.
type Store struct {
	dir    string
	limit  int64
	client Client
	log    *slog.Logger

	mu    sync.Mutex
	inUse map[string]bool // digests of files that must stay
}

// OpenStore opens or makes the directory dir, for its owner alone. Of content it holds
// at most limit bytes; 0 means DefaultStoreBytes.
func OpenStore(dir string, limit int64, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, limit: cmp.Or(limit, DefaultStoreBytes), client: Client{Log: log}, log: log, inUse: map[string]bool{}}
	for _, sub := range []string{s.blobs(), s.records()} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Store) blobs() string   { return filepath.Join(s.dir, "blobs") }
func (s *Store) records() string { return filepath.Join(s.dir, "records") }

// Fetch returns the plugin that p names, verified. What is pinned by a digest and kept
// on disk is not fetched again. If the place of anything else cannot be reached, the
// copy that it gave last is used, and a warning says so. An artifact without a signature
// is logged as a warning each time. Errors are Refusals.
func (s *Store) Fetch(ctx context.Context, p Package) (*Artifact, error) {
	t, err := p.open()
	if err != nil {
		return nil, err
	}
	a, err := s.fetch(ctx, t)
	if err == nil {
		warnUnsigned(s.log, t, a)
		s.use(a.Digest)
	}
	return a, err
}

func (s *Store) fetch(ctx context.Context, t *task) (*Artifact, error) {
	pinned := !t.ref.Local() && (t.Digest != "" || t.ref.digest != "")
	var kept error
	if pinned {
		a, err := s.find(t)
		if err == nil {
			return a, nil
		}
		kept = err
	}
	e, err := s.client.fetch(ctx, t)
	if err != nil {
		err = about(t.ref, StepFetch, err)
		if !errors.Is(err, ErrUnreachable) {
			return nil, err
		}
		if !pinned {
			var a *Artifact
			if a, kept = s.find(t); kept == nil {
				s.log.Warn("a plugin's source cannot be reached; the copy on disk is used", "source", a.Source, "digest", a.Digest, "error", err)
				return a, nil
			}
		}
		if errors.Is(kept, fs.ErrNotExist) {
			return nil, err
		}
		return nil, fmt.Errorf("%w; the copy on disk cannot be used either: %w", err, kept)
	}
	a, err := t.accept(e)
	if err != nil {
		return nil, err
	}
	if err := s.keep(t, a, e); err != nil {
		s.log.Warn("a plugin is used and no copy is kept on disk, so a restart needs its source", "source", a.Source, "digest", a.Digest, "error", err)
	}
	return a, nil
}

// use keeps a file from being collected until Collect says otherwise.
func (s *Store) use(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse[digest] = true
}

// record says how one fetched artifact hangs together. Its name is
// FILE-REFERENCE.json, of the file's digest and of the SHA-256 of the reference.
type record struct {
	Reference string        `json:"reference"` // without secrets
	File      digest.Digest `json:"file"`
	Manifest  digest.Digest `json:"manifest,omitempty"`
	Proofs    digest.Digest `json:"proofs"`
}

func keyOf(r Reference) string {
	sum := sha256.Sum256([]byte(r.String()))
	return hex.EncodeToString(sum[:16])
}

// find looks for a copy that passes as t. It tries the newest first.
func (s *Store) find(t *task) (*Artifact, error) {
	entries, err := s.list()
	if err != nil {
		return nil, err
	}
	why := fmt.Errorf("there is no copy on disk: %w", fs.ErrNotExist)
	file := strings.TrimPrefix(t.Digest, "sha256:")
	for _, entry := range entries {
		of, key, _ := strings.Cut(strings.TrimSuffix(entry.name, ".json"), "-")
		if file != "" && of != file || file == "" && key != keyOf(t.ref) {
			continue
		}
		a, err := s.load(t, entry.name)
		if err == nil {
			now := time.Now()
			_ = os.Chtimes(filepath.Join(s.records(), entry.name), now, now)
			return a, nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // collected meanwhile
			why = err
		}
	}
	return nil, why
}

// load reads the copy that a record describes and verifies it as t.
func (s *Store) load(t *task, name string) (*Artifact, error) {
	path := filepath.Join(s.records(), name)
	text, err := ReadFile(path, maxRecord)
	if err != nil {
		return nil, err
	}
	var r record
	var from Reference
	if err := json.Unmarshal(text, &r); err == nil {
		from, err = ParseReference(r.Reference)
	}
	if from.scheme == "" || !strings.HasPrefix(name, r.File.Encoded()+"-") {
		return nil, s.damaged(path, "record")
	}
	e := &evidence{}
	if e.file, err = s.blob(r.File, MaxPlugin); err != nil {
		return nil, err
	}
	if r.Manifest != "" {
		if e.manifest, err = s.blob(r.Manifest, maxManifest); err != nil {
			return nil, err
		}
	}
	proofs, err := s.blob(r.Proofs, maxProofs)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(proofs, &e.proofs); err != nil {
		return nil, s.damaged(path, "record")
	}
	as := *t
	if as.ref.scheme == "" || byFile(t) { // by the file's digest, from wherever it came
		as.ref = from
		as.ref.digest = ""
	}
	a, err := as.accept(e)
	if err != nil {
		return nil, err
	}
	a.Cached = true
	return a, nil
}

// byFile reports whether t is looked for by the digest of its file.
func byFile(t *task) bool { return t.Digest != "" && t.ref.digest == "" }

// blob reads content and compares it with its digest.
func (s *Store) blob(d digest.Digest, limit int64) ([]byte, error) {
	if _, err := checkDigest(d.String()); err != nil {
		return nil, fmt.Errorf("the copy on disk has the digest %w", err)
	}
	path := filepath.Join(s.blobs(), d.Encoded())
	text, err := ReadFile(path, limit)
	switch {
	case err != nil:
		return nil, err
	case digest.FromBytes(text) != d:
		return nil, s.damaged(path, "content")
	}
	return text, nil
}

// damaged removes a file whose content is wrong, so that it is fetched again.
func (s *Store) damaged(path, what string) error {
	s.log.Error("the copy on disk of a plugin is damaged and was removed; check the disk", "file", path, "what", what)
	_ = os.Remove(path)
	return refuse(StepDigest, "", "the copy on disk is damaged (%s); it was removed and has to be fetched again", filepath.Base(path))
}

type listed struct {
	name string
	used time.Time
}

// list returns the records, the one used last first.
func (s *Store) list() ([]listed, error) {
	entries, err := os.ReadDir(s.records())
	if err != nil {
		return nil, err
	}
	var list []listed
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".json") {
			list = append(list, listed{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b listed) int { return cmp.Or(b.used.Compare(a.used), strings.Compare(a.name, b.name)) })
	return list, nil
}

// keep writes an artifact and what proves it.
func (s *Store) keep(t *task, a *Artifact, e *evidence) error {
	proofs, err := json.Marshal(e.proofs)
	if err != nil {
		return err
	}
	if len(proofs) > maxProofs {
		return fmt.Errorf("its signatures have over %d bytes", maxProofs)
	}
	r := record{Reference: a.Source, File: digest.FromBytes(e.file), Proofs: digest.FromBytes(proofs)}
	contents := map[digest.Digest][]byte{r.File: e.file, r.Proofs: proofs}
	if e.manifest != nil {
		r.Manifest = digest.FromBytes(e.manifest)
		contents[r.Manifest] = e.manifest
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	unlock, err := lockFile(filepath.Join(s.dir, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	size := int64(0)
	for d, content := range contents {
		if _, err := os.Stat(filepath.Join(s.blobs(), d.Encoded())); err != nil {
			size += int64(len(content))
		}
	}
	if err := s.makeRoom(size); err != nil {
		return err
	}
	for d, content := range contents {
		path := filepath.Join(s.blobs(), d.Encoded())
		if info, err := os.Stat(path); err == nil && info.Size() == int64(len(content)) && !s.wrong(path, d) {
			continue
		}
		if err := replace(path, content); err != nil {
			return err
		}
	}
	return replace(filepath.Join(s.records(), r.File.Encoded()+"-"+keyOf(t.ref)+".json"), text)
}

// wrong reports whether a file's content is not that of d.
func (s *Store) wrong(path string, d digest.Digest) bool {
	text, err := os.ReadFile(path)
	return err != nil || digest.FromBytes(text) != d
}

// replace leaves either the old or the new content at path.
func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".next-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Collect removes what is not in use: all but the files with these digests, and what was
// used within the last hour. It returns the bytes that are free again.
func (s *Store) Collect(inUse []string) (freed int64, err error) {
	s.mu.Lock()
	s.inUse = map[string]bool{}
	for _, d := range inUse {
		s.inUse[d] = true
	}
	s.mu.Unlock()
	unlock, err := lockFile(filepath.Join(s.dir, "lock"))
	if err != nil {
		return 0, err
	}
	defer unlock()
	before, err := s.size()
	if err != nil {
		return 0, err
	}
	list, err := s.list()
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		if !s.used(e.name) && time.Since(e.used) > grace {
			if err := os.Remove(filepath.Join(s.records(), e.name)); err != nil {
				return 0, err
			}
		}
	}
	if err := s.sweep(); err != nil {
		return 0, err
	}
	after, err := s.size()
	return before - after, err
}

func (s *Store) used(record string) bool {
	file, _, _ := strings.Cut(record, "-")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse["sha256:"+file]
}

// makeRoom removes what was used longest ago, and is not in use, until more bytes fit.
// It needs the lock.
func (s *Store) makeRoom(more int64) error {
	size, err := s.size()
	if err != nil || size+more <= s.limit {
		return err
	}
	list, err := s.list()
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(list) {
		if s.used(e.name) {
			continue
		}
		if err := os.Remove(filepath.Join(s.records(), e.name)); err != nil {
			return err
		}
		if err := s.sweep(); err != nil {
			return err
		}
		if size, err = s.size(); err != nil || size+more <= s.limit {
			return err
		}
	}
	return fmt.Errorf("the copies in use and this one have over %d bytes", s.limit)
}

func (s *Store) size() (total int64, err error) {
	entries, err := os.ReadDir(s.blobs())
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	return total, err
}

// sweep removes content without a record, and what an interrupted process left. It
// needs the lock.
func (s *Store) sweep() error {
	list, err := s.list()
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, e := range list {
		var r record
		text, err := ReadFile(filepath.Join(s.records(), e.name), maxRecord)
		if err != nil || json.Unmarshal(text, &r) != nil {
			_ = os.Remove(filepath.Join(s.records(), e.name))
			continue
		}
		for _, d := range []digest.Digest{r.File, r.Manifest, r.Proofs} {
			if _, err := checkDigest(d.String()); err == nil {
				needed[d.Encoded()] = true
			}
		}
	}
	entries, err := os.ReadDir(s.blobs())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !needed[e.Name()] {
			if err := os.Remove(filepath.Join(s.blobs(), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
