package pods

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/stream"
)

// LogProtocol is the subprotocol of a socket with logs. Each message of the server is
// text, one JSON object:
//
//	{"type":"lines","lines":[{"pod":"web-1","container":"app","at":"2026-…Z","text":"…","cut":true}]}
//	{"type":"state","pod":"web-1","container":"app","state":"following"}   or ended, restarted
//	{"type":"missing","pod":"web-2","reason":"…"}
//	{"type":"warning",…}  {"type":"end"}  {"type":"error","error":"…"}
//
// Lines are in the order of their times; while logs are followed, a line is held back for
// holdBack so that a container that is a little later can still come first. The same
// messages are the data of an event stream.
const LogProtocol = "bulkhead.log.v1"

const (
	maxMatch   = 1 << 10 // bytes of an expression
	maxTail    = 10_000  // lines of each container
	maxSources = 100     // containers
	holdBack   = 250 * time.Millisecond
	lookEvery  = 2 * time.Second // for new pods
	maxPods    = 16 << 20        // bytes of the list of pods
)

type logOptions struct {
	follow, previous bool
	since            time.Time
	tail             int64 // -1: all
	match            *regexp.Regexp
	selector         string
	owner            *ownerKind
	ownerName        string
}

func (q *request) parseLog(t *capability.Target) (err error) {
	if err := t.Only(name, "container", "follow", "since", "tail", "previous", "match", "selector", "owner"); err != nil {
		return err
	}
	if err := q.readContainer(t); err != nil {
		return err
	}
	o := &q.logs
	if o.follow, err = yes(t, "follow"); err != nil {
		return err
	}
	if o.previous, err = yes(t, "previous"); err != nil {
		return err
	}
	if o.follow && o.previous {
		return host.E(host.Invalid, name, "follow: the log of a previous container has ended; use follow or previous")
	}
	if o.since, err = instant(t.Query.Get("since"), time.Now()); err != nil {
		return err
	}
	if o.tail, err = number(t, "tail", -1, -1, maxTail); err != nil {
		return err
	}
	if text := t.Query.Get("match"); len(text) > maxMatch {
		return host.E(host.Invalid, name, "match: the expression is over %d bytes", maxMatch)
	} else if o.match, err = regexp.Compile(text); err != nil {
		return host.E(host.Invalid, name, "match: %v", err)
	}
	return q.readSelection(t)
}

// instant reads a time, or a duration before now; "" is the zero time.
func instant(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, host.E(host.Invalid, name, "since must be a duration such as 10m, or a time such as 2026-01-02T15:04:05Z")
	}
	return at, nil
}

// openLogs checks the first selection of pods.
func (e *Pods) openLogs(ctx context.Context, p *capability.Permit, q *request, client *cluster.Client) (capability.Stream, error) {
	if err := unrecorded(p); err != nil {
		return nil, err
	}
	l := &logs{clusters: e.clusters, permit: p, request: q, sources: map[string]*source{}, missing: map[string]bool{}, notify: make(chan struct{}, 1)}
	if q.pod != "" {
		if err := q.may(ctx, client, q.operation.rbac, q.pod); err != nil {
			return nil, err
		}
		pod, err := q.get(ctx, client)
		if err != nil {
			return nil, err
		}
		if _, err := pod.container(q.container); err != nil {
			return nil, err
		}
		l.first = []*podObject{pod}
	} else {
		if err := q.resolve(ctx, p, client); err != nil {
			return nil, err
		}
		var err error
		if l.first, err = q.list(ctx, client, q.logs.selector); err != nil {
			return nil, err
		}
		// Without a right to any pod's log, the refusal is plain HTTP.
		if refused := l.refusals(ctx, client, l.first); len(l.first) > 0 && len(refused) == len(l.first) {
			return nil, refused[l.first[0].Metadata.Name]
		}
	}
	return &opened{
		provider: e, permit: p, protocols: []string{LogProtocol}, events: true,
		start: func(string) stream.Upstream { return l },
	}, nil
}

// unrecorded refuses what policy requires to be recorded, if it cannot be.
func unrecorded(p *capability.Permit) error {
	if strongest(p.Obligations.Record, p.Caller.Obligations.Record) == host.RecordNothing {
		return nil
	}
	return &host.Error{Kind: host.Forbidden, Op: name, Message: "this must be recorded, but only terminals can be", Detail: "obligation_not_supported"}
}

// list returns the pods that a label selector selects, by name.
func (q *request) list(ctx context.Context, client *cluster.Client, selector string) ([]*podObject, error) {
	var list struct {
		Items []*podObject
	}
	query := url.Values{"limit": {"500"}}
	if selector != "" {
		query.Set("labelSelector", selector)
	}
	err := ask(ctx, client, &cluster.Request{Method: http.MethodGet, Path: q.path(""), Query: query, Limit: maxPods}, &list)
	slices.SortFunc(list.Items, func(a, b *podObject) int { return strings.Compare(a.Metadata.Name, b.Metadata.Name) })
	return list.Items, err
}

// logs is one running merge.
type logs struct {
	clusters *cluster.Set
	permit   *capability.Permit
	request  *request
	first    []*podObject
	client   *cluster.Client
	sources  map[string]*source // that have not ended, by pod and container
	seen     map[string]bool
	missing  map[string]bool // that the client was told of
	notify   chan struct{}
	batch    []*line
	bytes    int
}

// refusals returns why the user may not read the logs of some of the pods.
func (l *logs) refusals(ctx context.Context, client *cluster.Client, pods []*podObject) map[string]error {
	q, refused := l.request, map[string]error{}
	all := q.may(ctx, client, q.operation.rbac, "")
	for _, p := range pods {
		name := p.Metadata.Name
		if _, err := l.permit.Also(ctx, q.call(name)); err != nil {
			refused[name] = err
		} else if all != nil {
			if err := q.may(ctx, client, q.operation.rbac, name); err != nil {
				refused[name] = err
			}
		}
	}
	return refused
}

// Receive refuses every message: nothing is asked in this protocol.
func (*logs) Receive(*stream.Pump, bool, []byte) error {
	return &stream.Violation{Code: host.CloseViolation, Text: "a client of logs sends nothing"}
}

func (*logs) End(p *stream.Pump, err error) error { return ended(p, err) }

func (*logs) Warn(p *stream.Pump, cause error, left time.Duration) error { return warn(p, cause, left) }

// ended sends the last message of the protocols with text messages.
func ended(p *stream.Pump, err error) error {
	if err != nil {
		return sendJSON(p, map[string]any{"type": "error", "error": told(err)})
	}
	return sendJSON(p, map[string]any{"type": "end"})
}

// Run merges the logs until they have ended, or follows them until ctx ends.
func (l *logs) Run(ctx context.Context, p *stream.Pump) (err error) {
	q := l.request
	ctx, cancel := context.WithCancel(ctx)
	defer l.wait()
	defer cancel()
	if l.client, err = l.clusters.As(ctx, q.cluster, l.permit.Obligations.Impersonate, l.permit.Caller.Authority); err != nil {
		return err
	}
	l.seen = map[string]bool{}
	if err := l.add(ctx, p, l.first); err != nil {
		return err
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		wait, err := l.merge(ctx, p)
		if err != nil {
			return err
		}
		if len(l.sources) == 0 && (q.pod != "" || !q.logs.follow) {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-l.notify:
		case <-timer.C:
		case <-look.C:
			err = l.look(ctx, p)
		}
		timer.Stop()
		if err != nil {
			return err
		}
	}
}

// look compares the pods with those that are read, if logs are followed.
func (l *logs) look(ctx context.Context, p *stream.Pump) error {
	q := l.request
	if !q.logs.follow {
		return nil
	}
	var pods []*podObject
	var err error
	if q.pod == "" {
		pods, err = q.list(ctx, l.client, q.logs.selector)
	} else if pod, failed := q.get(ctx, l.client); failed == nil {
		pods = append(pods, pod)
	} else if err = failed; host.KindOf(err) == host.NotFound {
		err = nil
	}
	switch host.KindOf(err) {
	case host.Unavailable, host.Timeout, host.Upstream:
		return nil // the cluster may come back
	}
	if err != nil {
		return err
	}
	for _, s := range l.sources { // a node may go on with the log of a pod that is gone
		if !slices.ContainsFunc(pods, func(x *podObject) bool { return x.Metadata.UID == s.uid }) {
			s.stop()
		}
	}
	return l.add(ctx, p, pods)
}

// wait waits for the readers, whose context has ended.
func (l *logs) wait() {
	for _, s := range l.sources {
		for range s.lines {
		}
	}
}

// add starts to read the containers that are new, and tells the client which pods it
// cannot see.
func (l *logs) add(ctx context.Context, p *stream.Pump, pods []*podObject) error {
	fresh := slices.DeleteFunc(slices.Clone(pods), func(x *podObject) bool { return l.seen[x.Metadata.UID] || l.missing[x.Metadata.Name] })
	if len(fresh) == 0 {
		return nil
	}
	refused := l.refusals(ctx, l.client, fresh)
	for _, x := range fresh {
		name := x.Metadata.Name
		if err := refused[name]; err != nil {
			l.missing[name] = true
			if err := sendJSON(p, map[string]any{"type": "missing", "pod": name, "reason": told(err)}); err != nil {
				return err
			}
			continue
		}
		l.seen[x.Metadata.UID] = true
		for _, c := range x.all() {
			if l.request.container != "" && l.request.container != c.Name {
				continue
			}
			if len(l.sources) >= maxSources {
				return sendJSON(p, map[string]any{"type": "missing", "pod": name, "reason": fmt.Sprintf("more than %d containers are selected", maxSources)})
			}
			s := &source{pod: name, uid: x.Metadata.UID, container: c.Name, lines: make(chan *line, 16)}
			l.sources[name+"/"+c.Name+"/"+s.uid] = s
			reading, stop := context.WithCancel(ctx)
			s.stop = stop
			go l.read(ctx, reading, s)
		}
	}
	return nil
}

// merge sends the lines whose turn has come, and returns when the next one may have.
func (l *logs) merge(ctx context.Context, p *stream.Pump) (wait time.Duration, err error) {
	wait = time.Hour
	for {
		var least *source
		complete := true // every source has a line
		for key, s := range l.sources {
			if s.head == nil {
				select {
				case x, more := <-s.lines:
					if !more {
						delete(l.sources, key)
						continue
					}
					s.head, s.since = x, time.Now()
				default:
					complete = false
					continue
				}
			}
			if least == nil || s.head.before(least.head) {
				least = s
			}
		}
		if least == nil {
			break
		}
		if held := time.Since(least.since); !complete && (!l.request.logs.follow || held < holdBack) {
			if l.request.logs.follow {
				wait = holdBack - held
			}
			break
		}
		if err := l.put(p, least.head); err != nil {
			return 0, err
		}
		least.head = nil
	}
	return wait, l.flush(p)
}

const (
	batchLines = 200
	batchBytes = 64 << 10
)

// put adds a line or a state to what is sent next.
func (l *logs) put(p *stream.Pump, x *line) error {
	if x.state != "" {
		if err := l.flush(p); err != nil {
			return err
		}
		m := map[string]any{"type": "state", "pod": x.Pod, "container": x.Container, "state": x.state}
		if x.Text != "" {
			m["reason"] = x.Text
		}
		return sendJSON(p, m)
	}
	l.batch, l.bytes = append(l.batch, x), l.bytes+len(x.Text)
	if len(l.batch) >= batchLines || l.bytes >= batchBytes {
		return l.flush(p)
	}
	return nil
}

func (l *logs) flush(p *stream.Pump) error {
	if len(l.batch) == 0 {
		return nil
	}
	body, err := json.Marshal(map[string]any{"type": "lines", "lines": l.batch})
	if err != nil {
		return err
	}
	l.batch, l.bytes = l.batch[:0], 0
	return p.Send(false, body)
}
