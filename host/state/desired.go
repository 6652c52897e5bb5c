package state

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	maxSpec        = 256 << 10 // bytes of one description
	maxDesired     = 500       // names
	maxDesiredName = 80        // a plugin's name, of at most 63 bytes, and what goes before it in records about the plugin
	maxDesiredRefs = 8         // uploads of one description
)

// Desired is what every replica should run under one name.
type Desired struct {
	Name string
	// Spec describes it, as JSON of at most 256 KiB. Its form is the writer's.
	Spec json.RawMessage
	// Uploads are the digests of the uploads that Spec needs; at most 8. They are kept
	// while a Desired names them.
	Uploads []string
	By      host.UserID // who wrote it
	Method  string      // login method of By
	At      time.Time
	// Revision of the store at which it was written; 0 if it was not.
	Revision int64 `json:"-"`
}

func (d *Desired) check() error {
	switch {
	case d.Name == "" || len(d.Name) > maxDesiredName || strings.ContainsAny(d.Name, "/\x00"):
		return host.E(host.Invalid, "state.desired", "name: %q is not a name of 1 to %d characters without \"/\"", d.Name, maxDesiredName)
	case len(d.Spec) > maxSpec:
		return host.E(host.TooLarge, "state.desired", "the description of %s has %d bytes, and may have %d", d.Name, len(d.Spec), maxSpec)
	case !json.Valid(d.Spec):
		return host.E(host.Invalid, "state.desired", "the description of %s is not JSON", d.Name)
	case len(d.Uploads) > maxDesiredRefs:
		return host.E(host.Invalid, "state.desired", "%s needs %d uploads, and may need %d", d.Name, len(d.Uploads), maxDesiredRefs)
	}
	return nil
}

// wanted is the desired state as it is known here. A record that was written earlier
// than what is known changes nothing, so that the watch may bring it late.
type wanted struct {
	mu      sync.Mutex
	byName  map[string]Desired
	removed map[string]int64 // by name, the revision of a removal that the watch has not brought yet
	changed chan struct{}
}

func newWanted() *wanted {
	return &wanted{byName: map[string]Desired{}, removed: map[string]int64{}, changed: make(chan struct{})}
}

// announce needs w.mu.
func (w *wanted) announce() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *wanted) put(d Desired) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.Revision <= w.byName[d.Name].Revision || d.Revision <= w.removed[d.Name] {
		return
	}
	w.byName[d.Name] = d
	w.announce()
}

// remove follows a removal at revision rev. own is one by this process, before the
// watch brings it.
func (w *wanted) remove(name string, rev int64, own bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if own {
		w.removed[name] = max(rev, w.removed[name])
	} else if w.removed[name] <= rev {
		delete(w.removed, name)
	}
	if d, ok := w.byName[name]; ok && d.Revision < rev {
		delete(w.byName, name)
		w.announce()
	}
}

// retain drops what was written up to revision rev and is not in listed, which is
// what the store held then.
func (w *wanted) retain(listed map[string]bool, rev int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := len(w.byName)
	maps.DeleteFunc(w.byName, func(name string, d Desired) bool { return d.Revision <= rev && !listed[name] })
	if len(w.byName) != before {
		w.announce()
	}
}

// rewind keeps what is known, and takes whatever the store holds for newer.
func (w *wanted) rewind() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.removed)
	for name, d := range w.byName {
		d.Revision = 0
		w.byName[name] = d
	}
}

// Desired returns what every replica should run, by name, from memory. changed is
// closed when the list is no longer current.
func (s *Store) Desired() (list []Desired, changed <-chan struct{}) {
	s.wanted.mu.Lock()
	defer s.wanted.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.wanted.byName)) {
		list = append(list, s.wanted.byName[name])
	}
	return list, s.wanted.changed
}

// PutDesired replaces what should run under d.Name, and returns it as written. It is
// visible here before PutDesired returns. expect is the revision that d was made
// from; 0 if the name has to be free. If the store holds another, the error is of
// kind Conflict and says who wrote it and when. Uploads that the store does not hold
// are of kind NotFound.
func (s *Store) PutDesired(ctx context.Context, d Desired, expect int64) (Desired, error) {
	if err := d.check(); err != nil {
		return d, err
	}
	if err := s.Ready(); err != nil {
		return d, err
	}
	d.At = time.Now().Round(0)
	place := s.at.want + d.Name
	sealed, err := s.seal.seal(place, d)
	if err != nil {
		return d, host.E(host.Internal, "state.desired", "%w", err)
	}
	if expect == 0 {
		if list, _ := s.Desired(); len(list) >= maxDesired {
			return d, host.E(host.Limited, "state.desired", "%d names are in use, which is the most; remove one", len(list))
		}
	}
	for range maxTries {
		cmps := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(place), "=", expect)}
		ops := []clientv3.Op{clientv3.OpPut(place, sealed)}
		if len(d.Uploads) > 0 {
			index, err := s.readIndex(ctx)
			if err != nil {
				return d, err
			}
			if err := index.use(d.Uploads, d.At); err != nil {
				return d, err
			}
			cmp, op, err := s.writeIndex(index)
			if err != nil {
				return d, err
			}
			cmps, ops = append(cmps, cmp), append(ops, op)
		}
		done, err := s.desiredTxn(ctx, d.Name, expect, cmps, ops)
		if err != nil {
			return d, err
		}
		if done > 0 {
			d.Revision = done
			s.wanted.put(d)
			return d, nil
		}
	}
	return d, errBusyIndex
}

// RemoveDesired ends what should run under a name. expect is as in PutDesired.
func (s *Store) RemoveDesired(ctx context.Context, name string, expect int64) error {
	if err := s.Ready(); err != nil {
		return err
	}
	place := s.at.want + name
	cmp := clientv3.Compare(clientv3.ModRevision(place), "=", expect)
	rev, err := s.desiredTxn(ctx, name, expect, []clientv3.Cmp{cmp, clientv3.Compare(clientv3.CreateRevision(place), ">", 0)},
		[]clientv3.Op{clientv3.OpDelete(place)})
	if err == nil {
		s.wanted.remove(name, rev, true)
	}
	return err
}

// desiredTxn returns the revision of the change, 0 if the index of uploads changed
// meanwhile, or an error if the record is not the one of revision expect.
func (s *Store) desiredTxn(ctx context.Context, name string, expect int64, cmps []clientv3.Cmp, ops []clientv3.Op) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	place := s.at.want + name
	resp, err := s.client.Txn(ctx).If(cmps...).Then(ops...).Else(clientv3.OpGet(place)).Commit()
	if err != nil {
		return 0, unavailable("state.desired", err)
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	switch {
	case len(kvs) == 0 && expect == 0:
		if len(cmps) > 1 && len(ops) > 1 {
			return 0, nil
		}
		return 0, host.E(host.NotFound, "state.desired", "%s is not installed", name)
	case len(kvs) == 0:
		return 0, host.E(host.Conflict, "state.desired", "%s was removed since revision %d", name, expect)
	case kvs[0].ModRevision == expect:
		return 0, nil
	}
	d, err := s.openDesired(kvs[0])
	if err != nil {
		return 0, host.E(host.Conflict, "state.desired", "%s was changed since, at revision %d, by a record that is not genuine", name, kvs[0].ModRevision)
	}
	if expect == 0 {
		return 0, host.E(host.Conflict, "state.desired", "%s is installed already: by %s (%s) at %s, revision %d",
			name, d.By, d.Method, d.At.UTC().Format(time.RFC3339), d.Revision)
	}
	return 0, host.E(host.Conflict, "state.desired", "%s was changed since revision %d: by %s (%s) at %s, now revision %d; look at it and try again",
		name, expect, d.By, d.Method, d.At.UTC().Format(time.RFC3339), d.Revision)
}

func (s *Store) openDesired(kv *mvccpb.KeyValue) (d Desired, err error) {
	place := string(kv.Key)
	if err := s.seal.open(place, kv.Value, &d); err != nil {
		return d, err
	}
	if place != s.at.want+d.Name {
		return d, fmt.Errorf("it is of %q", d.Name)
	}
	d.Revision = kv.ModRevision
	return d, nil
}

// putDesired takes a record that the watch brought. One that does not open changes
// nothing: what runs goes on.
func (s *Store) putDesired(kv *mvccpb.KeyValue) error {
	d, err := s.openDesired(kv)
	if err == nil {
		s.wanted.put(d)
	}
	return err
}
