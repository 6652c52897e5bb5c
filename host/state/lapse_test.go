package state

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// later lets the heartbeat's own clock run on, as it does while the process is
// stopped and counts nothing.
func (h *heartbeat) later(d time.Duration) { h.base = h.base.Add(-d) }

func TestTheFirstQuestionAfterALapseIsAlreadyNo(t *testing.T) {
	s := open(t, t.TempDir())
	p := signIn(t, s, "ann", "1")
	s.stop() // no watchdog notices anything from here on
	s.running.Wait()
	wantLive(t, s, p)
	s.beat.fresh.Store(s.beat.now() - int64(s.beat.admit) - 1)
	for what, err := range map[string]error{"Ready": s.Ready(), "Revoked": s.Revoked(p)} {
		if host.KindOf(err) != host.Unavailable {
			t.Errorf("not fresh any more, and %s says %v", what, err)
		}
	}
	if err := s.Lapsed(); err != nil {
		t.Errorf("sessions have no authority before the lapse: %v", err)
	}
	s.beat.fresh.Store(s.beat.now() - int64(s.beat.lapse) - 1)
	if host.KindOf(s.Lapsed()) != host.Unavailable {
		t.Error("sessions keep authority after the lapse")
	}
	for what, err := range map[string]error{
		"AdmitLogin":  func() error { _, err := s.AdmitLogin(t.Context(), credential("ben", "2")); return err }(),
		"RenewTokens": func() error { _, err := s.RenewTokens(t.Context(), "1", 0); return err }(),
		"CreateLogin": func() error { _, err := s.CreateLogin(t.Context(), record("ben", "3")); return err }(),
	} {
		if host.KindOf(err) != host.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A beat that took long to come back says nothing of the time since it was sent.
func TestFreshnessCountsFromWhenTheBeatWasSent(t *testing.T) {
	h := newHeartbeat(sharedTiming)
	h.trust()
	beat, _, err := h.next(func(r beatRecord) (string, error) { return fmt.Sprint(r.N), nil })
	if err != nil {
		t.Fatal(err)
	}
	h.later(2 * time.Second)
	h.seen(beat)
	if h.older(2*time.Second+time.Minute) || !h.older(2*time.Second) {
		t.Errorf("a beat sent 2 s ago counts as %v old", time.Duration(h.now()-h.fresh.Load()))
	}
	// A beat that is sent again, since it is not known whether it was taken, counts
	// from the first time.
	h.seenN = 0
	again, _, err := h.next(nil)
	if h.seen(again); err != nil || !h.older(2*time.Second) {
		t.Errorf("a beat sent again counts as new: %v", err)
	}
}

// A process that was stopped gets no event before its first instruction. Beside
// a shared store others have logged people out meanwhile; the embedded store
// stood still as well.
func TestASharedStoreLapsesWhileTheProcessIsStoppedAndAnEmbeddedOneDoesNot(t *testing.T) {
	if sharedTiming.lapse >= embeddedTiming.lapse || sharedTiming.admit >= embeddedTiming.admit || sharedTiming.admit >= sharedTiming.lapse {
		t.Errorf("shared %+v, embedded %+v", sharedTiming, embeddedTiming)
	}
	for _, c := range []struct {
		timing
		lapsed bool
	}{{sharedTiming, true}, {embeddedTiming, false}} {
		h := newHeartbeat(c.timing)
		h.trust()
		h.later(time.Hour) // SIGSTOP … SIGCONT
		if h.older(h.lapse) != c.lapsed || h.older(h.admit) != c.lapsed {
			t.Errorf("shared %v: lapsed %v after an hour's stop", c.shared, h.older(h.lapse))
		}
		if h.ticked.Add(int64(h.lapse + 1)); !h.older(h.lapse) {
			t.Errorf("shared %v: fresh though it ran without a beat for longer than a lapse", c.shared)
		}
	}
}

func TestALapseIsToldOnceEachTime(t *testing.T) {
	s := open(t, t.TempDir())
	var lapses atomic.Int32
	s.OnLapse(func(err error) {
		if host.KindOf(err) != host.Unavailable {
			t.Errorf("the cause is %v", err)
		}
		lapses.Add(1)
	})
	s.stop()
	s.running.Wait()
	for range 2 {
		s.distrust("a test")
	}
	if lapses.Load() != 1 || s.Ready() == nil || s.Lapsed() == nil {
		t.Errorf("told %d times; ready: %v", lapses.Load(), s.Ready())
	}
}

func TestAStoreThatCannotBeTheSameIsDoubted(t *testing.T) {
	for name, c := range map[string]struct {
		cluster  uint64
		revision int64
		doubted  bool
	}{
		"as known": {7, 100, false}, "newer": {7, 101, false}, "older": {7, 99, true}, "another cluster": {8, 100, true},
	} {
		if why := doubtful(&pb.ResponseHeader{ClusterId: c.cluster, Revision: c.revision}, 100, 7); (why != "") != c.doubted {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// Who resumes after a doubt is not fresh before a beat of the new epoch is back.
func TestResumingIsNotBeingFresh(t *testing.T) {
	h := newHeartbeat(sharedTiming)
	h.trust()
	h.halt()
	if h.resume(); !h.older(h.lapse) {
		t.Error("fresh without a beat")
	}
}

func TestANewEpochEndsSessions(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *Store){
		"another replica begins one": func(t *testing.T, s *Store) {
			sealed, err := s.seal.seal(s.at.epoch, epochRecord{"next", time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, s.at.epoch, sealed)
		},
		"its record is damaged": func(t *testing.T, s *Store) { put(t, s, s.at.epoch, "rubbish") },
		"its record is deleted": func(t *testing.T, s *Store) {
			if _, err := s.client.Delete(t.Context(), s.at.epoch); err != nil {
				t.Fatal(err)
			}
		},
		"its record is gone at a reload": func(t *testing.T, s *Store) {
			s.stop()
			s.running.Wait()
			if _, err := s.client.Delete(t.Context(), s.at.epoch); err != nil {
				t.Fatal(err)
			}
			if _, err := s.reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			var l told
			s.OnEnding(l.take)
			p := signIn(t, s, "ann", "1")
			key := s.at.ofLogin(loginKey{"ann", "1"})
			sealed := get(t, s, key)
			begin(t, s)
			eventually(t, "the login ended", func() bool { return errors.Is(s.Revoked(p), host.ErrLoggedOut) })
			eventually(t, "its sessions end", func() bool {
				return l.count(host.Ending{User: "ann", Login: "1", Cause: host.ErrLoggedOut}) == 1
			})
			put(t, s, key, sealed)
			if s.put(entryOf(t, s, key), 0); s.Revoked(p) == nil {
				t.Error("a record of another epoch is good")
			}
		})
	}
}

func TestARecordOfAnotherEpochIsNoLogin(t *testing.T) {
	s := open(t, t.TempDir())
	for epoch, live := range map[string]bool{"another": false, "": false, s.cache.epoch.id: true} {
		rec := record("ann", host.LoginID("of-"+epoch))
		rec.Epoch = epoch
		key, sealed, err := s.sealLogin(rec)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, key, sealed)
		settled(t, s)
		if _, ok := s.Login(rec.ID); ok != live {
			t.Errorf("a record of epoch %q: live %v", epoch, ok)
		}
	}
}

// Spoiling the record of an ending does not hide it.
func TestADamagedRecordOfAnEndingEnds(t *testing.T) {
	s := open(t, t.TempDir())
	var l told
	s.OnEnding(l.take)
	put(t, s, s.at.userEndingOf("ann"), "rubbish")
	put(t, s, s.at.sessionEndingOf("ben", "s1"), "rubbish")
	settled(t, s)
	for _, want := range []host.Ending{{User: "ann", Cause: host.ErrRevoked}, {User: "ben", Session: "s1", Cause: host.ErrRevoked}} {
		if l.count(want) == 0 {
			t.Errorf("not told of %+v", want)
		}
	}
	// A cause that this version does not know ends as well.
	key := s.at.userEndingOf("cem")
	sealed, err := s.seal.seal(key, ending{time.Now(), "of the future"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, key, sealed)
	settled(t, s)
	if l.count(host.Ending{User: "cem", Cause: host.ErrRevoked}) == 0 {
		t.Error("an unknown cause ends nothing")
	}
}

func TestALoginThatWasPushedOutStaysOutAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first := signIn(t, s, "ann", "first")
	for i := range maxLogins {
		signIn(t, s, "ann", host.LoginID(fmt.Sprint(i)))
	}
	wantGone(t, s, first, host.ErrLoggedOut)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	wantGone(t, s, first, host.ErrLoggedOut)
	if n := len(s.Logins("ann")); n != maxLogins {
		t.Errorf("%d logins after the restart, want %d", n, maxLogins)
	}
}

func TestAMarkNeverGoesBackWithTheClock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	notBeforeAt := func(at time.Time) string {
		sealed, err := s.seal.seal(s.at.notBeforeOf("ann"), notBeforeRecord{at})
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	ahead := time.Now().Add(time.Hour).Round(0)
	put(t, s, s.at.notBeforeOf("ann"), notBeforeAt(ahead)) // by a replica whose clock is ahead
	settled(t, s)
	p := signIn(t, s, "ann", "1")
	if !p.Login.At.After(ahead) {
		t.Errorf("a login of after the logout says %v", p.Login.At)
	}
	if err := s.EndUserLogins(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, p, host.ErrLoggedOut)
	if m := s.cache.notBefore("ann"); !m.After(p.Login.At.Add(-1)) {
		t.Errorf("the not-before is %v, and ends a login of %v", m, p.Login.At)
	}
	want := s.cache.notBefore("ann")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if m := s.cache.notBefore("ann"); !m.Equal(want) {
		t.Errorf("after a restart the not-before is %v, want %v", m, want)
	}
	put(t, s, s.at.notBeforeOf("ann"), notBeforeAt(time.Now())) // late, or put back
	settled(t, s)
	if m := s.cache.notBefore("ann"); !m.Equal(want) {
		t.Errorf("the not-before went back to %v", m)
	}
	old := record("ann", "2")
	old.At = want.Add(-time.Minute)
	got, err := s.CreateLogin(t.Context(), old)
	if err != nil || !got.At.After(want) {
		t.Errorf("a sign-in builds upon a not-before that went back: %v, %v", got.At, err)
	}
}

// A gap counts once, before the replica can be seen to be fresh again.
func TestAGapInFreshnessIsCounted(t *testing.T) {
	h := newHeartbeat(sharedTiming)
	h.trust()
	began := h.gaps.Load()
	beat := func() {
		t.Helper()
		beat, _, err := h.next(func(r beatRecord) (string, error) { return fmt.Sprint(r.N), nil })
		if err != nil {
			t.Fatal(err)
		}
		h.taken(beat)
		h.seen(beat)
	}
	for _, c := range []struct {
		later time.Duration
		gaps  uint64
	}{{h.admit - time.Second, 0}, {h.admit - time.Second, 0}, {h.admit + time.Second, 1}, {time.Second, 1}, {h.lapse + time.Hour, 2}} {
		h.later(c.later)
		if beat(); h.older(h.admit) || h.gaps.Load()-began != c.gaps {
			t.Errorf("after %v: %d gaps, want %d", c.later, h.gaps.Load()-began, c.gaps)
		}
	}
	h.halt()
	if h.resume(); h.gaps.Load()-began != 2 {
		t.Error("the gap counts before it is over")
	}
	if beat(); h.gaps.Load()-began != 3 {
		t.Error("a halt is no gap")
	}
}
