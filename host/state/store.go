package state

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// opTimeout bounds one operation on the store, so that a store which hangs
// answers "unavailable" instead of holding a request.
const opTimeout = 5 * time.Second

// Config says where the embedded store lives.
type Config struct {
	// Dir is the data directory. It is created if absent and belongs to one
	// process at a time. The store is in Dir/state, the host key in
	// Dir/host.key.
	Dir string
	// Logger receives what an operator must know; nil discards it.
	Logger *slog.Logger

	fence time.Duration // 0: the default; shortened by tests
}

// Store is the open store. It is safe for concurrent use.
type Store struct {
	log     *slog.Logger
	seal    *sealer
	client  *clientv3.Client
	closers []func() error // in order of opening
	cache   *cache
	beat    *heartbeat

	at        places
	published *published

	ended   atomic.Pointer[func(Ending)]
	stop    context.CancelFunc
	running sync.WaitGroup
	closed  sync.Once
}

// Open starts the embedded store in cfg.Dir and returns when it serves. It
// fails at once if another process holds the directory, if the host key can be
// read by other users of the machine, or if the store was written under
// another host key. ctx bounds only the opening.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, host.E(host.Invalid, "state.open", "data: no directory given")
	}
	s := &Store{log: cfg.Logger, cache: newCache(), beat: newHeartbeat(cfg.fence), at: newPlaces(defaultPrefix), published: newPublished()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(ctx, cfg.Dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return host.E(host.Invalid, "state.open", "data directory %s cannot be used: %w", dir, err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, unlock)

	stateDir := filepath.Join(dir, "state")
	if s.seal, err = openHostKey(filepath.Join(dir, "host.key"), isEmpty(stateDir)); err != nil {
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
	return s.serve(ctx, dir)
}

// serve makes sure that there is a signing key, fills the cache and starts
// what keeps it current.
func (s *Store) serve(ctx context.Context, dir string) error {
	if err := s.ensureKey(ctx); err != nil {
		return err
	}
	rev, err := s.reload(ctx)
	if err != nil {
		return err
	}
	if len(s.Keys()) == 0 {
		return host.E(host.Invalid, "state.open",
			"host key %s does not open the state beside it: put back the key it was written under, or remove %s to start anew",
			filepath.Join(dir, "host.key"), filepath.Join(dir, "state"))
	}
	s.beat.start()
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.watch(run, rev+1) })
	s.running.Go(func() { s.keepBeating(run) })
	s.running.Go(func() { s.keepSweeping(run) })
	s.running.Go(func() { s.keepPublishing(run) })
	return nil
}

// Close stops the store and frees its directory. From then on Revoked admits
// nobody. Closing again does nothing.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.beat.halt()
		if s.stop != nil {
			s.stop()
			s.running.Wait()
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

func unavailable(op string, err error) error {
	return &host.Error{Kind: host.Unavailable, Op: op, Message: "the state store does not answer", Err: err}
}

func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}
