package stream

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type authority struct {
	lost  atomic.Bool
	until time.Time
	idle  time.Duration
}

func (a *authority) Alive() bool { return !a.lost.Load() }
func (a *authority) Cause() error {
	if a.lost.Load() {
		return host.ErrLoggedOut
	}
	return nil
}
func (a *authority) Bounds() (time.Time, error, time.Duration) {
	return a.until, host.ErrLoginExpired, a.idle
}

// client is the user's end: messages that it sends, and what arrived.
type client struct {
	in   chan string
	gone chan struct{}
	once sync.Once

	mu      sync.Mutex
	got     []string
	touched int
	code    int
}

func newClient() *client { return &client{in: make(chan string), gone: make(chan struct{})} }

func (c *client) Read() (bool, []byte, error) {
	select {
	case m := <-c.in:
		text, isText := strings.CutPrefix(m, "text:")
		return !isText, []byte(text), nil
	case <-c.gone:
		return false, nil, io.EOF
	}
}

func (c *client) Write(_ bool, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, string(data))
	return nil
}

func (c *client) Touch() { c.mu.Lock(); c.touched++; c.mu.Unlock() }

func (c *client) Close(code int, _ string) error {
	c.once.Do(func() { c.code = code; close(c.gone) })
	return nil
}

func (c *client) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.got, " ")
}

// echo sends back what it receives, until its end.
type echo struct {
	end  chan error
	last error
}

func (e *echo) Receive(p *Pump, binary bool, data []byte) error {
	if string(data) == "break" {
		return &Violation{host.CloseViolation, "broken"}
	}
	return p.Send(binary, data)
}

func (e *echo) Run(ctx context.Context, _ *Pump) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-e.end:
		return err
	}
}

func (e *echo) End(p *Pump, err error) error {
	e.last = err
	return p.Send(false, []byte("the end"))
}

func (e *echo) Warn(p *Pump, cause error, left time.Duration) error {
	return p.Notify([]byte("warning: " + cause.Error() + " in " + left.String()))
}

type scene struct {
	*client
	*echo
	auth *authority
	done chan error
}

// run starts a pump; the caller ends it.
func run(t *testing.T, o Options, auth *authority) *scene {
	s := &scene{newClient(), &echo{end: make(chan error)}, auth, make(chan error, 1)}
	o.Op, o.Client, o.Authority = "test", s.client, auth
	go func() { s.done <- Run(t.Context(), o, s.echo) }()
	return s
}

func (s *scene) finish(t *testing.T, want error) {
	t.Helper()
	if err := <-s.done; !errors.Is(err, want) {
		t.Errorf("it ended with %v, want %v", err, want)
	}
	_ = s.client.Close(0, "")
}

func TestAFrameInEitherDirectionNeedsAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, Options{}, &authority{})
		s.in <- "one"
		synctest.Wait()
		s.auth.lost.Store(true)
		s.in <- "two"
		s.finish(t, host.ErrLoggedOut)
		if got := s.all(); got != "one" {
			t.Errorf("passed: %s", got)
		}
	})
}

func TestALimitWarnsAndEnds(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		auth    *authority
		at      time.Duration
		warning string
		want    error
	}{
		"absolute":           {Options{MaxSession: time.Hour}, &authority{}, time.Hour, "time limit in 1m0s", host.ErrTooLong},
		"idle":               {Options{Idle: 5 * time.Minute}, &authority{}, 5 * time.Minute, "idle too long in 30s", host.ErrIdle},
		"the shorter one":    {Options{MaxSession: time.Hour, Idle: 2 * time.Hour}, &authority{idle: 3 * time.Hour}, time.Hour, "time limit in 1m0s", host.ErrTooLong},
		"the login's, alone": {Options{}, &authority{idle: 20 * time.Minute}, 0, "idle too long in 1m0s", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := run(t, c.options, c.auth)
				if c.want == nil { // the session enforces it
					time.Sleep(30 * time.Minute)
					close(s.end)
				}
				s.finish(t, c.want)
				if took := time.Since(began); c.at > 0 && took != c.at {
					t.Errorf("it ended after %v", took)
				}
				if got := s.all(); !strings.Contains(got, c.warning) || strings.Count(got, "warning") != 1 {
					t.Errorf("the client was told %q", got)
				}
			})
		})
	}
}

func TestUsePostponesTheIdleLimitAndAPingDoesNot(t *testing.T) {
	for message, ended := range map[string]bool{"bytes": false, `text:{"type":"ping"}`: true} {
		synctest.Test(t, func(t *testing.T) {
			s := run(t, Options{Idle: 10 * time.Minute}, &authority{})
			for range 3 {
				time.Sleep(6 * time.Minute)
				select {
				case s.in <- message:
				case err := <-s.done:
					s.done <- err
				}
			}
			synctest.Wait()
			if over := len(s.done) > 0; over != ended {
				t.Errorf("%s: over is %v", message, over)
			}
			if !ended {
				close(s.end)
				s.finish(t, nil)
				return
			}
			s.finish(t, host.ErrIdle)
			if got := s.all(); !strings.Contains(got, `{"type":"pong"}`) || s.touched > 0 {
				t.Errorf("got %q, touched %d times", got, s.touched)
			}
		})
	}
}

func TestTheClientLearnsHowItEnded(t *testing.T) {
	gone := host.E(host.Unavailable, "", "the pod is gone")
	for name, c := range map[string]struct {
		message string
		end     error
		code    int
	}{
		"well": {"", nil, 1000}, "failed": {"", io.ErrUnexpectedEOF, 1011}, "may connect again": {"", gone, 1012},
		"a violation": {"break", nil, 1008}, "a long message": {strings.Repeat("x", MaxMessage+1), nil, 1009},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := run(t, Options{}, &authority{})
				if c.message != "" {
					s.in <- c.message
				} else {
					s.end <- c.end
				}
				err := <-s.done
				if s.code != c.code || !strings.Contains(s.all(), "the end") || (err != nil) != (c.code != 1000) {
					t.Errorf("closed with %d, told %q, returned %v", s.code, s.all(), err)
				}
			})
		})
	}
}

// memory records output and can be full.
type memory struct {
	got, how string
	full     bool
}

func (m *memory) Output(_ bool, b []byte) error {
	if m.full {
		return host.E(host.Limited, "", "full")
	}
	m.got += string(b)
	return nil
}
func (m *memory) Input([]byte) error          { return nil }
func (m *memory) Resize(uint16, uint16) error { return nil }
func (m *memory) Exit(int) error              { return nil }
func (m *memory) End(how string) error        { m.how = how; return nil }

func TestNothingIsSentUnrecorded(t *testing.T) {
	for _, full := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := &memory{full: full}
			c := newClient()
			up := &writer{}
			err := Run(t.Context(), Options{Op: "test", Client: c, Authority: &authority{}, Recorder: m}, up)
			if sent := strings.Contains(c.all(), "frame of x"); sent == full {
				t.Errorf("full is %v: sent %q", full, c.all())
			}
			if full && (host.KindOf(err) != host.Limited || m.how != "full") || !full && (m.got != "x" || m.how != "ended") {
				t.Errorf("recorded %q, ended with %q, %v", m.got, m.how, err)
			}
			_ = c.Close(0, "")
		})
	}
}

// writer sends one frame.
type writer struct{ echo }

func (*writer) Run(_ context.Context, p *Pump) error {
	return p.Output(false, []byte("x"), []byte("frame of x"))
}
