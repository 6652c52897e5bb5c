package state

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// cache is what reads are answered from. Logins only ever go from live to
// ended, token generations, marks and outs only grow, so that changes may arrive
// late, twice, or before the watch brings them, and the answer never becomes more
// permissive. A login that a credential bears may come back, as long as it was
// set aside and not logged out.
type cache struct {
	mu     sync.RWMutex
	logins map[host.LoginID]*login
	users  map[host.UserID]map[host.LoginID]*login
	marks  map[host.UserID]userMark
	outs   map[loginKey]time.Time // logged out although the credential is still good; until when
	epoch  epoch
	rev    int64

	keys keyring
}

// login is immutable but for ended, which cache.mu guards, and used.
type login struct {
	rec   host.LoginRecord
	rev   int64         // of the store when the record was last written
	ended bool          // kept until rec.Until, so that a record put back revives nobody
	used  *atomic.Int64 // last use here, Unix seconds; when it was learned of, at first
}

// userMark is a user's last logout from everything.
type userMark struct {
	at  time.Time
	rev int64
}

type epoch struct {
	id  string
	at  time.Time
	rev int64
}

func newCache() *cache {
	return &cache{
		logins: make(map[host.LoginID]*login),
		users:  make(map[host.UserID]map[host.LoginID]*login),
		marks:  make(map[host.UserID]userMark),
		outs:   make(map[loginKey]time.Time),
	}
}

func (c *cache) revision() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rev
}

func (c *cache) reached(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev = max(c.rev, rev)
}

// putLogin takes a record that the store showed.
func (c *cache) putLogin(rec host.LoginRecord, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(rec, rev)
}

// putOwn takes a record that this process has just written at revision rev. If
// the cache has reached that, it has been told of the login already, and maybe
// of its end.
func (c *cache) putOwn(rec host.LoginRecord, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rev > c.rev {
		c.put(rec, rev)
	}
}

func (c *cache) put(rec host.LoginRecord, rev int64) {
	now := time.Now()
	if rec.Renewed.After(now) {
		rec.Renewed = now // by a clock that is ahead
	}
	l := &login{rec: rec, rev: rev, ended: rec.Epoch != c.epoch.id}
	if old := c.logins[rec.ID]; old == nil {
		l.used = &atomic.Int64{}
		l.used.Store(now.Unix())
	} else if l.used = old.used; rev <= old.rev || old.rec.User != rec.User {
		return // late, or not the login of this name
	} else if old.ended && !rec.BearerBound() {
		return // ended for good
	} else if !old.ended && rec.Generation <= old.rec.Generation {
		l.rec = old.rec // a record put back, of which the revision alone counts
	}
	if _, out := c.outs[loginKey{rec.User, rec.ID}]; out {
		l.ended = true
	}
	c.logins[rec.ID] = l
	if c.users[rec.User] == nil {
		c.users[rec.User] = make(map[host.LoginID]*login)
	}
	c.users[rec.User][rec.ID] = l
}

// enterEpoch ends the logins of any other.
func (c *cache) enterEpoch(e epoch) (gone []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch = e
	return c.endWhere(func(l *login) bool { return l.rec.Epoch != e.id })
}

// rewind ends every login and forgets how far the store had come, but not who
// was there.
func (c *cache) rewind() (gone []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev, c.epoch = 0, epoch{}
	for user, m := range c.marks {
		c.marks[user] = userMark{at: m.at}
	}
	return c.endWhere(func(*login) bool { return true })
}

func (c *cache) endWhere(match func(*login) bool) (gone []loginKey) {
	for id, l := range c.logins {
		if !l.ended && match(l) {
			l.ended = true
			gone = append(gone, loginKey{l.rec.User, id})
		}
	}
	return gone
}

// endLogin ends the login as it was up to revision rev, and reports whether it
// was live until now.
func (c *cache) endLogin(k loginKey, rev int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.users[k.user][k.id]
	if l == nil || l.ended || l.rev > rev {
		return false
	}
	l.ended = true
	return true
}

// putOut keeps the login from being admitted again until the given time, for ever
// if that is zero, and reports whether it was live until now.
func (c *cache) putOut(k loginKey, until time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.outs[k]; !ok || !old.IsZero() && (until.IsZero() || until.After(old)) {
		c.outs[k] = until
	}
	l := c.users[k.user][k.id]
	if l == nil || l.ended {
		return false
	}
	l.ended = true
	return true
}

// out reports whether the login must not be admitted again.
func (c *cache) out(k loginKey) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.outs[k]
	return ok
}

// putMark moves the user's mark forward and returns the logins that it ends.
func (c *cache) putMark(user host.UserID, at time.Time, rev int64) (gone []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.marks[user]
	advance := at.After(m.at)
	c.marks[user] = userMark{later(m.at, at), max(m.rev, rev)}
	if !advance {
		return nil
	}
	for id, l := range c.users[user] {
		if !l.ended && !l.rec.At.After(at) {
			l.ended = true
			gone = append(gone, loginKey{user, id})
		}
	}
	return gone
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// retain ends every login that was written up to revision rev and is not in
// listed, which is what the store held then.
func (c *cache) retain(listed map[loginKey]bool, rev int64) (gone []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endWhere(func(l *login) bool { return l.rev <= rev && !listed[loginKey{l.rec.User, l.rec.ID}] })
}

// mark is the time from which on the user's logins are good: that of the last
// logout from everything, or when the epoch began.
func (c *cache) mark(user host.UserID) time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return later(c.marks[user].at, c.epoch.at)
}

// basis is what a new login of the user must be built upon.
func (c *cache) basis(user host.UserID) (mark time.Time, markRev int64, e epoch) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m := c.marks[user]
	return later(m.at, c.epoch.at), m.rev, c.epoch
}

// find returns the login with this id and whether it is live; l is nil when
// there is none. The record is immutable.
func (c *cache) find(id host.LoginID, now time.Time) (l *login, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l = c.logins[id]
	switch {
	case l == nil || l.ended || !l.rec.At.After(c.marks[l.rec.User].at):
		return l, host.ErrLoggedOut
	case !now.Before(l.rec.Until):
		return l, host.ErrLoginExpired
	}
	return l, nil
}

// live returns the user's live logins, oldest first.
func (c *cache) live(user host.UserID, now time.Time) (out []host.LoginRecord) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, l := range c.users[user] {
		if !l.ended && l.rec.At.After(c.marks[user].at) && now.Before(l.rec.Until) {
			out = append(out, l.rec)
		}
	}
	slices.SortFunc(out, func(a, b host.LoginRecord) int { return a.At.Compare(b.At) })
	return out
}

// surplus returns the oldest of the user's live logins that credentials bear, or
// of the others, as many as there are over limit.
func (c *cache) surplus(user host.UserID, bearerBound bool, limit int, now time.Time) []loginKey {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var live []*login
	for _, l := range c.users[user] {
		if !l.ended && l.rec.BearerBound() == bearerBound && now.Before(l.rec.Until) {
			live = append(live, l)
		}
	}
	if len(live) <= limit {
		return nil
	}
	slices.SortFunc(live, func(a, b *login) int { return a.rec.At.Compare(b.rec.At) })
	var out []loginKey
	for _, l := range live[:len(live)-limit] {
		out = append(out, loginKey{user, l.rec.ID})
	}
	return out
}

// due returns the logins whose time was up before the given one.
func (c *cache) due(before time.Time) (out []loginKey) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for id, l := range c.logins {
		if l.rec.Until.Before(before) {
			out = append(out, loginKey{l.rec.User, id})
		}
	}
	return out
}

// dueOuts returns the logins that no credential bears any more since before the
// given time.
func (c *cache) dueOuts(before time.Time) (keys []loginKey) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for k, until := range c.outs {
		if !until.IsZero() && until.Before(before) {
			keys = append(keys, k)
		}
	}
	return keys
}

func (c *cache) forgetOuts(keys []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		delete(c.outs, k)
	}
}

func (c *cache) forget(keys []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		delete(c.logins, k.id)
		delete(c.users[k.user], k.id)
		if len(c.users[k.user]) == 0 {
			delete(c.users, k.user)
		}
	}
}
