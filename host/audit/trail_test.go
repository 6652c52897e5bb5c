package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

// opened returns a trail whose chain is in dir, and a function that closes it.
func opened(t testing.TB, dir string, change ...func(*TrailConfig)) (*Trail, func()) {
	t.Helper()
	c := &TrailConfig{}
	for _, f := range change {
		f(c)
	}
	d, err := OpenDelivery(c, dir, testKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	trail := NewTrail("a", slog.New(slog.DiscardHandler))
	trail.Use(d)
	closed := false
	end := func() {
		if closed {
			return
		}
		closed = true
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return trail, end
}

type request struct{ id, trace string }

func (r request) RequestID() string { return r.id }
func (r request) TraceID() string   { return r.trace }

// kept returns the records of a chain without those about the chain.
func kept(t testing.TB, dir string, kinds ...string) (list []map[string]any) {
	t.Helper()
	err := (&Store{Dir: dir}).Export(t.Context(), &Filter{}, func(line []byte) error {
		var r map[string]any
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		if len(kinds) == 0 && r["kind"] != KindAudit || slices.Contains(kinds, field(r, "kind")) {
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func sound(t testing.TB, dir string) *Report {
	t.Helper()
	r, err := Verify(dir, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Sound() {
		t.Errorf("not sound: %v", r.Problems)
	}
	return r
}

func TestAnEffectHasAnIntentAndAnOutcomeWithEveryField(t *testing.T) {
	dir := t.TempDir()
	trail, end := opened(t, dir)
	ctx := host.WithRequest(t.Context(), request{"REQ", "0af7651916cd43dd8448eb211c80319c"})
	up := &host.Correlation{}
	x, err := trail.Begin(ctx, &Event{
		Kind: KindCapability, Action: "gitops:helm.upgrade", Target: "dev/shop/web",
		Principal: &host.Principal{User: "ann@example.com", Login: host.Login{ID: "sid", Method: "oidc:corp"}},
		For:       &host.Impersonation{User: "ann@example.com"}, Reason: "INC-1", Decision: "d-1", Revision: 7,
		Route: host.Route{Plugin: "gitops", Digest: "sha256:ab", Generation: 3},
		Call:  &host.CapabilityCall{Name: "kube", Verb: "patch", Cluster: "dev", Resource: "applications", Group: "argoproj.io", Namespace: "shop", Object: "web"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := kept(t, dir); len(got) != 1 || got[0]["stage"] != StageIntent {
		t.Fatalf("before the effect: %v", got)
	}
	up.ID = x.ID()
	up.Sent()
	up.Answered(up.ID)
	x.End(Outcome{Status: 200, Upstream: up})
	x.End(Outcome{Err: errors.New("again")})
	end()
	got := kept(t, dir)
	if len(got) != 2 {
		t.Fatalf("%v", got)
	}
	intent, outcome := got[0], got[1]
	for key, want := range map[string]any{
		"id": "REQ.1", "replica": "a", "user": "ann@example.com", "login": "sid", "method": "oidc:corp", "onBehalfOf": "ann@example.com",
		"action": "gitops:helm.upgrade", "target": "dev/shop/web", "reason": "INC-1", "decision": "d-1", "revision": 7.0,
		"requestId": "REQ", "traceId": "0af7651916cd43dd8448eb211c80319c",
	} {
		if intent[key] != want || outcome[key] != want {
			t.Errorf("%s: %v and %v, want %v", key, intent[key], outcome[key], want)
		}
	}
	if p := intent["plugin"].(map[string]any); p["name"] != "gitops" || p["digest"] != "sha256:ab" || p["generation"] != 3.0 {
		t.Errorf("plugin %v", p)
	}
	if c := intent["call"].(map[string]any); c["resource"] != "applications.argoproj.io" || c["object"] != "web" {
		t.Errorf("call %v", c)
	}
	if outcome["outcome"] != string(Success) || outcome["upstream"].(map[string]any)["requests"] != 1.0 {
		t.Errorf("outcome %v", outcome)
	}
	if r := sound(t, dir); r.Records != 3+1 || len(r.Open) != 0 { // file, intent, outcome; a checkpoint at the end
		t.Errorf("%+v", r)
	}
}

// What failed for certain, what the host refused, and what may have happened are three
// things.
func TestAnErrorSaysWhetherTheEffectMayHaveHappened(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Result
	}{
		{nil, Success}, {&host.Error{Kind: host.Forbidden}, Refused}, {&host.Error{Kind: host.Conflict, Status: 409}, Failure},
		{&host.Error{Kind: host.Invalid}, Failure}, {&host.Error{Kind: host.Timeout}, Unknown}, {host.ErrLoggedOut, Unknown},
		{context.DeadlineExceeded, Unknown}, {errors.New("odd"), Unknown}, {&host.Error{Kind: host.Upstream, Status: 502}, Failure}, {&host.Error{Kind: host.Upstream}, Unknown},
	} {
		if got := resultOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

// TestNoSinkNoEffect takes every destination away. Changes are refused and reads go on, or
// not, as configured; and when a destination is there again, so are changes.
func TestNoSinkNoEffect(t *testing.T) {
	for _, c := range []struct {
		when            string
		begins, readsOn bool
	}{{"", false, true}, {"deny", false, true}, {"denyAll", false, false}, {"allow", true, true}} {
		var mu sync.Mutex
		down := map[string]bool{}
		var got []string
		of := func(name string) sink {
			return sinkFunc(func(_ context.Context, records []map[string]any) error {
				mu.Lock()
				defer mu.Unlock()
				if down[name] {
					return errors.New("down")
				}
				for _, r := range records {
					got = append(got, name+":"+field(r, "stage"))
				}
				return nil
			})
		}
		set := func(names ...string) {
			mu.Lock()
			defer mu.Unlock()
			clear(down)
			for _, n := range names {
				down[n] = true
			}
			got = nil
		}
		l := start(&Config{Fallback: "otlp"}, &auditStream, map[string]sink{"file": of("file"), "http": of("http"), "otlp": of("otlp")}, nil, slog.New(slog.DiscardHandler))
		trail := NewTrail("a", slog.New(slog.DiscardHandler))
		trail.Use(&Delivery{log: l, when: c.when})
		effect := func() error {
			x, err := trail.Begin(t.Context(), &Event{Kind: KindCapability})
			if err == nil {
				x.End(Outcome{})
			}
			return err
		}
		if err := effect(); err != nil {
			t.Errorf("%s: all are there: %v", c.when, err)
		}
		set("file", "http") // the fallback takes it
		if err := effect(); err != nil {
			t.Errorf("%s: the fallback is there: %v", c.when, err)
		}
		mu.Lock()
		if !slices.Contains(got, "otlp:intent") {
			t.Errorf("%s: the fallback got %v", c.when, got)
		}
		mu.Unlock()
		set("file", "http", "otlp")
		if err := effect(); (err == nil) != c.begins || err != nil && host.KindOf(err) != host.Unavailable {
			t.Errorf("%s: none is there: %v", c.when, err)
		}
		if err := trail.Readable(); (err == nil) != c.readsOn {
			t.Errorf("%s: reads: %v", c.when, err)
		}
		if err := trail.Look(t.Context(), &Event{Kind: KindRead}); (err == nil) != c.readsOn {
			t.Errorf("%s: a look: %v", c.when, err)
		}
		set()
		for l.Blind() != nil { // until the next attempt
			runtime.Gosched()
		}
		if err := effect(); err != nil || trail.Readable() != nil {
			t.Errorf("%s: they are there again: %v", c.when, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, lost := trail.Status(); lost != 0 {
			t.Errorf("%s: %d records are lost, though every destination came back", c.when, lost)
		}
	}
}

func TestATrailWithoutDestinationsRefuses(t *testing.T) {
	trail := NewTrail("a", slog.New(slog.DiscardHandler))
	if _, err := trail.Begin(t.Context(), &Event{}); host.KindOf(err) != host.Unavailable {
		t.Errorf("%v", err)
	}
	if _, lost := trail.Status(); lost != 1 { // the outcome, which says that it was refused
		t.Errorf("%d lost", lost)
	}
}

// A record that no destination will ever have is counted; one that is at any of them is
// not.
func TestOneNumberSaysHowManyRecordsAreLost(t *testing.T) {
	gone := sinkFunc(func(context.Context, []map[string]any) error {
		return &refused{records: 1, whole: true, err: errors.New("never")}
	})
	taken := sinkFunc(func(context.Context, []map[string]any) error { return nil })
	for _, c := range []struct {
		sinks map[string]sink
		want  uint64
	}{
		{map[string]sink{"http": gone}, 3}, {map[string]sink{"http": gone, "file": taken}, 0},
		{map[string]sink{"http": gone, "syslog": gone}, 3}, {map[string]sink{"http": gone, "otlp": taken}, 0},
	} {
		l := start(&Config{Fallback: "otlp"}, &auditStream, maps.Clone(c.sinks), nil, slog.New(slog.DiscardHandler))
		trail := NewTrail("a", slog.New(slog.DiscardHandler))
		trail.Use(&Delivery{log: l})
		for range 3 {
			trail.Note(t.Context(), &Event{Kind: KindSession}, Outcome{})
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		trail.Use(nil)
		if _, lost := trail.Status(); lost != c.want {
			t.Errorf("%v: %d lost, want %d", slices.Sorted(maps.Keys(c.sinks)), lost, c.want)
		}
	}
}

// A configuration that replaces destinations that are down hides nothing.
func TestWhatIsLostAsADeliveryClosesIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := sinkFunc(func(context.Context, []map[string]any) error { return errors.New("down") })
		d := &Delivery{log: start(&Config{}, &auditStream, map[string]sink{"http": down}, nil, slog.New(slog.DiscardHandler))}
		trail := NewTrail("a", slog.New(slog.DiscardHandler))
		trail.Use(d)
		for range 3 {
			trail.Note(t.Context(), &Event{Kind: KindSession}, Outcome{})
		}
		trail.Use(&Delivery{})
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, lost := trail.Status(); lost != 3 {
			t.Errorf("%d are lost, want 3", lost)
		}
	})
}

// Effects that begin at the same time share an fsync.
func TestEffectsAtTheSameTimeAreRecordedTogether(t *testing.T) {
	dir := t.TempDir()
	trail, end := opened(t, dir)
	chain := trail.current.Load().chain
	chain.mu.Lock() // the disk is slow
	var begun sync.WaitGroup
	for range 100 {
		begun.Go(func() {
			x, err := trail.Begin(t.Context(), &Event{Kind: KindCapability})
			if err != nil {
				t.Error(err)
				return
			}
			x.End(Outcome{})
		})
	}
	for trail.current.Load().log.destinations[0].waiting.Load() < 100 {
	}
	before := chain.changed
	chain.mu.Unlock()
	<-before
	begun.Wait()
	end()
	if got := kept(t, dir); len(got) != 200 {
		t.Errorf("%d records", len(got))
	}
	sound(t, dir)
}

// A host that was killed leaves intents without an outcome, and possibly half a line.
func TestTheNextStartMarksWhatWasBegunAndMendsTheLastLine(t *testing.T) {
	dir := t.TempDir()
	trail, _ := opened(t, dir)
	for _, id := range []string{"done", "begun"} {
		x, err := trail.Begin(t.Context(), &Event{ID: id, Kind: KindCapability, User: "ann", Target: "dev/shop/" + id})
		if err != nil {
			t.Fatal(err)
		}
		if id == "done" {
			x.End(Outcome{})
			for len(kept(t, dir)) < 2 {
			}
		}
	}
	// A copy, as the disk is when the host is killed; the lock stays with this process.
	copied := filepath.Join(t.TempDir(), "audit")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	files, err := chainFiles(copied)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(copied, files[0]), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"kind":"capability","stage":"inte`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	_, end := opened(t, copied)
	end()
	got := kept(t, copied)
	last := got[len(got)-1]
	if len(got) != 4 || last["id"] != "begun" || last["stage"] != StageOutcome || last["outcome"] != string(Unknown) || last["user"] != "ann" || last["target"] != "dev/shop/begun" {
		t.Errorf("%v", got)
	}
	if about := kept(t, copied, KindAudit); !slices.ContainsFunc(about, func(r map[string]any) bool { return r["stage"] == "mended" }) {
		t.Errorf("the torn line is not told: %v", about)
	}
	if r := sound(t, copied); len(r.Open) != 0 {
		t.Errorf("open: %v", r.Open)
	}
	_, end = opened(t, copied) // once
	end()
	if again := kept(t, copied); len(again) != len(got) {
		t.Errorf("marked again: %v", again[len(got):])
	}
}

// Intents that are open when a file is full are known to the next one.
func TestARotationCarriesTheChainAndTheOpenIntentsOn(t *testing.T) {
	dir := t.TempDir()
	trail, end := opened(t, dir, func(c *TrailConfig) { c.File = &Chain{Keep: 3} })
	chain := trail.current.Load().chain
	chain.mu.Lock()
	chain.max = 4 << 10
	chain.mu.Unlock()
	if _, err := trail.Begin(t.Context(), &Event{ID: "terminal", Kind: KindCapability}); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		x, err := trail.Begin(t.Context(), &Event{Kind: KindCapability, Reason: strings.Repeat("x", 200)})
		if err != nil {
			t.Fatal(err)
		}
		x.End(Outcome{})
	}
	end()
	files, err := chainFiles(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	r := sound(t, dir)
	if !slices.Equal(r.Open, []string{"terminal"}) || r.First == 1 {
		t.Errorf("%+v", r)
	}
	_, end = opened(t, dir)
	end()
	if r := sound(t, dir); len(r.Open) != 0 {
		t.Errorf("open: %v", r.Open)
	}
	// What was removed must have been removed by the host.
	if err := os.Remove(filepath.Join(dir, files[0])); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(dir, testKey); err != nil || r.Sound() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOneProcessWritesAChain(t *testing.T) {
	dir := t.TempDir()
	trail, _ := opened(t, dir)
	chains.Lock()
	mine := chains.dirs[dir]
	delete(chains.dirs, dir) // as another process would find it
	chains.Unlock()
	_, _, err := openChain(&Chain{Dir: dir}, testKey)
	chains.Lock()
	chains.dirs[dir] = mine
	chains.Unlock()
	if err == nil || !strings.Contains(err.Error(), "is written by another process") {
		t.Errorf("%v", err)
	}
	// Two configurations of one process share it.
	d, err := OpenDelivery(&TrailConfig{}, dir, testKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	old := trail.current.Load()
	trail.Use(d)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	trail.Note(t.Context(), &Event{Kind: KindHost}, Outcome{})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	trail.Use(old) // for the end of the test
	chains.Lock()
	old.chain.users++
	chains.Unlock()
	if got := kept(t, dir); len(got) != 1 {
		t.Errorf("%v", got)
	}
	sound(t, dir)
}

// Syslog over UDP is written without an error whether anybody listens or not.
func TestUDPAloneAllowsNoEffect(t *testing.T) {
	listener, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := &TrailConfig{NoFile: true, Syslog: &Syslog{URL: "udp://" + listener.LocalAddr().String()}}
	if err := config.Check("audit", c.Check); err == nil || !strings.Contains(err.Error(), "UDP does not tell") {
		t.Errorf("%v", err)
	}
	trail, _ := opened(t, t.TempDir(), func(to *TrailConfig) { *to = *c })
	if _, err := trail.Begin(t.Context(), &Event{Kind: KindCapability}); host.KindOf(err) != host.Unavailable {
		t.Errorf("%v", err)
	}
	if text := datagram(t, listener); !strings.HasPrefix(text, "<109>1 ") || !strings.Contains(text, ` bulkhead.audit - {`) || !strings.Contains(text, `"stage":"intent"`) {
		t.Errorf("%s", text)
	}
	if _, lost := trail.Status(); lost != 0 { // it may have arrived
		t.Errorf("%d lost", lost)
	}
}

func datagram(t *testing.T, from net.PacketConn) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, _, err := from.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// Over TCP each message has its length before it, and a server that was away is found again.
func TestSyslogOverTCPIsFramedAndFoundAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	trail, _ := opened(t, t.TempDir(), func(c *TrailConfig) {
		*c = TrailConfig{NoFile: true, Syslog: &Syslog{URL: "tcp://" + listener.Addr().String()}}
	})
	for range 2 {
		done := make(chan string)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				done <- err.Error()
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			var n int
			if _, err := fmt.Fscanf(r, "%d ", &n); err != nil {
				done <- err.Error()
				return
			}
			buf := make([]byte, n)
			_, err = io.ReadFull(r, buf)
			done <- fmt.Sprint(string(buf), err)
		}()
		if _, err := trail.Begin(t.Context(), &Event{Kind: KindCapability}); err != nil {
			t.Fatal(err)
		}
		if got := <-done; !strings.HasPrefix(got, "<109>1 ") || !strings.HasSuffix(got, "}<nil>") {
			t.Errorf("%s", got)
		}
	}
}

func TestAnAuditConfigurationThatCannotWorkIsRefused(t *testing.T) {
	udp := &Syslog{URL: "udp://127.0.0.1:514"}
	for want, c := range map[string]*TrailConfig{
		"contradicts the other keys": {Off: true, NoFile: true}, "leaves no destination": {NoFile: true},
		"is not one of the destinations": {Fallback: "http"}, "is the only destination": {Fallback: "file"}, "must be deny, denyAll or allow": {WhenUnavailable: "drop"},
		"UDP does not tell": {NoFile: true, Syslog: udp}, "audit.file: maxMiB and keep": {File: &Chain{MaxMiB: -1}}, "audit.file.keep: must be at least 2": {File: &Chain{Keep: 1}},
		"audit.syslog.url: must be udp": {Syslog: &Syslog{URL: "http://x"}}, "audit.syslog.url: must name a socket": {Syslog: &Syslog{URL: "unix://x"}},
		"audit.queue: must be from 0": {Queue: -1}, "audit.http.url: must be an https URL": {HTTP: &Server{URL: "http://logs.example.com"}},
	} {
		if err := config.Check("audit", c.Check); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
	for _, c := range []*TrailConfig{{}, {Off: true}, {Syslog: udp}, {Syslog: udp, Fallback: "syslog"}, {NoFile: true, Syslog: udp, WhenUnavailable: "allow"}} {
		if err := config.Check("audit", c.Check); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// BenchmarkEffect is what the record before a change costs: alone, and with others at the
// same time.
func BenchmarkEffect(b *testing.B) {
	for _, together := range []int{1, 16, 256} {
		b.Run(fmt.Sprint("together=", together), func(b *testing.B) {
			trail, _ := opened(b, b.TempDir())
			e := Event{Kind: KindCapability, Action: "gitops:helm.upgrade", Target: "dev/shop/web", User: "ann@example.com"}
			b.SetParallelism(max(1, together/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					event := e
					x, err := trail.Begin(b.Context(), &event)
					if err != nil {
						b.Error(err)
						return
					}
					x.End(Outcome{})
				}
			})
		})
	}
}

// Who is refused again and again waits for each record, and does not fill the queues of others.
func TestARefusalIsKeptWhenItReturns(t *testing.T) {
	dir := t.TempDir()
	trail, _ := opened(t, dir)
	for n := 1; n <= 3; n++ {
		trail.Refuse(t.Context(), &Event{Kind: KindCapability, Action: "a:b", Principal: &host.Principal{User: "ann"}}, Outcome{Result: Refused})
		if got := kept(t, dir); len(got) != n {
			t.Fatalf("%d records after %d refusals", len(got), n)
		}
	}
}
