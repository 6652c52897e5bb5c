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
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

const (
	// opTimeout bounds one operation on the store, so that a request gets the error
	// "unavailable" instead of waiting for a store that hangs.
	opTimeout = 3 * time.Second
	// firstAnswer bounds the time for reading the whole store, and for the first
	// answer of a cluster at the start.
	firstAnswer  = 8 * time.Second
	probeTimeout = 2 * time.Second
)

// Config defines where the store is.
type Config struct {
	// Dir is the data directory. It is created if absent and can be used by one
	// process at a time. The embedded store is in Dir/state, its host key in
	// Dir/host.key. Dir/last-heartbeat.json shows at the next start whether the store
	// was rolled back meanwhile.
	Dir string
	Options
	// Logger receives what an operator must know; nil discards it.
	Logger *slog.Logger

	timing timing // zero: the regular one; tests shorten it
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

	cluster  atomic.Uint64 // id of the cluster that the cache was filled from
	renewals atomic.Int64
	doubts   chan doubt

	skewed    map[string]time.Time // last warning about a replica's clock; used by the watching goroutine only
	sightings map[string]sighting  // of heartbeats; used by the sweeping goroutine only

	unfollow atomic.Pointer[context.CancelFunc]

	ended   atomic.Pointer[func(host.Ending)]
	lapse   atomic.Pointer[func(error)]
	stop    context.CancelFunc
	running sync.WaitGroup
	closed  sync.Once
}

// Open opens the store, which is an existing cluster or an embedded member in cfg.Dir,
// and returns when it can be used. It fails at once if another process uses the
// directory, if other users of the machine can read the host key, or if the store was
// written with another host key. If no member of the cluster answers, it fails within
// some 10 s with the problem of each. ctx bounds only the opening.
//
// Open begins a new epoch, in which all users sign in again, if the store may have lost
// logouts: it lacks what this process once saw in it; or no replica has written to it
// for a minute, no replica writes to it now, and this process was not the last to
// write.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, host.E(host.Invalid, "state.open", "data: is missing; name a directory")
	}
	if err := config.Check("state", cfg.Check); err != nil {
		return nil, host.E(host.Invalid, "state.open", "%w", err)
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
	keyPath := filepath.Join(cfg.Dir, hostKeyName)
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
	return s.serve(ctx, "host key "+keyPath+" cannot decrypt the state beside it: restore the key with which it was written, or remove "+stateDir+" to start with an empty state")
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
	err = s.serve(ctx, fmt.Sprintf("state.keyFile: %s cannot decrypt the records below %s in the cluster: all replicas need the same key, and each deployment needs its own prefix", o.KeyFile, o.prefix()))
	if err != nil {
		return o.unreachable(err)
	}
	return nil
}

// serve begins a new epoch if needed, ensures that a signing key exists, fills the
// cache and starts the goroutines that keep it current. wrongKey is the error if the
// store was written with another host key.
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
			s.log.Warn("the state store may have been rolled back: a new epoch begins and all users must sign in again", "because", why)
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

// opens reports whether the host key decrypts a signing key in the store, or the store
// has none.
func (s *Store) opens(l *loaded) bool {
	some, opened := false, false
	for _, kv := range l.kvs {
		if key := string(kv.Key); strings.HasPrefix(key, s.at.key) {
			var rec keyRecord
			some, opened = true, opened || s.seal.open(key, kv.Value, &rec) == nil
		}
	}
	return opened || !some
}

// Close stops the store and unlocks its directory. From then on Revoked refuses every
// login. Closing again has no effect.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.beat.lapsed.Store(true) // stopping must not call OnLapse
		s.beat.halt()
		if s.stop != nil {
			s.stop()
			s.running.Wait()
			// If the start failed before its first beat, the note of the previous
			// run is still correct.
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

// Revision returns the newest revision of the store that reads reflect. It never
// decreases while the store is open.
func (s *Store) Revision() int64 { return s.cache.revision() }

// commit runs a transaction. After an error the store may or may not have committed
// it, so callers must treat the outcome as unknown.
func (s *Store) commit(ctx context.Context, op string, ops ...clientv3.Op) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return 0, unavailable(op, err)
	}
	return resp.Header.Revision, nil
}

// insist is commit for idempotent operations: if a member does not answer, it tries
// another.
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
