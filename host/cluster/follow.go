package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// The only API group that the host reads as itself.
const (
	Group        = "bulkhead.internal"
	GroupVersion = "v1"
)

// settle is how long changes are collected before they are published: the objects of
// a large namespace arrive one by one.
const settle = 20 * time.Millisecond

// Object is one custom resource as the API server holds it. It is read-only.
type Object struct {
	Namespace, Name string
	UID, Version    string         // equal pairs mean equal content
	Content         map[string]any // JSON values, whole numbers as int64
}

// Follower follows custom resources of one cluster. It is safe for concurrent use.
type Follower struct {
	member  *member
	parts   []*part
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{}
}

// Follow lists and watches the given resources of Group, by plural name, in the given
// namespaces only. It does so as the host itself, whose RBAC must permit get, list and
// watch. Following continues until ctx ends or the follower is closed, across changes
// of the kubeconfig and while the cluster is unreachable. The error is of kind
// host.NotFound if the cluster is unknown.
func (s *Set) Follow(ctx context.Context, cluster string, namespaces []string, resources ...string) (*Follower, error) {
	m := s.members[cluster]
	if m == nil {
		return nil, host.E(host.NotFound, op, "there is no cluster %q", cluster)
	}
	ctx, stop := context.WithCancel(klog.NewContext(ctx, logr.Discard())) // Problem reports failures
	f := &Follower{member: m, stop: stop, changed: make(chan struct{})}
	for _, ns := range namespaces {
		for _, r := range resources {
			f.parts = append(f.parts, &part{resource: r, namespace: ns, notify: f.notify, dirty: make(chan struct{}, 1)})
		}
	}
	f.running.Go(func() { f.run(ctx) })
	return f, nil
}

// Close stops following and waits until that is done. Objects keeps its last result.
func (f *Follower) Close() {
	f.stop()
	f.running.Wait()
}

// Objects returns the last known objects, unordered. Known is false until every
// resource and namespace has been read.
func (f *Follower) Objects() (list []Object, known bool) {
	known = true
	for _, p := range f.parts {
		p.mu.Lock()
		list = append(list, p.objects...)
		known = known && p.known
		p.mu.Unlock()
	}
	return list, known
}

// Problem returns why Objects may be out of date, or nil.
func (f *Follower) Problem() error {
	if s := f.member.status(); !s.Ready {
		return host.E(host.Unavailable, op, "%s", cmp.Or(s.Detail, "the cluster does not answer"))
	}
	for _, p := range f.parts {
		p.mu.Lock()
		err := p.problem
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Changed returns a channel that is closed when the results of Objects or Problem
// may have changed. Call it before them, so as not to miss a change.
func (f *Follower) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *Follower) notify() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// run restarts the informers whenever the cluster has a new endpoint or answers
// again: an informer's own next attempt may be a minute away.
func (f *Follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		renewed := f.member.renewal()
		round, cancel := context.WithCancel(ctx)
		var parts sync.WaitGroup
		if e, err := f.member.endpoint(); err == nil {
			if client, err := dynamic.NewForConfigAndClient(e.rest, &http.Client{Transport: e.transport}); err == nil {
				for _, p := range f.parts {
					parts.Go(func() { p.run(round, client) })
				}
			}
		}
		f.notify() // the result of Problem may have changed
		select {
		case <-renewed:
		case <-ctx.Done():
		}
		cancel()
		parts.Wait()
	}
}

// part is one resource in one namespace.
type part struct {
	resource, namespace string
	notify              func()
	dirty               chan struct{}

	mu      sync.Mutex
	known   bool
	objects []Object
	problem error
}

// run keeps the part current until ctx ends.
func (p *part) run(ctx context.Context, client dynamic.Interface) {
	objects := client.Resource(schema.GroupVersionResource{Group: Group, Version: GroupVersion, Resource: p.resource}).Namespace(p.namespace)
	touch := func() {
		select {
		case p.dirty <- struct{}{}:
		default:
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				list, err := objects.List(ctx, o)
				p.attempted(ctx, err)
				return list, err
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				w, err := objects.Watch(ctx, o)
				p.attempted(ctx, err)
				return w, err
			},
		},
		ObjectType: &unstructured.Unstructured{},
		Transform:  slim,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { touch() }, UpdateFunc: func(any, any) { touch() }, DeleteFunc: func(any) { touch() },
		},
	})
	var all sync.WaitGroup
	all.Go(func() { informer.RunWithContext(ctx) })
	all.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			touch()
		}
	})
	for ctx.Err() == nil {
		select {
		case <-p.dirty:
			pause(ctx, settle)
			if informer.HasSynced() {
				p.publish(store.List())
			}
		case <-ctx.Done():
		}
	}
	all.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// publish stores the informer's objects.
func (p *part) publish(items []any) {
	list := make([]Object, 0, len(items))
	for _, item := range items {
		if u, ok := item.(*unstructured.Unstructured); ok {
			list = append(list, Object{u.GetNamespace(), u.GetName(), string(u.GetUID()), u.GetResourceVersion(), u.Object})
		}
	}
	slices.SortFunc(list, func(a, b Object) int { return cmp.Compare(a.Name, b.Name) })
	p.mu.Lock()
	p.known, p.objects = true, list
	p.mu.Unlock()
	p.notify()
}

// attempted records the result of a request and publishes a new problem at once.
func (p *part) attempted(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		return
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err), apierrors.IsInvalid(err):
		return // the watch needs a new list
	case err != nil:
		err = fmt.Errorf("%s.%s in namespace %q: %w", p.resource, Group, p.namespace, explain(err))
	}
	p.mu.Lock()
	same := err == p.problem || err != nil && p.problem != nil && err.Error() == p.problem.Error()
	p.problem = err
	p.mu.Unlock()
	if !same {
		p.notify()
	}
}

// explain adds what an operator can do.
func explain(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w; apply the CRDs that \"bulkhead directory crds\" prints", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; grant the host's own identity get, list and watch on them", err)
	}
	return err
}

// slim drops the parts that are not used, and those that change without the content.
func slim(item any) (any, error) {
	u, ok := item.(*unstructured.Unstructured)
	if !ok {
		return item, nil
	}
	slimmed := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	delete(slimmed.Object, "status")
	if m, ok := u.Object["metadata"].(map[string]any); ok {
		m = maps.Clone(m)
		delete(m, "managedFields")
		slimmed.Object["metadata"] = m
	}
	return slimmed, nil
}
