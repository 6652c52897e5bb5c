package directory

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
)

// Config names the sources of entries.
type Config struct {
	// Dir holds the files, named *.yaml or *.yml. Files in directories below it
	// are not read. It may be empty if there are Clusters.
	Dir string
	// Clusters are the clusters whose custom resources are entries too.
	Clusters []Source
	// Replace lists, for each cluster by name, the namespaces whose custom resources
	// may replace roles of Base. In other namespaces such a role is left out.
	Replace map[string][]string
	// Patience is how long Open waits for unreachable clusters; 0 means 5 s.
	Patience time.Duration
	// Base holds the shipped roles, as YAML documents. A role in Dir replaces the one
	// of the same name; for a role of a cluster see Replace.
	Base []byte
	// Kinds says what a resource permission must cover for a call of each
	// capability. No permission covers a call of any other capability.
	Kinds  *capability.Catalog
	Logger *slog.Logger
}

// Directory answers from the current snapshot of a directory. It is safe for
// concurrent use.
type Directory struct {
	dir     string
	kinds   *capability.Catalog
	now     func() time.Time // the wall clock
	log     *slog.Logger
	base    []entry
	shipped []string            // names in base
	replace map[string][]string // Config.Replace
	current atomic.Pointer[snapshot]
	stop    context.CancelFunc
	done    sync.WaitGroup

	sources atomic.Pointer[[]SourceStatus]
	stale   atomic.Pointer[staleFiles] // nil if the files are current

	// Used by the goroutine that reloads only.
	files   map[string]cachedFile
	feeds   []*feed
	resting resting
	// changing is when the files began to change; zero if they are at rest.
	changing time.Time
}

type cachedFile struct {
	sum    [sha256.Size]byte // zero for a file that cannot be read
	parsed *parsed
}

// Open reads the directory and follows its changes until ctx is done or Close
// is called. A missing or unreadable directory and a malformed base are errors of
// kind host.Invalid. Invalid entries and unreachable clusters are not errors; see
// Problems and Sources.
func Open(ctx context.Context, cfg Config) (*Directory, error) { return open(ctx, cfg, time.Now) }

func open(ctx context.Context, cfg Config, now func() time.Time) (_ *Directory, err error) {
	const op = "directory.open"
	d := &Directory{dir: cfg.Dir, kinds: cfg.Kinds, now: now, replace: cfg.Replace, log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))}
	if err := d.loadBase(cfg.Base); err != nil {
		return nil, host.E(host.Invalid, op, "shipped roles: %w", err)
	}
	if cfg.Dir == "" && len(cfg.Clusters) == 0 {
		return nil, host.E(host.Invalid, op, "directory: needs files or clusters")
	}
	for _, c := range cfg.Clusters {
		d.feeds = append(d.feeds, &feed{Source: c})
	}
	watch := func(context.Context, func()) {}
	if cfg.Dir != "" {
		w, err := dirwatch.Open(cfg.Dir, d.log)
		if err != nil {
			return nil, host.E(host.Invalid, op, "directory.files: %w", err)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, w.Close())
			}
		}()
		watch = w.Run
	}
	d.awaitFeeds(ctx, cmp.Or(cfg.Patience, 5*time.Second))
	for _, f := range d.feeds {
		f.changed = f.Changed() // before reading, so that nothing is missed
	}
	if err := d.reload(); err != nil {
		return nil, host.E(host.Invalid, op, "directory.files: %w", err)
	}
	ctx, d.stop = context.WithCancel(ctx)
	files := make(chan struct{}, 1)
	d.done.Go(func() { watch(ctx, func() { signal(files) }) })
	d.done.Go(func() { d.follow(ctx, files) })
	return d, nil
}

// Close stops following changes and waits until that is done. Questions are still
// answered, from the last snapshot.
func (d *Directory) Close() error {
	d.stop()
	d.done.Wait()
	return nil
}

func (d *Directory) loadBase(data []byte) error {
	p := parse("shipped/roles.yaml", data, nil)
	for _, e := range p.entries {
		if e.kind != kindRole {
			return fmt.Errorf("%s %s is not a Role", e.kind, e.id)
		}
		if slices.Contains(d.shipped, e.id) {
			return fmt.Errorf("Role %s is defined twice", e.id)
		}
		d.shipped = append(d.shipped, e.id)
	}
	if len(p.problems) > 0 {
		return errors.New(p.problems[0].String())
	}
	d.base = p.entries
	return nil
}

// reload publishes a new snapshot if an entry has changed or the current snapshot
// is not valid at the present time. It is called after files or sources may have
// changed, or time has passed. While the files cannot be read or are changing, their
// last entries stay in force.
func (d *Directory) reload() error {
	all, same, err := d.readFiles()
	d.noteFiles(err)
	for _, f := range d.feeds {
		more, unchanged := f.read(d)
		all, same = append(all, more...), same && unchanged
	}
	statuses := d.statuses()
	d.sources.Store(&statuses)
	now := d.now()
	if old := d.current.Load(); old == nil || !same || !old.validAt(now) {
		d.publish(old, build(old, d.base, all, now))
	}
	return err
}

// readFiles parses new and changed files. While the directory cannot be listed, or
// is changing, it returns the last entries.
func (d *Directory) readFiles() (all []*parsed, same bool, err error) {
	if d.dir == "" {
		return nil, true, nil
	}
	files, err := dirwatch.Read(d.dir, ".yaml", ".yml")
	if err == nil && d.files != nil {
		err = d.resting.look(files, d.files)
	}
	if err != nil {
		for _, name := range slices.Sorted(maps.Keys(d.files)) {
			all = append(all, d.files[name].parsed)
		}
		return all, d.files != nil, err
	}
	next, same := make(map[string]cachedFile, len(files)), len(files) == len(d.files)
	for _, f := range files {
		c, ok := d.files[f.Name]
		sum := sumOf(&f)
		if !ok || c.sum != sum {
			c, same = cachedFile{sum, d.parse(f, c.parsed)}, false
		}
		next[f.Name] = c
		all = append(all, c.parsed)
	}
	d.files = next
	return all, same, nil
}

// parse reads f. If f cannot be read, its last entries, old, stay in force.
func (d *Directory) parse(f dirwatch.File, old *parsed) *parsed {
	if f.Err != nil {
		var last parsed
		if old != nil {
			last = *old
		}
		last.problems = append(slices.Clip(last.problems), Problem{File: f.Name, Text: "cannot be read: " + f.Err.Error()})
		return &last
	}
	return parse(f.Name, f.Data, d.shipped)
}

func (d *Directory) publish(old, s *snapshot) {
	d.current.Store(s)
	known := map[Problem]bool{}
	if old != nil {
		for _, p := range old.problems {
			known[p] = true
		}
	}
	for _, p := range s.problems {
		if !known[p] {
			d.log.Warn("directory entry is left out", "problem", p.String())
		}
	}
	d.log.Info("directory loaded", "revision", s.revision, "people", len(s.people), "problems", len(s.problems))
	if old != nil {
		close(old.superseded)
	}
}

// Person returns a user's entry.
func (d *Directory) Person(id host.UserID) (Person, bool) {
	p, ok := d.current.Load().people[host.CanonicalID(id)]
	if !ok {
		return Person{}, false
	}
	return p.Person, true
}

// PersonOf returns a principal's entry together with the asserted roles and teams
// that exist. It reads User, Asserted and Unlisted of the principal. It returns false
// if the user is disabled, or unlisted where listing is required.
func (d *Directory) PersonOf(p *host.Principal) (Person, bool) {
	x := d.current.Load().personOf(p)
	if x == nil {
		return Person{}, false
	}
	return x.Person, true
}

// Match returns the permissions that cover q, all from one snapshot; none if
// PersonOf returns false. It looks up roles and teams by user id and assertion
// instead of reading them from the principal, so that a change applies to sessions
// that began before it. The result is read-only.
func (d *Directory) Match(q *host.Question) host.Matching {
	return d.current.Load().match(d.kinds, q)
}

// AppendVersion appends a version of p that changes whenever the result of Match for
// p may change, and rarely otherwise: the versions of the user's entry and of the
// asserted roles and teams, 0 for those that do not exist.
func (d *Directory) AppendVersion(b []byte, p *host.Principal) []byte {
	s, version := d.current.Load(), uint64(0)
	if listed := s.people[host.CanonicalID(p.User)]; listed != nil {
		version = listed.version
	}
	b = binary.LittleEndian.AppendUint64(b, version)
	if p.Asserted.Empty() {
		return b
	}
	for _, ids := range []struct {
		list  []string
		known map[string]*set
	}{{p.Asserted.Roles, s.roles}, {host.CanonicalIDs(p.Asserted.Teams), s.teams}} {
		for _, id := range ids.list {
			version = 0
			if asserted := ids.known[id]; asserted != nil {
				version = asserted.version
			}
			b = binary.LittleEndian.AppendUint64(b, version)
		}
	}
	return b
}

// Revision counts the snapshots, from 1.
func (d *Directory) Revision() uint64 { return d.current.Load().revision }

// Problems returns the entries and parts that the current snapshot leaves out,
// sorted by file and line. The result is read-only.
func (d *Directory) Problems() []Problem { return d.current.Load().problems }

// Sources returns the status of the clusters, sorted by name. The result is
// read-only.
func (d *Directory) Sources() []SourceStatus { return *d.sources.Load() }

// Degraded returns why the directory may be incomplete or out of date, or nil: files
// that cannot be read or keep changing, entries that are left out, unreachable
// clusters.
func (d *Directory) Degraded() error {
	var all []error
	if f := d.stale.Load(); f != nil {
		all = append(all, f)
	}
	if n := len(d.Problems()); n > 0 {
		all = append(all, fmt.Errorf("%d entries or parts of entries are left out", n))
	}
	for _, s := range d.Sources() {
		if s.Problem != "" {
			all = append(all, fmt.Errorf("cluster %s: %s", s.Cluster, s.Problem))
		}
	}
	return errors.Join(all...)
}

// Changed returns a channel that is closed when the current snapshot is replaced.
// Call it before reading, so as not to miss a change.
func (d *Directory) Changed() <-chan struct{} { return d.current.Load().superseded }
