package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	// opTimeout bounds one operation on the store, so that a store which hangs
	// answers "unavailable" instead of holding a request.
	opTimeout = 3 * time.Second
	// firstAnswer is how long everything may take to be read, and a cluster to
	// answer at the start.
	firstAnswer  = 8 * time.Second
	probeTimeout = 2 * time.Second
)

// Config says where the store is.
type Config struct {
	// Dir is the data directory. It is created if absent and belongs to one
	// process at a time. The embedded store is in Dir/state, its host key in
	// Dir/host.key. Dir/last-heartbeat.json tells at the next start whether the
	// store was rolled back meanwhile.
	Dir string
	Options
	// Logger receives what an operator must know; nil discards it.
	Logger *slog.Logger

	timing timing // zero: as it should be; shortened by tests
}

// Store is the open store. It is safe for concurrent use.
type Store struct {
	log       *slog.Logger
	seal      *sealer
	client    *clientv3.Client
	closers   []func() error // in order of opening
	cache     *cache
	beat      *heartbeat
	at        keySpace
	published *published
	own       ownEndings
	wanted    *wanted
	pulses    pulses
	keyAge    time.Duration
	notePath  string

	cluster  atomic.Uint64 // of the store that the cache was filled from
	renewals atomic.Int64
	doubts   chan doubt

	skewed    map[string]time.Time // when a replica's clock was warned of; of the watching goroutine
	sightings map[string]sighting  // of heartbeats; of the sweeping goroutine

	unfollow atomic.Pointer[context.CancelFunc]

	ended   atomic.Pointer[func(host.Ending)]
	lapse   atomic.Pointer[func(error)]
	stop    context.CancelFunc
	running sync.WaitGroup
	closed  sync.Once
}

// Open opens the store and returns when it serves: an existing cluster, or an
// embedded member that it starts in cfg.Dir. It fails at once if another
// process holds the directory, if the host key can be read by other users of
// the machine, or if the store was written under another host key, and within
// some 10 s if no member of the cluster answers, saying why of each. ctx bounds
// only the opening.
//
// A store that does not hold what this process once saw in it, or that no replica
// has written to for a minute and writes to now, without this process having been
// the last, may have forgotten logouts: a new epoch begins, and all sign in again.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, host.E(host.Invalid, "state.open", "data: no directory given")
	}
	if err := errors.Join(cfg.Check()...); err != nil {
		return nil, host.E(host.Invalid, "state.open", "state: %w", err)
	}
	if cfg.timing == (timing{}) {
		cfg.timing = embeddedTiming
		if len(cfg.Endpoints) > 0 {
			cfg.timing = sharedTiming
		}
	}
	keyAge := time.Duration(cfg.KeyRotation)
	if keyAge == 0 {
		keyAge = defaultKeyAge
	}
	s := &Store{
		log: cfg.Logger, cache: newCache(), beat: newHeartbeat(cfg.timing), at: newKeySpace(cfg.prefix()),
		published: newPublished(), wanted: newWanted(), keyAge: keyAge, notePath: notePath(cfg.Dir), doubts: make(chan doubt, 1),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return host.E(host.Invalid, "state.open", "data directory %s cannot be used: %w", cfg.Dir, err)
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, unlock)
	if len(cfg.Endpoints) > 0 {
		return s.openCluster(ctx, &cfg.Options)
	}
	stateDir := filepath.Join(cfg.Dir, "state")
	keyPath := filepath.Join(cfg.Dir, "host.key")
	if cfg.KeyFile != "" {
		keyPath = cfg.KeyFile
		s.seal, err = givenHostKey(keyPath)
	} else {
		s.seal, err = openHostKey(keyPath, isEmpty(stateDir))
	}
	if err != nil {
		return err
	}
	member, err := startMember(ctx, stateDir, s.log)
	if err != nil {
		return host.E(host.Internal, "state.open", "the store in %s does not start: %w", stateDir, err)
	}
	s.closers = append(s.closers, member.close)
	if s.client, err = member.newClient(s.log); err != nil {
		return host.E(host.Internal, "state.open", "the store in %s cannot be reached: %w", stateDir, err)
	}
	s.closers = append(s.closers, s.client.Close)
	return s.serve(ctx, "host key "+keyPath+" does not open the state beside it: put back the key it was written under, or remove "+stateDir+" to start anew")
}

func (s *Store) openCluster(ctx context.Context, o *Options) (err error) {
	if s.seal, err = givenHostKey(o.KeyFile); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	if s.client, err = o.newClient(s.log); err != nil {
		return &host.Error{Kind: host.Unavailable, Op: "state.open", Message: err.Error()}
	}
	s.closers = append(s.closers, s.client.Close)
	err = s.serve(ctx, fmt.Sprintf("state.keyFile: %s does not open what is below %s in the cluster: all replicas need the same key, and each deployment its own prefix", o.KeyFile, o.prefix()))
	if err != nil {
		return o.unreachable(err)
	}
	return nil
}

// serve decides on the epoch, makes sure that there is a signing key, fills the
// cache and starts what keeps it current. wrongKey is the error if the store
// was written under another host key.
func (s *Store) serve(ctx context.Context, wrongKey string) error {
	l, err := s.load(ctx)
	if err != nil {
		return err
	}
	s.cluster.Store(l.cluster)
	if !s.opens(l) {
		return host.E(host.Invalid, "state.open", "%s", wrongKey)
	}
	why := s.doubtAtStart(l, time.Now())
	if why == quietStore {
		if skew, yes := s.beatsAdvance(ctx, l); yes {
			why = ""
			s.warnOfSkew(skew)
		}
	}
	if why != "" {
		if l.epoch != nil {
			s.log.Warn("the state store may have been rolled back: a new epoch begins and all users have to sign in again", "because", why)
		}
		if err := s.beginEpoch(ctx, l); err != nil {
			return err
		}
	}
	if err := s.ensureKey(ctx, l); err != nil {
		return err
	}
	rev, err := s.reload(ctx)
	if err != nil {
		return err
	}
	s.beat.trust()
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.watch(run, rev+1) })
	s.running.Go(func() { s.keepBeating(run) })
	s.running.Go(func() { s.watchdog(run) })
	s.running.Go(func() { s.keepSweeping(run) })
	s.running.Go(func() { s.keepPublishing(run) })
	return nil
}

// opens reports whether the host key is the one that the signing keys in the
// store are wrapped with.
func (s *Store) opens(l *loaded) bool {
	some, opened := false, false
	for _, kv := range l.kvs {
		if place := string(kv.Key); strings.HasPrefix(place, s.at.key) {
			var rec keyRecord
			some, opened = true, opened || s.seal.open(place, kv.Value, &rec) == nil
		}
	}
	return opened || !some
}

// Close stops the store and frees its directory. From then on Revoked
// refuses every login. Closing again does nothing.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.beat.lapsed.Store(true) // an orderly end is no lapse
		s.beat.halt()
		if s.stop != nil {
			s.stop()
			s.running.Wait()
			// After a start that failed before its first beat, the note of the run
			// before it is still the true one.
			if s.beat.beaten() {
				s.writeNote()
			}
		}
		for i := len(s.closers) - 1; i >= 0; i-- {
			if e := s.closers[i](); e != nil && !errors.Is(e, context.Canceled) {
				err = errors.Join(err, e)
			}
		}
	})
	return err
}

// Revision is the newest revision of the store that reads here reflect. It
// never decreases while the store is open.
func (s *Store) Revision() int64 { return s.cache.revision() }

// commit runs a transaction. An error says nothing about whether the store
// took it, so callers must treat the outcome as unknown.
func (s *Store) commit(ctx context.Context, op string, ops ...clientv3.Op) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return 0, unavailable(op, err)
	}
	return resp.Header.Revision, nil
}

// insist is commit for what may be done twice: when a member does not answer,
// another is asked.
func (s *Store) insist(ctx context.Context, op string, ops ...clientv3.Op) (int64, error) {
	first, cancel := context.WithTimeout(ctx, opTimeout/3)
	defer cancel()
	rev, err := s.commit(first, op, ops...)
	if err == nil || first.Err() == nil {
		return rev, err
	}
	return s.commit(ctx, op, ops...)
}

func unavailable(op string, err error) error {
	return &host.Error{Kind: host.Unavailable, Op: op, Message: "the state store does not answer", Err: err}
}

func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}
