package state

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

const (
	// sessionTTL is how long the entries of a replica that crashed stay visible.
	sessionTTL = 10 * time.Second
	// maxPublished bounds the sessions that one replica publishes. Further sessions
	// live and end like any other, but other replicas do not list them.
	maxPublished = 20_000
	maxSessionID = 64
	maxField     = 256 // bytes of one descriptive field
	maxPage      = 500
	publishBatch = 100
)

// bound truncates each descriptive field of a session to 256 bytes.
func bound(e *host.SessionInfo) {
	for _, f := range []*string{&e.Plugin, &e.Route, &e.Target, &e.RequestID, &e.RemoteAddr} {
		*f = text.Cut(*f, maxField)
	}
}

type sessionKey struct {
	user host.UserID
	id   string
}

// published is this replica's part of the directory of live sessions: its desired
// content, and the changes that are not written yet.
type published struct {
	replica string
	wake    chan struct{}

	mu      sync.Mutex
	entries map[sessionKey]host.SessionInfo
	dirty   map[sessionKey]struct{}

	report    json.RawMessage // what this replica runs; nil before the first
	reportDue bool            // it is yet to be written
}

func newPublished() *published {
	return &published{
		replica: rand.Text(), wake: make(chan struct{}, 1),
		entries: make(map[sessionKey]host.SessionInfo), dirty: make(map[sessionKey]struct{}),
	}
}

func (p *published) change(k sessionKey, edit func()) {
	p.mu.Lock()
	edit()
	p.dirty[k] = struct{}{}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Replica returns the name of this process in host.SessionInfo.Replica. It changes at
// each start.
func (s *Store) Replica() string { return s.published.replica }

// PublishSession shows a session to other replicas until WithdrawSession. It never
// waits; the entry is written soon after. A session without user or id, or beyond
// 20,000 of this replica, is not published.
func (s *Store) PublishSession(e host.SessionInfo) {
	e.Replica = s.published.replica
	bound(&e)
	k := sessionKey{e.User, e.ID}
	if e.User == "" || len(e.User) > maxName || e.ID == "" || len(e.ID) > maxSessionID || strings.Contains(e.ID, "/") {
		return
	}
	s.published.change(k, func() {
		if len(s.published.entries) < maxPublished {
			s.published.entries[k] = e
		}
	})
}

// WithdrawSession removes an entry. It never waits.
func (s *Store) WithdrawSession(user host.UserID, id string) {
	k := sessionKey{user, id}
	s.published.change(k, func() { delete(s.published.entries, k) })
}

// PublishedSessions returns a page of the sessions that all replicas publish, this one
// included: those of one user, or of all users if user is empty, in a stable order.
// after is the value of next that the previous page returned, and empty for the first
// page; next is empty on the last page. limit is at most 500; 0 means 500. Entries that
// were not sealed with the host key are left out.
func (s *Store) PublishedSessions(ctx context.Context, user host.UserID, after string, limit int) (page []host.SessionInfo, next string, err error) {
	if len(user) > maxName || len(after) > 2*maxName {
		return nil, "", host.E(host.Invalid, "state.sessions", "the page does not exist")
	}
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	root := s.at.live
	if user != "" {
		root = s.at.liveOf(user)
	}
	from := root
	if after != "" {
		from = max(root, s.at.live+after+"\x00")
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(root)), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, "", unavailable("state.sessions", err)
	}
	for _, kv := range resp.Kvs {
		key := string(kv.Key)
		var e host.SessionInfo
		if err := s.seal.open(key, kv.Value, &e); err != nil {
			s.log.Error("a session entry in the state store is not genuine", "key", key, "error", err)
			continue
		}
		page = append(page, e)
	}
	if resp.More {
		next = strings.TrimPrefix(string(resp.Kvs[len(resp.Kvs)-1].Key), s.at.live)
	}
	return page, next, nil
}

var errLeaseLost = errors.New("the lease was lost")

// keepPublishing writes changes under a lease, so that the entries of a replica that
// crashed disappear. If the lease is lost, it writes all entries again.
func (s *Store) keepPublishing(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.publishUnderLease(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("live sessions cannot be published, retrying", "error", err)
			pause(ctx, retryEvery)
		}
	}
}

func (s *Store) publishUnderLease(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !s.published.waitForAny(ctx) {
		return ctx.Err()
	}
	granting, stop := context.WithTimeout(ctx, opTimeout)
	defer stop()
	lease, err := s.client.Grant(granting, int64(sessionTTL/time.Second))
	if err != nil {
		return err
	}
	defer s.revoke(lease.ID)
	kept, err := s.client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return err
	}
	s.published.markAll()
	for {
		for {
			more, err := s.flushSessions(ctx, lease.ID)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
		select {
		case <-s.published.wake:
		case _, ok := <-kept:
			if !ok {
				return errLeaseLost
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// revoke removes this replica's entries when it stops. If that fails, they disappear
// with the lease.
func (s *Store) revoke(lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = s.client.Revoke(ctx, lease)
}

// waitForAny waits until there is something to publish, so that a replica without
// entries holds no lease. It returns false if ctx ends first.
func (p *published) waitForAny(ctx context.Context) bool {
	for {
		p.mu.Lock()
		some := len(p.entries) > 0 || p.report != nil
		p.mu.Unlock()
		if some {
			return true
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return false
		}
	}
}

func (p *published) markAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.entries {
		p.dirty[k] = struct{}{}
	}
	p.reportDue = p.report != nil
}

// flushSessions writes some of the changes and reports whether more remain. The changes
// of a failed write remain.
func (s *Store) flushSessions(ctx context.Context, lease clientv3.LeaseID) (more bool, err error) {
	p := s.published
	var keys []sessionKey
	var ops []clientv3.Op
	p.mu.Lock()
	reporting := p.reportDue
	if place := s.at.run + p.replica; reporting {
		p.reportDue = false
		if sealed, err := s.seal.seal(place, p.report); err == nil { // JSON always encodes
			ops = append(ops, clientv3.OpPut(place, sealed, clientv3.WithLease(lease)))
		}
	}
	for k := range p.dirty {
		if len(keys) == publishBatch {
			more = true
			break
		}
		keys = append(keys, k)
		delete(p.dirty, k)
		key := s.at.liveOf(k.user) + k.id
		e, ok := p.entries[k]
		if !ok {
			ops = append(ops, clientv3.OpDelete(key))
			continue
		}
		sealed, err := s.seal.seal(key, e)
		if err != nil {
			continue // cannot happen: strings and times always encode
		}
		ops = append(ops, clientv3.OpPut(key, sealed, clientv3.WithLease(lease)))
	}
	p.mu.Unlock()
	if len(ops) == 0 {
		return more, nil
	}
	if _, err = s.commit(ctx, "state.sessions", ops...); err != nil {
		p.mu.Lock()
		for _, k := range keys {
			p.dirty[k] = struct{}{}
		}
		p.reportDue = p.reportDue || reporting
		p.mu.Unlock()
	}
	return more, err
}

// AwaitWithdrawn waits until the user's sessions with these ids are no longer
// published, and returns how many are left when ctx ends or the store does not answer.
func (s *Store) AwaitWithdrawn(ctx context.Context, user host.UserID, ids []string) (left int) {
	root := s.at.liveOf(user)
	waiting := make(map[string]bool, len(ids))
	for _, id := range ids {
		waiting[root+id] = true
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher := clientv3.NewWatcher(s.client)
	defer watcher.Close()
	changes := watcher.Watch(clientv3.WithRequireLeader(ctx), root, clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	for resp := range changes {
		if resp.Err() != nil {
			break
		}
		if resp.Created { // from now on no deletion is missed
			now, err := s.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithKeysOnly())
			if err != nil {
				break
			}
			published := make(map[string]bool, len(now.Kvs))
			for _, kv := range now.Kvs {
				published[string(kv.Key)] = true
			}
			for key := range waiting {
				if !published[key] {
					delete(waiting, key)
				}
			}
		}
		for _, e := range resp.Events {
			delete(waiting, string(e.Kv.Key))
		}
		if len(waiting) == 0 {
			break
		}
	}
	return len(waiting)
}
