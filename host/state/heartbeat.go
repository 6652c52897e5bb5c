package state

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// timing defines when a replica is fresh.
type timing struct {
	beat   time.Duration // time between heartbeats
	admit  time.Duration // if no heartbeat came back for this long, no request is admitted
	lapse  time.Duration // if no heartbeat came back for this long, the replica is fenced
	shared bool          // other processes change the store, also while this one is stopped
}

var (
	sharedTiming = timing{beat: 500 * time.Millisecond, admit: 3 * time.Second, lapse: 5 * time.Second, shared: true}
	// The embedded store runs in this process, so only a failing disk or a defect
	// makes it stop answering.
	embeddedTiming = timing{beat: 2 * time.Second, admit: 10 * time.Second, lapse: 12 * time.Second}
)

const (
	watchdogEvery = 100 * time.Millisecond
	attempt       = time.Second // one try of a heartbeat
	noteEvery     = 2 * time.Second
	beatLife      = 24 * time.Hour // after this time the heartbeat of a stopped replica is removed
)

// heartbeat measures freshness. A beat counts when the watch has brought it back, from
// the time at which it was first sent; that proves both the write path and the watch.
type heartbeat struct {
	timing
	base     time.Time
	ticked   atomic.Int64  // time counted by the watchdog; does not advance while the process is stopped
	fresh    atomic.Int64  // when the newest beat that came back was sent
	gaps     atomic.Uint64 // how often fresh was renewed after the replica had not been fresh
	alive    atomic.Bool
	failing  bool        // writes fail; used by the beating goroutine only
	lapsed   atomic.Bool // OnLapse was called for this lapse
	lastNote time.Time

	mu     sync.Mutex
	n      int64  // of the newest beat
	sent   string // the newest beat as it was sent
	sentAt int64
	acked  string // the newest beat that the store has committed; empty before the first
	ackedN int64
	seenN  int64 // number of the newest beat that the watch brought
}

// beatRecord is sealed, so that only a host can write one.
type beatRecord struct {
	N  int64
	At time.Time
}

func newHeartbeat(t timing) *heartbeat { return &heartbeat{timing: t, base: time.Now()} }

// now returns a monotonic time. With a shared store it advances while the process is
// stopped, since other replicas may log users out meanwhile.
func (h *heartbeat) now() int64 {
	if h.shared {
		return int64(time.Since(h.base))
	}
	return h.ticked.Load()
}

// trust makes the replica fresh: the state has just been loaded.
func (h *heartbeat) trust() {
	h.renew(h.now())
	h.alive.Store(true)
}

// renew says that the replica was fresh at that time. A gap counts before anybody can
// see that it is over.
func (h *heartbeat) renew(at int64) {
	if h.older(h.admit) {
		h.gaps.Add(1)
	}
	h.fresh.Store(at)
}

// resume ends a halt; the replica is fresh once a beat has come back.
func (h *heartbeat) resume() {
	h.fresh.Store(h.now() - int64(h.lapse) - 1)
	h.alive.Store(true)
}

// halt ends freshness until trust or resume.
func (h *heartbeat) halt() { h.alive.Store(false) }

func (h *heartbeat) older(than time.Duration) bool {
	return !h.alive.Load() || h.now()-h.fresh.Load() > int64(than)
}

// next returns the beat to send. It repeats the last one until it is known whether the
// store committed it.
func (h *heartbeat) next(encode func(beatRecord) (string, error)) (beat, acked string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sent == h.acked {
		sent, err := encode(beatRecord{h.n + 1, time.Now()})
		if err != nil {
			return "", "", err
		}
		h.n, h.sent, h.sentAt = h.n+1, sent, h.now()
	}
	return h.sent, h.acked, nil
}

// beaten reports whether the store has committed a beat of this process.
func (h *heartbeat) beaten() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked != ""
}

func (h *heartbeat) taken(beat string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if beat == h.sent {
		h.acked, h.ackedN = beat, h.n
	}
}

// seen records a beat that the watch brought; only the newest proves freshness.
func (h *heartbeat) seen(beat string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if beat == h.sent && h.seenN < h.n {
		h.seenN = h.n
		h.renew(h.sentAt)
	}
}

// stalled reports whether the store commits beats but the watch does not bring them.
func (h *heartbeat) stalled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ackedN > h.seenN && h.now()-h.sentAt > int64(2*h.beat)
}

// forget starts a new chain of beats.
func (h *heartbeat) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent, h.acked = "", ""
}

// ackedBeat returns the number of the newest beat that the store must contain, 0 if
// none has been committed.
func (h *heartbeat) ackedBeat() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.acked == "" {
		return 0
	}
	return h.ackedN
}

// Ready returns nil while this replica is fresh: the store commits writes and the
// watch brings them back. Otherwise it returns an error of kind Unavailable, and
// Revoked refuses every login.
func (s *Store) Ready() error {
	if s.beat.older(s.beat.admit) {
		return host.ErrFenced
	}
	return nil
}

// Age is the time since the heartbeat was sent that came back last: how old, at most, what
// this replica knows of the store is.
func (s *Store) Age() time.Duration { return time.Duration(s.beat.now() - s.beat.fresh.Load()) }

// Gaps is how often this replica has become fresh again. Others may have gone on without
// it in between; what they wrote until then is known here, because the watch brings it
// before the heartbeat that ends the gap. It costs one atomic load.
func (s *Store) Gaps() uint64 { return s.beat.gaps.Load() }

// Lapsed returns nil until this replica is fenced, and then an error of kind
// Unavailable. Earlier sessions must have no effect from then on, because this process
// may have missed a logout. It costs one reading of the clock.
func (s *Store) Lapsed() error {
	if s.beat.older(s.beat.lapse) {
		return host.ErrFenced
	}
	return nil
}

// OnLapse sets the function that is called once each time that Lapsed begins to return
// an error. It must end every session, and return quickly.
func (s *Store) OnLapse(f func(cause error)) { s.lapse.Store(&f) }

// watchdog notices when the replica is fenced, and restarts a watch that stalled.
func (s *Store) watchdog(ctx context.Context) {
	tick := time.NewTicker(watchdogEvery)
	defer tick.Stop()
	fresh := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.beat.ticked.Add(int64(watchdogEvery))
		if s.beat.stalled() {
			s.restartWatch()
		}
		if err := s.Lapsed(); err == nil {
			s.beat.lapsed.Store(false)
		} else {
			s.lapseOnce()
		}
		if is := s.Ready() == nil; is != fresh {
			fresh = is
			if fresh {
				s.log.Info("the state store answers again; requests are admitted")
			} else {
				s.log.Error("the state store does not answer; no request is admitted", "sessions_end_after", s.beat.lapse)
			}
		}
	}
}

func (s *Store) lapseOnce() {
	if s.beat.lapsed.Swap(true) {
		return
	}
	s.log.Error("this replica may have missed logouts; every session ends")
	if f := s.lapse.Load(); f != nil {
		(*f)(host.ErrFenced)
	}
}

// keepBeating writes heartbeats. Each replaces exactly the one before it: a store that
// no longer contains the last heartbeat it committed has lost records.
func (s *Store) keepBeating(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		doubt, err := s.beatOnce(ctx)
		switch {
		case doubt != "":
			s.raise(ctx, doubt)
			continue
		case err == nil:
			if s.beat.failing {
				s.beat.failing = false
				s.log.Info("the state store accepts writes again")
			}
			s.noteBeat()
		case ctx.Err() == nil && !s.beat.failing:
			s.beat.failing = true
			s.log.Warn("the state store does not accept writes, retrying", "error", err)
		}
		pause(ctx, s.beat.timing.beat-time.Since(began))
	}
}

// beatOnce writes one heartbeat. doubt is not empty if the store lost records or is
// another store, and says why.
func (s *Store) beatOnce(ctx context.Context) (doubt string, err error) {
	key := s.at.beatOf(s.published.replica)
	beat, acked, err := s.beat.next(func(r beatRecord) (string, error) { return s.seal.seal(key, r) })
	if err != nil {
		return "", err
	}
	known, cluster, renewals := s.cache.revision(), s.cluster.Load(), s.renewals.Load()
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	request := s.client.Txn(ctx)
	if acked != "" {
		request = request.If(clientv3.Compare(clientv3.Value(key), "=", acked))
	}
	resp, err := request.Then(clientv3.OpPut(key, beat)).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return "", err
	}
	if s.renewals.Load() != renewals {
		return "", nil // sent in another epoch
	}
	if doubt := doubtful(resp.Header, known, cluster); doubt != "" {
		return doubt, nil
	}
	if !resp.Succeeded {
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if len(kvs) != 1 || string(kvs[0].Value) != beat {
			return lostBeat, nil
		}
	}
	s.beat.taken(beat)
	return "", nil
}

const lostBeat = "it does not contain this replica's last heartbeat"

// doubtful returns why an answer cannot come from the store that this replica knows up
// to the given revision, and "" if it can.
func doubtful(h *pb.ResponseHeader, known int64, cluster uint64) string {
	switch {
	case cluster != 0 && h.ClusterId != cluster:
		return "it is another cluster"
	case h.Revision < known:
		return "its revision went back"
	}
	return ""
}

// note is the content of the file beside the store that shows at the next start whether
// the store is as new as this process left it.
type note struct {
	Cluster  uint64    `json:"cluster"`
	Revision int64     `json:"revision"`
	At       time.Time `json:"at"`
}

// noteBeat writes the note from time to time. If that fails, the next start has no
// note.
func (s *Store) noteBeat() {
	if time.Since(s.beat.lastNote) < noteEvery {
		return
	}
	s.beat.lastNote = time.Now()
	s.writeNote()
}

func (s *Store) writeNote() {
	text, err := json.Marshal(note{s.cluster.Load(), s.cache.revision(), time.Now()})
	if err != nil {
		return
	}
	if err := writeFile(s.notePath, text); err != nil {
		s.log.Warn("the file with the last heartbeat cannot be written; all users may have to sign in again after a restart", "error", err)
	}
}

func writeFile(path string, text []byte) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

func readNote(path string) (n note, ok bool) {
	text, err := os.ReadFile(path)
	return n, err == nil && json.Unmarshal(text, &n) == nil
}

func notePath(dir string) string { return filepath.Join(dir, "last-heartbeat.json") }
