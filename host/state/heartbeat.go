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

// timing is when a store counts as fresh.
type timing struct {
	beat   time.Duration // how often a heartbeat is written
	admit  time.Duration // without a heartbeat coming back for this long, no request is admitted
	lapse  time.Duration // and after this long, authority lapses
	shared bool          // other processes change the store, also while this one is stopped
}

var (
	sharedTiming = timing{beat: 500 * time.Millisecond, admit: 3 * time.Second, lapse: 5 * time.Second, shared: true}
	// The embedded store shares this process's fate, so only a sick disk or a
	// defect gets here.
	embeddedTiming = timing{beat: 2 * time.Second, admit: 10 * time.Second, lapse: 12 * time.Second}
)

const (
	watchdogEvery = 100 * time.Millisecond
	attempt       = time.Second // one try of a heartbeat
	noteEvery     = 2 * time.Second
	beatLife      = 24 * time.Hour // after which the heartbeat of a replica that is gone is removed
)

// heartbeat measures freshness: a beat counts from when it was first sent, once
// the watch brought it back. That proves the write path and the watch together.
type heartbeat struct {
	timing
	base     time.Time
	ticked   atomic.Int64 // what the watchdog has counted; stands still with the process
	fresh    atomic.Int64 // when the newest beat that came back was sent
	alive    atomic.Bool
	failing  bool        // writes; of the beating goroutine
	lapsed   atomic.Bool // OnLapse was called for this lapse
	lastNote time.Time

	mu     sync.Mutex
	n      int64  // of the newest beat
	sent   string // the newest beat as it was sent
	sentAt int64
	acked  string // the newest beat that the store has taken; empty until it took one
	ackedN int64
	seenN  int64 // the newest that the watch brought
}

// beatRecord is sealed, so that only a host can have written it.
type beatRecord struct {
	N  int64
	At time.Time
}

func newHeartbeat(t timing) *heartbeat { return &heartbeat{timing: t, base: time.Now()} }

// now is monotonic. Where the store is shared it runs on while the process is
// stopped, since others log people out meanwhile.
func (h *heartbeat) now() int64 {
	if h.shared {
		return int64(time.Since(h.base))
	}
	return h.ticked.Load()
}

// trust begins a time of freshness; what was loaded just now is current.
func (h *heartbeat) trust() {
	h.fresh.Store(h.now())
	h.alive.Store(true)
}

// resume ends a halt; nothing is fresh before a beat has come back.
func (h *heartbeat) resume() {
	h.fresh.Store(h.now() - int64(h.lapse) - 1)
	h.alive.Store(true)
}

// halt ends freshness until trust or resume.
func (h *heartbeat) halt() { h.alive.Store(false) }

func (h *heartbeat) older(than time.Duration) bool {
	return !h.alive.Load() || h.now()-h.fresh.Load() > int64(than)
}

// next returns the beat to send: again the last one as long as it is not known
// whether the store took it.
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

// beaten reports whether the store has taken a beat of this process.
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

// seen takes note of a beat that the watch brought; only the newest proves
// anything.
func (h *heartbeat) seen(beat string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if beat == h.sent && h.seenN < h.n {
		h.seenN = h.n
		h.fresh.Store(h.sentAt)
	}
}

// stalled reports that the store takes beats and the watch does not bring them.
func (h *heartbeat) stalled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ackedN > h.seenN && h.now()-h.sentAt > int64(2*h.beat)
}

// forget starts the chain of beats anew.
func (h *heartbeat) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent, h.acked = "", ""
}

// ackedBeat is the number of the newest beat that the store must hold, 0 if
// there is none.
func (h *heartbeat) ackedBeat() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.acked == "" {
		return 0
	}
	return h.ackedN
}

// Ready returns nil while the store takes writes and the watch brings them
// back, otherwise an error of kind Unavailable; then Revoked refuses every login.
func (s *Store) Ready() error {
	if s.beat.older(s.beat.admit) {
		return host.ErrFenced
	}
	return nil
}

// Lapsed returns nil as long as what this process knows of logouts may be
// relied upon, otherwise an error of kind Unavailable. Sessions that began
// before must have no effect from then on: a user may have logged out and
// this process would not know. It costs one reading of the clock.
func (s *Store) Lapsed() error {
	if s.beat.older(s.beat.lapse) {
		return host.ErrFenced
	}
	return nil
}

// OnLapse sets the function that is called when Lapsed begins to return an
// error, once each time. It must end every session, and return quickly.
func (s *Store) OnLapse(f func(cause error)) { s.lapse.Store(&f) }

// watchdog notices when trust lapses, and restarts a watch that stalled.
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
	s.log.Error("what is known of logouts is too old; every session ends")
	if f := s.lapse.Load(); f != nil {
		(*f)(host.ErrFenced)
	}
}

// keepBeating writes heartbeats. Each replaces the one before it, by name: a
// store that does not hold the last one it took has lost what it had promised
// to keep.
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
				s.log.Info("the state store takes writes again")
			}
			s.noteBeat()
		case ctx.Err() == nil && !s.beat.failing:
			s.beat.failing = true
			s.log.Warn("the state store does not take writes, retrying", "error", err)
		}
		pause(ctx, s.beat.timing.beat-time.Since(began))
	}
}

// beatOnce writes one heartbeat. Doubt says why the store is not the one, or
// not as new as the one, that took the last.
func (s *Store) beatOnce(ctx context.Context) (doubt string, err error) {
	place := s.at.beatOf(s.published.replica)
	beat, acked, err := s.beat.next(func(r beatRecord) (string, error) { return s.seal.seal(place, r) })
	if err != nil {
		return "", err
	}
	known, cluster, renewals := s.cache.revision(), s.cluster.Load(), s.renewals.Load()
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	request := s.client.Txn(ctx)
	if acked != "" {
		request = request.If(clientv3.Compare(clientv3.Value(place), "=", acked))
	}
	resp, err := request.Then(clientv3.OpPut(place, beat)).Else(clientv3.OpGet(place)).Commit()
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

const lostBeat = "it does not hold this replica's last heartbeat"

// doubtful says why an answer cannot come from the store that was known up to
// this revision.
func doubtful(h *pb.ResponseHeader, known int64, cluster uint64) string {
	switch {
	case cluster != 0 && h.ClusterId != cluster:
		return "it is another cluster"
	case h.Revision < known:
		return "its revision went back"
	}
	return ""
}

// note is what is kept beside the store, to tell at the next start whether the
// store is as new as this process left it.
type note struct {
	Cluster  uint64    `json:"cluster"`
	Revision int64     `json:"revision"`
	At       time.Time `json:"at"`
}

// noteBeat leaves a note now and then. Failing to is no more than not having
// one at the next start.
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
		s.log.Warn("the last heartbeat cannot be noted; after a restart all users may have to sign in again", "error", err)
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
