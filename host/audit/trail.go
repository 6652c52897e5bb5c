package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// TrailConfig defines where the audit is kept. By default this is a chain of files below
// data.
type TrailConfig struct {
	// Off: nothing is recorded, and nothing is refused for it.
	Off bool `json:"off,omitempty"`
	// File is the chain of files; absent, it is in the directory "audit" below data.
	File *Chain `json:"file,omitempty"`
	// NoFile: records are kept at the other destinations alone. The host then cannot show,
	// search or verify them.
	NoFile bool    `json:"noFile,omitempty"`
	HTTP   *Server `json:"http,omitempty"`   // gets gzipped JSON arrays of records
	OTLP   *Server `json:"otlp,omitempty"`   // accepts OpenTelemetry logs; its URL usually ends in /v1/logs
	Syslog *Syslog `json:"syslog,omitempty"` // a syslog server (RFC 5424)
	// Fallback is the name of one of the destinations file, http, otlp and syslog. It gets
	// only the records that no other destination takes at the first attempt.
	Fallback string            `json:"fallback,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"` // added to each record
	// Queue is the number of records that may wait for each destination, at most 1048576;
	// 0 means 8192.
	Queue int `json:"queue,omitempty"`
	// WhenUnavailable is what happens while no destination takes records: "deny" (the
	// default) refuses changes, "denyAll" also reads, "allow" refuses nothing. What takes
	// rights away, such as a logout, is never refused.
	WhenUnavailable string `json:"whenUnavailable,omitempty"`
}

// log returns the configuration of the delivery. dir is the chain's directory by default.
func (c *TrailConfig) log(dir string) (*Config, *Chain) {
	remote := &Config{HTTP: c.HTTP, OTLP: c.OTLP, Syslog: c.Syslog, Fallback: c.Fallback, Labels: c.Labels, Queue: c.Queue}
	if c.NoFile {
		return remote, nil
	}
	file := Chain{}
	if c.File != nil {
		file = *c.File
	}
	if file.Dir == "" {
		file.Dir = dir
	}
	return remote, &file
}

// Dir returns the directory of the chain, "" if there is none; otherwise is the directory
// by default.
func (c *TrailConfig) Dir(otherwise string) string {
	if _, file := c.log(otherwise); file != nil && !c.Off {
		return file.Dir
	}
	return ""
}

// Check adds every mistake in c that can be seen without opening anything to problems.
func (c *TrailConfig) Check(problems *config.Problems) {
	if c.File != nil {
		c.File.check(problems.At("file"))
	}
	remote, file := c.log("-")
	if file != nil {
		remote.File = &File{Path: file.Dir} // counts as a destination
	}
	remote.checkRemote(problems)
	if c.NoFile && c.File != nil {
		problems.Add("noFile", "contradicts file; leave one of them out")
	}
	switch w := c.WhenUnavailable; {
	case w != "" && w != "deny" && w != "denyAll" && w != "allow":
		problems.Add("whenUnavailable", "%q must be deny, denyAll or allow", w)
	case c.Off && (c.File != nil || c.NoFile || remote.count() > 1 || w != ""):
		problems.Add("off", "contradicts the other keys of this section; leave them out")
	case c.NoFile && remote.count() == 0:
		problems.Add("noFile", "leaves no destination; add http, otlp or syslog, or write off: true")
	case c.NoFile && remote.count() == 1 && c.Syslog != nil && (&syslog{scheme: scheme(c.Syslog.URL)}).profile().unconfirmed && w != "allow":
		problems.Add("syslog.url", "UDP does not tell whether a record arrives, so no change would be allowed; use tcp or tls, add a destination, or set whenUnavailable: allow")
	}
}

// Paths returns the fields of c that name files.
func (c *TrailConfig) Paths() []*string {
	remote := &Config{HTTP: c.HTTP, OTLP: c.OTLP, Syslog: c.Syslog}
	list := remote.Paths()
	if c.File != nil {
		list = append(list, &c.File.Dir)
	}
	return list
}

var auditStream = Stream{
	Name: "audit", Scope: "github.com/seed-a3fb47d6/bulkhead/audit", Event: "bulkhead.audit",
	Attributes: []Attribute{
		{"bulkhead.audit.id", []string{"id"}}, {"bulkhead.audit.stage", []string{"stage"}}, {"bulkhead.audit.kind", []string{"kind"}},
		{"user.id", []string{"user"}}, {"bulkhead.action", []string{"action"}}, {"bulkhead.audit.outcome", []string{"outcome"}},
		{"bulkhead.decision.id", []string{"decision"}}, {"bulkhead.request.id", []string{"requestId"}},
		{"bulkhead.plugin.digest", []string{"plugin", "digest"}},
	},
}

// Delivery is the destinations of one configuration of the audit.
type Delivery struct {
	log   *Log // nil: the audit is off
	chain *chain
	when  string // TrailConfig.WhenUnavailable

	earlier atomic.Pointer[Trail] // that has used it; nil before
	counted uint64                // records lost until then, which are in Trail.before
}

// OpenDelivery opens the destinations of c, which has passed Check. dir is the directory of
// the chain by default, and key signs it. What is found amiss in the chain is logged and
// recorded in it, with the outcome "unknown" for each effect whose host did not live to
// record it.
func OpenDelivery(c *TrailConfig, dir string, key []byte, log *slog.Logger) (*Delivery, error) {
	d := &Delivery{when: c.WhenUnavailable}
	if c.Off {
		return d, nil
	}
	remote, file := c.log(dir)
	sinks, err := remote.open(&auditStream)
	if err != nil {
		return nil, err
	}
	if file != nil {
		s, found, err := openChain(file, key)
		if err == nil {
			d.chain, sinks["file"] = s, s
			err = tell(s, found, log)
		}
		if err != nil {
			for _, s := range sinks {
				err = errors.Join(err, s.Close())
			}
			return nil, config.At("file", err)
		}
	}
	d.log = start(remote, &auditStream, sinks, nil, log)
	d.log.follows = true
	return d, nil
}

// tell records and logs what was found at the end of a chain.
func tell(s *chain, found []map[string]any, log *slog.Logger) error {
	for _, doc := range found {
		doc["time"] = now()
		switch doc["stage"] {
		case "damaged":
			log.Error("the audit was changed", "dir", s.dir, "problem", doc["error"])
		case "mended":
			log.Warn("the last line of the audit was not complete and was removed", "dir", s.dir)
		default:
			log.Warn("the outcome of an effect is not known", "audit", doc["id"], "user", doc["user"], "target", doc["target"])
		}
	}
	if len(found) == 0 {
		return nil
	}
	return s.Write(context.Background(), found)
}

// Close delivers the waiting records and closes the destinations; see Log.Close.
func (d *Delivery) Close() error {
	if d == nil || d.log == nil {
		return nil
	}
	err := d.log.Close()
	if t := d.earlier.Load(); t != nil {
		t.before.Add(d.log.lost.Load() - d.counted) // what could not be delivered any more
	}
	return err
}

// Trail records what has an effect. A record of an effect is at a destination before the
// effect begins. It is safe for concurrent use. A nil Trail records nothing; a Trail
// without a Delivery refuses every effect.
type Trail struct {
	replica string
	log     *slog.Logger
	using   sync.RWMutex // held while a record is queued; Use waits for that
	current atomic.Pointer[Delivery]
	last    atomic.Uint64
	before  atomic.Uint64 // records lost by earlier deliveries
}

// NewTrail returns a trail whose records name the replica.
func NewTrail(replica string, log *slog.Logger) *Trail { return &Trail{replica: replica, log: log} }

// Use makes d the destinations from now on. The earlier ones get no more records, and the
// caller closes them.
func (t *Trail) Use(d *Delivery) {
	t.using.Lock()
	defer t.using.Unlock()
	if old := t.current.Swap(d); old != nil && old != d && old.log != nil {
		old.counted = old.log.lost.Load()
		t.before.Add(old.counted)
		old.earlier.Store(t)
	}
}

// deliverWithin bounds how long an effect waits for its record.
const deliverWithin = 5 * time.Second

// Effect is one effect with an intent. End must be called once it is over.
type Effect struct {
	trail *Trail
	event *Event
	id    string
	ctx   context.Context // for its ids alone
	ended atomic.Bool
}

// NewID returns an id for an event of the request that ctx belongs to. It begins with the
// request's id.
func (t *Trail) NewID(ctx context.Context) string {
	request := host.RequestOf(ctx).RequestID()
	if t == nil || request == "" {
		return rand.Text()
	}
	return request + "." + strconv.FormatUint(t.last.Add(1), 36)
}

// Begin records the intent of e. When it returns without an error, the record is at a
// destination for certain. The error is of kind host.Unavailable: no destination takes the
// record, and e must not have its effect.
func (t *Trail) Begin(ctx context.Context, e *Event) (*Effect, error) {
	if e.ID == "" {
		e.ID = t.NewID(ctx)
	}
	x := &Effect{trail: t, event: e, id: e.ID, ctx: context.WithoutCancel(ctx)}
	if t == nil {
		return x, nil
	}
	err := t.deliver(x.ctx, newRecord(ctx, e, x.id, StageIntent, t.replica, nil))
	if err == nil || t.allows() {
		return x, nil
	}
	t.queue(newRecord(x.ctx, e, x.id, StageOutcome, t.replica, &Outcome{Result: Refused, Err: err}), 1)
	return nil, err
}

// deliver waits until a destination has r.
func (t *Trail) deliver(ctx context.Context, r *record) error {
	log, receipt, err := t.offer(r)
	if err != nil || log == nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deliverWithin, errors.New("no destination took the record in time"))
	defer cancel()
	if err := log.await(ctx, receipt); err != nil {
		return unavailable(err)
	}
	return nil
}

// offer queues r and returns the log that has it, nil if the audit is off.
func (t *Trail) offer(r *record) (*Log, *receipt, error) {
	t.using.RLock()
	defer t.using.RUnlock()
	d := t.current.Load()
	switch {
	case d == nil:
		return nil, nil, unavailable(errors.New("the audit is not open"))
	case d.log == nil:
		return nil, nil, nil
	}
	return d.log, d.log.queue(r, 1, true), nil
}

func (t *Trail) allows() bool {
	d := t.current.Load()
	return d != nil && d.when == "allow"
}

func unavailable(err error) error {
	return &host.Error{Kind: host.Unavailable, Op: "audit", Message: "this cannot be recorded now, so it is refused", Err: err}
}

// ID returns the id that the intent and the outcome have.
func (x *Effect) ID() string { return x.id }

// End records the outcome, once. It does not wait.
func (x *Effect) End(o Outcome) {
	if x == nil || x.ended.Swap(true) {
		return
	}
	x.trail.queue(newRecord(x.ctx, x.event, x.id, StageOutcome, x.trail.name(), &o), outcomeRoom)
}

func (t *Trail) name() string {
	if t == nil {
		return ""
	}
	return t.replica
}

// Note records something that has happened, or was refused. It does not wait.
func (t *Trail) Note(ctx context.Context, e *Event, o Outcome) {
	if t == nil {
		return
	}
	if e.ID == "" {
		e.ID = t.NewID(ctx)
	}
	t.queue(newRecord(ctx, e, e.ID, StageEvent, t.replica, &o), 1)
}

// Refuse is Note for what a guest can repeat for as long as it runs: it waits until a destination
// has the record, for at most some seconds, so that the queues keep room for others.
func (t *Trail) Refuse(ctx context.Context, e *Event, o Outcome) {
	if t == nil {
		return
	}
	if e.ID == "" {
		e.ID = t.NewID(ctx)
	}
	r := newRecord(ctx, e, e.ID, StageEvent, t.replica, &o)
	log, receipt, err := t.offer(r)
	if err != nil {
		t.queue(r, 1) // which says that it is lost
		return
	}
	if log != nil {
		ctx, cancel := context.WithTimeout(ctx, deliverWithin)
		defer cancel()
		_ = log.await(ctx, receipt) // it stays queued
	}
}

// queue queues r; room is how many times the usual size of the queues it may fill.
func (t *Trail) queue(r *record, room int64) {
	if t == nil {
		return
	}
	t.using.RLock()
	defer t.using.RUnlock()
	d := t.current.Load()
	switch {
	case d == nil:
		t.before.Add(1)
		t.log.Error("a record of the audit is lost", "id", r.id, "kind", r.event.Kind)
	case d.log != nil:
		d.log.queue(r, room, false)
	}
}

// Look records that a user is shown what others did, before they see it. The error, of
// kind host.Unavailable, is that it cannot be recorded where reads are refused then.
func (t *Trail) Look(ctx context.Context, e *Event) error {
	if t == nil {
		return nil
	}
	e.ID = t.NewID(ctx)
	err := t.deliver(ctx, newRecord(ctx, e, e.ID, StageEvent, t.replica, &Outcome{Result: Success}))
	if d := t.current.Load(); err != nil && d != nil && d.when != "denyAll" {
		return nil
	}
	return err
}

// Readable returns why reads are refused now, nil if they are not.
func (t *Trail) Readable() error {
	if t == nil {
		return nil
	}
	d := t.current.Load()
	if d == nil || d.log == nil || d.when != "denyAll" {
		return nil
	}
	if err := d.log.Blind(); err != nil {
		return unavailable(err)
	}
	return nil
}

// Problem returns why a destination cannot be written now, nil if all can.
func (t *Trail) Problem() error {
	if t == nil {
		return nil
	}
	d := t.current.Load()
	if d == nil || d.log == nil {
		return nil
	}
	return errors.Join(d.log.problems()...)
}

// Status returns the counts of the present destinations, nil if the audit is off, and how
// many records no destination has had since the host started.
func (t *Trail) Status() (s *Status, lost uint64) {
	if t == nil {
		return nil, 0
	}
	lost = t.before.Load()
	d := t.current.Load()
	if d == nil || d.log == nil {
		return nil, lost
	}
	s = d.log.Status()
	return s, lost + s.Lost
}

// Store returns the records that this host keeps. The error is of kind host.NotFound: it
// keeps none.
func (t *Trail) Store() (*Store, error) {
	if t != nil {
		if d := t.current.Load(); d != nil && d.chain != nil {
			return &Store{Dir: d.chain.dir, chain: d.chain}, nil
		}
	}
	return nil, host.E(host.NotFound, "audit", "this host keeps no audit in files; see audit.noFile and audit.off in its configuration")
}

// String is for logs.
func (e *Event) String() string { return fmt.Sprintf("%s %s %s", e.Kind, e.Action, e.Target) }
