package state

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// cache is the memory that answers reads. A login only ever goes from live to ended,
// and token generations, not-before times and logouts only grow. So changes may
// arrive late, twice, or before the watch brings them: answers never become more
// permissive. The exception is a bearer-bound login that was set aside and not logged
// out; it may become live again.
type cache struct {
	mu         sync.RWMutex
	logins     map[host.LoginID]*login
	users      map[host.UserID]map[host.LoginID]*login
	notBefores map[host.UserID]userNotBefore
	logouts    map[loginKey]time.Time // logouts of bearer-bound logins, each with the end of the credential
	epoch      epoch
	rev        int64

	keys keyring
}

// login is immutable except for ended, which cache.mu guards, and used.
type login struct {
	rec   host.LoginRecord
	rev   int64         // of the store when the record was last written
	ended bool          // kept until rec.Until, so that restoring an old record does not revive it
	used  *atomic.Int64 // last use on this replica, Unix seconds; initially when the replica learned of the login
}

// userNotBefore is the time before which a user's logins are invalid.
type userNotBefore struct {
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
		logins:     make(map[host.LoginID]*login),
		users:      make(map[host.UserID]map[host.LoginID]*login),
		notBefores: make(map[host.UserID]userNotBefore),
		logouts:    make(map[loginKey]time.Time),
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

// putLogin adds a record that was read from the store.
func (c *cache) putLogin(rec host.LoginRecord, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(rec, rev)
}

// putOwn adds a record that this process has just written at revision rev. If the
// cache has reached rev, it knows the login already, and perhaps its end.
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
		rec.Renewed = now // written by a replica whose clock is ahead
	}
	l := &login{rec: rec, rev: rev, ended: rec.Epoch != c.epoch.id}
	if old := c.logins[rec.ID]; old == nil {
		l.used = &atomic.Int64{}
		l.used.Store(now.Unix())
	} else if l.used = old.used; rev <= old.rev || old.rec.User != rec.User {
		return // late, or another user's login of this id
	} else if old.ended && !rec.BearerBound() {
		return // ended permanently
	} else if !old.ended && rec.Generation <= old.rec.Generation {
		l.rec = old.rec // an old record was restored; only its revision counts
	}
	if _, out := c.logouts[loginKey{rec.User, rec.ID}]; out {
		l.ended = true
	}
	c.logins[rec.ID] = l
	if c.users[rec.User] == nil {
		c.users[rec.User] = make(map[host.LoginID]*login)
	}
	c.users[rec.User][rec.ID] = l
}

// enterEpoch ends the logins of all other epochs.
func (c *cache) enterEpoch(e epoch) (gone []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch = e
	return c.endWhere(func(l *login) bool { return l.rec.Epoch != e.id })
}

// rewind ends every login and forgets the revision of the store, but keeps the ended
// logins.
func (c *cache) rewind() (gone []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev, c.epoch = 0, epoch{}
	for user, m := range c.notBefores {
		c.notBefores[user] = userNotBefore{at: m.at}
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

// endLogin ends the login unless it was written after revision rev, and reports
// whether it was live until now.
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

// putLogout prevents the login from being admitted until the given time, or for ever
// if that is zero, and reports whether it was live until now.
func (c *cache) putLogout(k loginKey, until time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.logouts[k]; !ok || !old.IsZero() && (until.IsZero() || until.After(old)) {
		c.logouts[k] = until
	}
	l := c.users[k.user][k.id]
	if l == nil || l.ended {
		return false
	}
	l.ended = true
	return true
}

// loggedOut reports whether the login must not be admitted again.
func (c *cache) loggedOut(k loginKey) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.logouts[k]
	return ok
}

// putNotBefore moves the user's not-before forward and returns the logins that it
// ends.
func (c *cache) putNotBefore(user host.UserID, at time.Time, rev int64) (gone []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.notBefores[user]
	advance := at.After(m.at)
	c.notBefores[user] = userNotBefore{later(m.at, at), max(m.rev, rev)}
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

// retain ends every login that was written up to revision rev and is not in listed,
// the logins that the store contained at rev.
func (c *cache) retain(listed map[loginKey]bool, rev int64) (gone []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endWhere(func(l *login) bool { return l.rev <= rev && !listed[loginKey{l.rec.User, l.rec.ID}] })
}

// notBefore returns the time before which the user's logins are invalid: that of the
// last logout of all logins, or the beginning of the epoch.
func (c *cache) notBefore(user host.UserID) time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return later(c.notBefores[user].at, c.epoch.at)
}

// basis returns the state on which a new login of the user is based.
func (c *cache) basis(user host.UserID) (notBefore time.Time, notBeforeRev int64, e epoch) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m := c.notBefores[user]
	return later(m.at, c.epoch.at), m.rev, c.epoch
}

// find returns the login with this id, and an error if it is not live. l is nil if
// the login is unknown. The record is immutable.
func (c *cache) find(id host.LoginID, now time.Time) (l *login, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l = c.logins[id]
	switch {
	case l == nil || l.ended || !l.rec.At.After(c.notBefores[l.rec.User].at):
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
		if !l.ended && l.rec.At.After(c.notBefores[user].at) && now.Before(l.rec.Until) {
			out = append(out, l.rec)
		}
	}
	slices.SortFunc(out, func(a, b host.LoginRecord) int { return a.At.Compare(b.At) })
	return out
}

// surplus returns the oldest of the user's live logins that exceed limit, among the
// bearer-bound logins or among the others.
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

// due returns the logins that expired before the given time.
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

// dueLogouts returns the logged-out logins whose credentials expired before the given
// time.
func (c *cache) dueLogouts(before time.Time) (keys []loginKey) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for k, until := range c.logouts {
		if !until.IsZero() && until.Before(before) {
			keys = append(keys, k)
		}
	}
	return keys
}

func (c *cache) forgetLogouts(keys []loginKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		delete(c.logouts, k)
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
