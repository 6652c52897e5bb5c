package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
)

// replica is a store of one host on a cluster.
type replica struct {
	*Store
	dir    string
	told   told
	lapses atomic.Int32
}

// on opens a replica with a data directory of its own, or dir's.
func on(t testing.TB, endpoints []string, key string, dir ...string) *replica {
	t.Helper()
	r := &replica{}
	if r.dir = t.TempDir(); len(dir) > 0 {
		r.dir = dir[0]
	}
	s, err := Open(t.Context(), Config{
		Dir: r.dir, Options: Options{Endpoints: endpoints, KeyFile: key, Prefix: t.Name() + "/"}, Logger: statetest.Log(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Store = s
	s.OnEnding(r.told.take)
	s.OnLapse(func(error) { r.lapses.Add(1) })
	t.Cleanup(func() { _ = s.Close() })
	return r
}

func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	late := time.Now().Add(d)
	for !ok() {
		if time.Now().After(late) {
			t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(time.Millisecond)
	}
}

func knows(r *replica, p *host.Principal) func() bool {
	return func() bool { return r.Revoked(p) == nil }
}

func TestReplicas(t *testing.T) {
	cluster, key := statetest.Start(t, 3), statetest.Key(t)
	for name, test := range map[string]func(*testing.T, *statetest.Cluster, string){
		"a logout reaches all":                       logoutReachesAll,
		"a login has ended when its sessions end":    loginEndsFirst,
		"sign-in after a logout elsewhere is good":   signInAfterLogoutElsewhere,
		"renewed tokens are so everywhere":           renewalReachesAll,
		"a credential is out or aside everywhere":    credentialsEverywhere,
		"sessions are listed everywhere":             sessionsListedEverywhere,
		"a key is shared and its successor signs":    keysAreShared,
		"another host key is refused":                anotherKeyIsRefused,
		"history lost while away means loading anew": compactedWhileAway,
		"cut off": func(t *testing.T, c *statetest.Cluster, key string) {
			cutOff(t, c, key, c.Link(t), (*statetest.Link).Cut)
		},
		"cut off one way, to the store": func(t *testing.T, c *statetest.Cluster, key string) {
			cutOff(t, c, key, c.Link(t), (*statetest.Link).HoldToMembers)
		},
		"cut off one way, from the store": func(t *testing.T, c *statetest.Cluster, key string) {
			cutOff(t, c, key, c.Link(t), (*statetest.Link).HoldFromMembers)
		},
		"the watch stalls while everything else is well": func(t *testing.T, c *statetest.Cluster, key string) {
			cutOff(t, c, key, c.LinkCalls(t), (*statetest.Link).HoldWatches)
		},
		"histories of sign-in, use and logout under faults": histories,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, cluster, key)
		})
	}
}

func logoutReachesAll(t *testing.T, c *statetest.Cluster, key string) {
	a, b, d := on(t, c.Endpoints, key), on(t, c.Endpoints[1:], key), on(t, c.Endpoints[2:], key)
	for i, out := range []*replica{a, b, d} {
		one, other := signIn(t, a.Store, "ann", host.LoginID(fmt.Sprint("one", i))), signIn(t, b.Store, "ann", host.LoginID(fmt.Sprint("other", i)))
		for _, r := range []*replica{a, b, d} {
			eventually(t, "both logins are known", func() bool { return knows(r, one)() && knows(r, other)() })
		}
		if err := out.EndLoginAndSessions(t.Context(), one.Login.ID); err != nil {
			t.Fatal(err)
		}
		wantGone(t, out.Store, one, host.ErrLoggedOut)
		for _, r := range []*replica{a, b, d} {
			within(t, 5*time.Second, "the logout is known", func() bool { return r.Revoked(one) != nil })
			wantLive(t, r.Store, other)
			within(t, 5*time.Second, "all sessions of the user are ended", func() bool {
				return r.told.count(host.Ending{User: "ann", Cause: host.ErrLoggedOut}) > i
			})
		}
		if err := out.EndUserLogins(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*replica{a, b, d} {
			within(t, 5*time.Second, "every login ended", func() bool { return r.Revoked(other) != nil })
		}
	}
}

// Whoever learns that the user's sessions end may try to open one at once.
func loginEndsFirst(t *testing.T, c *statetest.Cluster, key string) {
	a, b := on(t, c.Endpoints, key), on(t, c.Endpoints[1:], key)
	p := signIn(t, a.Store, "ann", "phone")
	eventually(t, "the login is known", knows(b, p))
	ended := make(chan error, 1)
	b.OnEnding(func(e host.Ending) {
		if e.Login == "" && e.Session == "" {
			ended <- b.Revoked(p)
		}
	})
	if err := a.EndLoginAndSessions(t.Context(), "phone"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("the sessions of the user end while the login is good: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the sessions do not end")
	}
}

// A replica that has not heard of a logout from everything yet must not make a
// login that the logout ends, nor one that escapes it.
func signInAfterLogoutElsewhere(t *testing.T, c *statetest.Cluster, key string) {
	a, b := on(t, c.Endpoints, key), on(t, c.Endpoints, key)
	for i := range 50 {
		user := host.UserID(fmt.Sprint("user", i))
		before := signIn(t, b.Store, user, host.LoginID(fmt.Sprint("before", i)))
		if err := a.EndUserLogins(t.Context(), user); err != nil {
			t.Fatal(err)
		}
		after := signIn(t, b.Store, user, host.LoginID(fmt.Sprint("after", i)))
		wantLive(t, b.Store, after)
		for _, r := range []*replica{a, b} {
			within(t, 5*time.Second, "before is dead and after lives", func() bool {
				return r.Revoked(before) != nil && r.Revoked(after) == nil
			})
		}
	}
}

// Two tabs renew the same token at two replicas.
func renewalReachesAll(t *testing.T, c *statetest.Cluster, key string) {
	a, b := on(t, c.Endpoints, key), on(t, c.Endpoints[1:], key)
	for i := range 10 {
		id := host.LoginID(fmt.Sprint("login", i))
		p := signIn(t, a.Store, "ann", id)
		eventually(t, "the login is known", knows(b, p))
		var both sync.WaitGroup
		for _, r := range []*replica{a, b} {
			both.Go(func() {
				if n, err := r.RenewTokens(t.Context(), id, 0); n != 1 || err != nil {
					t.Errorf("generation %d, %v", n, err)
				}
			})
		}
		both.Wait()
		for _, r := range []*replica{a, b} {
			within(t, 5*time.Second, "the renewal is known", func() bool { a, _ := r.Activity(id); return a.Generation == 1 })
		}
	}
}

// What one replica sets aside is admitted by another, and what one logs out by
// none.
func credentialsEverywhere(t *testing.T, c *statetest.Cluster, key string) {
	a, b := on(t, c.Endpoints, key), on(t, c.Endpoints[1:], key)
	recs := make([]host.LoginRecord, maxLogins+1)
	for i := range recs {
		recs[i] = credential("ann", host.LoginID(fmt.Sprint("token", i)))
		recs[i].At = recs[i].At.Add(time.Duration(i) * time.Microsecond)
		admit(t, a.Store, recs[i])
	}
	eventually(t, "the first is aside, the last known", func() bool {
		_, first := b.Login(recs[0].ID)
		_, last := b.Login(recs[maxLogins].ID)
		return !first && last
	})
	wantLive(t, b.Store, admit(t, b.Store, recs[0]))
	if err := b.EndLogin(t.Context(), recs[0].ID); err != nil {
		t.Fatal(err)
	}
	// Until it hears of the end, a may admit what it has just heard that b admitted.
	eventually(t, "it is out there as well", func() bool { return a.cache.loggedOut(loginKey{"ann", recs[0].ID}) })
	wantRefused(t, a.Store, recs[0])
}

func sessionsListedEverywhere(t *testing.T, c *statetest.Cluster, key string) {
	a, b := on(t, c.Endpoints, key), on(t, c.Endpoints, key)
	a.PublishSession(entry("ann", "1"))
	b.PublishSession(entry("ann", "2"))
	for _, r := range []*replica{a, b} {
		eventually(t, "both are listed", func() bool { return len(published1(t, r.Store, "ann")) == 2 })
	}
	if err := b.EndSession(t.Context(), "ann", "1", host.ErrRevoked); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "its replica is told", func() bool {
		return a.told.count(host.Ending{User: "ann", Session: "1", Cause: host.ErrRevoked}) > 0
	})
	_ = a.client.Close() // as if it had died: nothing is taken back
	within(t, 3*sessionTTL, "the entry of the dead replica vanishes", func() bool {
		list := published1(t, b.Store, "ann")
		return len(list) == 1 && list[0].ID == "2"
	})
}

func keysAreShared(t *testing.T, c *statetest.Cluster, key string) {
	a, b := on(t, c.Endpoints, key), on(t, c.Endpoints, key)
	first := a.Keys()[0].ID
	if b.Keys()[0].ID != first {
		t.Fatal("replicas sign with different keys")
	}
	var wg sync.WaitGroup
	for _, r := range []*replica{a, b} {
		wg.Go(func() {
			if err := r.RotateKey(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range []*replica{a, b} {
		eventually(t, "the new key is known", func() bool { return len(r.Keys()) == 2 })
		if r.Keys()[0].ID != first {
			t.Error("a key signs before every replica can know it")
		}
		epoch := r.KeyEpoch()
		r.tendKeys(t.Context(), time.Now().Add(keyLead+time.Second))
		if keys := r.Keys(); len(keys) != 2 || keys[0].ID == first || r.KeyEpoch() == epoch {
			t.Errorf("%d keys, the old one signs: %v", len(keys), keys[0].ID == first)
		}
	}
	if err := a.RotateKey(t.Context()); err != nil || len(a.Keys()) != 2 {
		t.Errorf("rotating before the new key signs: %d keys, %v", len(a.Keys()), err)
	}
	a.tendKeys(t.Context(), time.Now().Add(keyOverlap+keyLead+time.Second))
	for _, r := range []*replica{a, b} {
		eventually(t, "the old key is gone", func() bool { return len(r.Keys()) == 1 && r.Keys()[0].ID != first })
	}
	a.tendKeys(t.Context(), time.Now().Add(defaultKeyAge+time.Hour))
	eventually(t, "an old key is replaced", func() bool { return len(b.Keys()) == 2 })
}

func anotherKeyIsRefused(t *testing.T, c *statetest.Cluster, key string) {
	on(t, c.Endpoints, key)
	other := statetest.Key(t)
	writeFile(other, []byte("another key of thirty-two bytes!"))
	_, err := Open(t.Context(), Config{Dir: t.TempDir(), Options: Options{Endpoints: c.Endpoints, KeyFile: other, Prefix: t.Name() + "/"}})
	wantError(t, err, "state.keyFile: "+other+" cannot decrypt")
}

func compactedWhileAway(t *testing.T, c *statetest.Cluster, key string) {
	link := c.Link(t)
	a, b := on(t, c.Endpoints, key), on(t, link.Endpoints, key)
	gone, live := signIn(t, a.Store, "ann", "1"), signIn(t, a.Store, "ann", "2")
	eventually(t, "both are known", func() bool { return knows(b, gone)() && knows(b, live)() })
	link.Cut()
	if err := a.EndLogin(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	if err := a.EndSession(t.Context(), "ann", "s", host.ErrRevoked); err != nil {
		t.Fatal(err)
	}
	c.Compact(t.Context())
	link.Heal()
	eventually(t, "it is fresh again", func() bool { return b.Ready() == nil && b.Revoked(gone) != nil })
	wantLive(t, b.Store, live)
	eventually(t, "what was to end is told", func() bool {
		return b.told.count(host.Ending{User: "ann", Session: "s", Cause: host.ErrRevoked}) > 0
	})
}

// cutOff holds a replica to its promise: whatever keeps it from hearing of a
// logout, nobody is admitted after 3 s and everything lapses after 5 s, and when
// the fault is over it serves again by itself, without those who logged out.
func cutOff(t *testing.T, c *statetest.Cluster, key string, link *statetest.Link, fault func(*statetest.Link)) {
	a, b := on(t, c.Endpoints, key), on(t, link.Endpoints, key)
	gone, live := signIn(t, a.Store, "ann", "1"), signIn(t, a.Store, "ben", "2")
	eventually(t, "both are known", func() bool { return knows(b, gone)() && knows(b, live)() && b.Ready() == nil })
	fault(link)
	began := time.Now()
	if err := a.EndLogin(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	within(t, 4*time.Second, "nobody is admitted", func() bool { return b.Ready() != nil })
	if err := b.Revoked(live); host.KindOf(err) != host.Unavailable {
		t.Errorf("not fresh: %v", err)
	}
	if _, err := b.CreateLogin(t.Context(), record("cem", "3")); host.KindOf(err) != host.Unavailable {
		t.Errorf("sign-in at a replica that is not fresh: %v", err)
	}
	within(t, time.Until(began.Add(6*time.Second)), "everything lapses", func() bool { return b.Lapsed() != nil && b.lapses.Load() == 1 })
	t.Logf("lapsed %v after the fault", time.Since(began))
	if a.Ready() != nil || a.Revoked(live) != nil {
		t.Error("the others do not go on")
	}
	link.Heal()
	within(t, 20*time.Second, "it serves again", func() bool {
		if b.Revoked(gone) == nil {
			t.Fatal("somebody who logged out is admitted")
		}
		return b.Revoked(live) == nil && b.Lapsed() == nil
	})
	wantGone(t, b.Store, gone, host.ErrLoggedOut)
	if n := b.lapses.Load(); n != 1 {
		t.Errorf("lapsed %d times", n)
	}
}

// TestStoreThatLostItsMajorityAdmitsNobody: what is left of the cluster must not
// answer for all of it.
func TestStoreThatLostItsMajorityAdmitsNobody(t *testing.T) {
	t.Parallel()
	c, key := statetest.Start(t, 3), statetest.Key(t)
	a := on(t, c.Endpoints, key)
	p := signIn(t, a.Store, "ann", "1")
	c.Kill(2)
	eventually(t, "two of three members serve", func() bool {
		_, err := a.CreateLogin(t.Context(), record("ann", "2"))
		return err == nil
	})
	c.Kill(1)
	within(t, 6*time.Second, "nobody is admitted", func() bool { return a.Ready() != nil })
	began := time.Now()
	if err := a.EndLogin(t.Context(), "1"); host.KindOf(err) != host.Unavailable {
		t.Errorf("a logout that was not committed answered %v", err)
	}
	if d := time.Since(began); d > 2*opTimeout {
		t.Errorf("it took %v to say so", d)
	}
	c.Restart()
	within(t, 20*time.Second, "it serves again", func() bool { return a.Ready() == nil })
	if err := a.EndLogin(t.Context(), "1"); err != nil {
		t.Error(err)
	}
	wantGone(t, a.Store, p, host.ErrLoggedOut)
}

// TestRolledBackStoreRevivesNobody restores a backup under running replicas and
// under stopped ones.
func TestRolledBackStoreRevivesNobody(t *testing.T) {
	t.Parallel()
	c, key := statetest.Start(t, 3), statetest.Key(t)
	a, b := on(t, c.Endpoints, key), on(t, c.Endpoints, key)
	out, in := signIn(t, a.Store, "ann", "out"), signIn(t, b.Store, "ben", "in")
	eventually(t, "they are known", func() bool { return knows(b, out)() && knows(a, in)() })
	restore := c.Backup()
	eventually(t, "they serve again, with nobody thrown out", func() bool {
		return knows(a, out)() && knows(b, out)() && knows(a, in)()
	})
	if err := a.EndLogin(t.Context(), "out"); err != nil {
		t.Fatal(err)
	}
	logins := signIn(t, a.Store, "cem", "since") // the backup lacks it
	eventually(t, "the logout is known", func() bool { return b.Revoked(out) != nil })

	var revived atomic.Bool
	watching, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, r := range []*replica{a, b} {
		wg.Go(func() {
			for watching.Err() == nil {
				if r.Revoked(out) == nil {
					revived.Store(true)
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	restore()
	for _, r := range []*replica{a, b} {
		within(t, 20*time.Second, "a new epoch has begun", func() bool {
			return r.Ready() == nil && r.lapses.Load() > 0 && r.Revoked(in) != nil && r.Revoked(logins) != nil
		})
	}
	settleEpoch(t, a, b)
	again := signIn(t, a.Store, "ann", "again")
	eventually(t, "who signs in again is known everywhere", knows(b, again))
	stop()
	wg.Wait()
	if revived.Load() {
		t.Error("who had logged out was admitted")
	}

	// The replicas are stopped when the backup comes back.
	if err := a.EndLogin(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	restore()
	a = on(t, c.Endpoints, key, a.dir)
	for _, p := range []*host.Principal{out, in, again} {
		wantGone(t, a.Store, p, host.ErrLoggedOut)
	}
	wantLive(t, a.Store, signIn(t, a.Store, "ann", "back"))
}

// settleEpoch waits until replicas agree on the epoch.
func settleEpoch(t *testing.T, replicas ...*replica) {
	t.Helper()
	eventually(t, "replicas agree on the epoch", func() bool {
		_, _, first := replicas[0].cache.basis("")
		for _, r := range replicas {
			if _, _, e := r.cache.basis(""); e.id != first.id || e.id == "" || r.Ready() != nil {
				return false
			}
		}
		return true
	})
}

// event is one thing that somebody did, with when it began and was answered.
type event struct {
	what         string // in, use, out
	replica      int
	login        host.LoginID
	ok           bool // done; for a use: admitted
	gone         bool // refused because the login had ended
	began, ended time.Duration
}

// histories lets people sign in, be admitted and log out at three replicas
// while links fail at random, and checks what was recorded.
func histories(t *testing.T, c *statetest.Cluster, key string) {
	began := time.Now()
	links := make([]*statetest.Link, 3)
	replicas := make([]*replica, 3)
	for i := range replicas {
		links[i] = c.Link(t)
		replicas[i] = on(t, links[i].Endpoints, key)
	}
	length := 12 * time.Second
	if soak > 1 {
		length = 5 * time.Minute
	}
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var mu sync.Mutex
	var all []event
	record1 := func(e event, at time.Time) {
		e.began, e.ended = at.Sub(began), time.Since(began)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, e)
	}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() { person1(ctx, t, w, replicas, record1) })
	}
	wg.Go(func() {
		r := rand.New(rand.NewPCG(uint64(began.UnixNano()), 1))
		for ctx.Err() == nil {
			link := links[r.IntN(len(links))]
			[]func(){link.Cut, link.HoldToMembers, link.HoldFromMembers}[r.IntN(3)]()
			pause(ctx, time.Duration(r.IntN(6000))*time.Millisecond)
			link.Heal()
			pause(ctx, time.Duration(r.IntN(1000))*time.Millisecond)
		}
	})
	wg.Wait()
	for _, link := range links {
		link.Heal()
	}
	for _, problem := range check(all) {
		t.Error(problem)
	}
	for i, r := range replicas {
		within(t, 30*time.Second, fmt.Sprintf("replica %d serves again", i), func() bool { return r.Ready() == nil })
	}
	counts := map[string]int{}
	for _, e := range all {
		counts[fmt.Sprint(e.what, " ", e.ok)]++
	}
	t.Log(counts)
	if counts["use true"] == 0 || counts["use false"] == 0 || counts["out true"] == 0 {
		t.Errorf("the history shows nothing: %v", counts)
	}
}

// person1 signs in, is admitted here and there, logs out and tries again.
func person1(ctx context.Context, t *testing.T, w int, replicas []*replica, did func(event, time.Time)) {
	r := rand.New(rand.NewPCG(uint64(w), 2))
	for n := 0; ctx.Err() == nil; n++ {
		id := host.LoginID(fmt.Sprint(w, "-", n))
		rec := record(host.UserID(fmt.Sprint("user", w)), id)
		at, where := time.Now(), r.IntN(len(replicas))
		rec, err := replicas[where].CreateLogin(ctx, rec)
		did(event{what: "in", replica: where, login: id, ok: err == nil}, at)
		if err != nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		p := principal(rec)
		use := func(times int) {
			for range times {
				at, where := time.Now(), r.IntN(len(replicas))
				err := replicas[where].Revoked(p)
				did(event{what: "use", replica: where, login: id, ok: err == nil, gone: err == host.ErrLoggedOut}, at)
				pause(ctx, time.Millisecond)
			}
		}
		use(20)
		for ctx.Err() == nil {
			at, where = time.Now(), r.IntN(len(replicas))
			if r.IntN(3) == 0 {
				err = replicas[where].EndUserLogins(ctx, p.User)
			} else if _, known := replicas[where].Login(id); known {
				err = replicas[where].EndLogin(ctx, id)
			} else {
				continue // it has not heard of the login; ending it there means nothing
			}
			did(event{what: "out", replica: where, login: id, ok: err == nil}, at)
			if err == nil {
				break
			}
		}
		use(200)
	}
}

// check says what in a history breaks the promises: a login that was logged out
// is refused at once where that was answered, on every replica 5 s later, and
// once a replica has said that it ended, for ever.
func check(all []event) (problems []string) {
	const everywhere = 5 * time.Second
	out := map[host.LoginID]event{}
	type seen struct {
		replica int
		login   host.LoginID
	}
	gone := map[seen]time.Duration{}
	for _, e := range all {
		if e.what == "out" && e.ok {
			out[e.login] = e
		}
		if k := (seen{e.replica, e.login}); e.what == "use" && e.gone {
			if at, ok := gone[k]; !ok || e.ended < at {
				gone[k] = e.ended
			}
		}
	}
	for _, e := range all {
		if e.what != "use" || !e.ok {
			continue
		}
		if o, ok := out[e.login]; ok && e.began > o.ended && (e.replica == o.replica || e.began > o.ended+everywhere) {
			problems = append(problems, fmt.Sprintf("login %s was admitted at replica %d, %v after its logout at %d", e.login, e.replica, e.began-o.ended, o.replica))
		}
		// A replica that has not heard of a login yet says that it is gone, and
		// may admit it later; one that had ended stays so.
		if at, ok := gone[seen{e.replica, e.login}]; ok && out[e.login].ok && e.began > at && at > out[e.login].ended {
			problems = append(problems, fmt.Sprintf("login %s was revived at replica %d", e.login, e.replica))
		}
	}
	return problems
}

func TestCheckerFindsWhatIsWrong(t *testing.T) {
	s := time.Second
	out := event{what: "out", replica: 0, login: "1", ok: true, began: s, ended: 2 * s}
	for name, e := range map[string]event{
		"same replica": {what: "use", replica: 0, login: "1", ok: true, began: 2*s + 1},
		"late":         {what: "use", replica: 1, login: "1", ok: true, began: 7*s + 1},
	} {
		if len(check([]event{out, e})) == 0 {
			t.Errorf("%s: nothing found", name)
		}
	}
	refused := event{what: "use", replica: 1, login: "1", gone: true, began: 2 * s, ended: 3 * s}
	revived := event{what: "use", replica: 1, login: "1", ok: true, began: 4 * s}
	if len(check([]event{out, refused, revived})) == 0 {
		t.Error("revival: nothing found")
	}
	if p := check([]event{out, {what: "use", replica: 1, login: "1", ok: true, began: 3 * s}}); len(p) != 0 {
		t.Error(p)
	}
}
