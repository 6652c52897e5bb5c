// Package stream is the pump that moves frames between a user's client and an upstream
// for hours, without the guest that opened it: authority is checked before every frame
// in either direction, a side that sends faster than the other reads has to wait,
// limits end the stream after a warning, and output that must be recorded is recorded
// before it is sent. What the frames mean is the Upstream's to say.
package stream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	// MaxMessage bounds a client's message, in bytes.
	MaxMessage = 1 << 20
	// warnBefore is how long before a limit the client is warned; for limits under ten
	// minutes a tenth of the limit.
	warnBefore = time.Minute
)

// Client is the user's end; see capability.Client.
type Client interface {
	Read() (binary bool, data []byte, err error)
	Write(binary bool, data []byte) error
	Touch()
	Close(code int, reason string) error
}

// Recorder keeps what passes; see recording.Recording. An error ends the stream.
type Recorder interface {
	Output(toStderr bool, b []byte) error
	Input(b []byte) error
	Resize(cols, rows uint16) error
	Exit(code int) error
	End(how string) error
}

// Upstream is one kind of stream. Receive is called by one goroutine at a time; the
// others may be called concurrently with it.
type Upstream interface {
	// Receive handles one message of the client. An error ends the stream; a *Violation
	// tells the client that it broke the protocol.
	Receive(p *Pump, binary bool, data []byte) error
	// Run moves data to the client until the upstream or ctx ends, and has closed the
	// upstream when it returns.
	Run(ctx context.Context, p *Pump) error
	// End sends the last message, which says how Run ended or what the client violated.
	End(p *Pump, err error) error
	// Warn tells the client, with Notify, that the stream ends in left because of cause.
	Warn(p *Pump, cause error, left time.Duration) error
}

// Options are those of one stream.
type Options struct {
	Op        string // of errors: the capability's name
	Client    Client
	Authority host.Authority
	// MaxSession and Idle limit the stream; 0 means no limit. If Authority has the
	// method Bounds, the client is warned of those limits as well.
	MaxSession, Idle time.Duration
	Recorder         Recorder // nil if it is not recorded
}

// bounded is an authority that ends by itself.
type bounded interface {
	// Bounds returns when and why it ends, and after how long without use. Zero: never.
	Bounds() (until time.Time, cause error, idle time.Duration)
}

// Violation is a client's violation of the protocol.
type Violation struct {
	Code int // of the close frame
	Text string
}

func (v *Violation) Error() string { return v.Text }

// Pump is one running stream.
type Pump struct {
	Options
	ctx     context.Context
	cancel  context.CancelCauseFunc
	began   time.Time
	touched atomic.Int64 // time of the last frame, since began
	writing sync.Mutex

	limits sync.Mutex // guards the fields below
	timer  *time.Timer
	ended  bool
	warned [2]time.Time // the ends that the client was warned of
}

// Run runs a stream until either side, a limit or ctx ends it. If the upstream ended or
// the client violated the protocol, the client is informed and closed. If ctx ended,
// authority was lost, a limit was reached (host.ErrTooLong, host.ErrIdle) or the client
// went away, Run returns that cause, and the caller closes the client, whose Read may
// still be in progress.
func Run(ctx context.Context, o Options, up Upstream) (err error) {
	p := &Pump{Options: o, began: time.Now()}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	if o.Recorder != nil {
		defer func() { err = p.endRecording(err) }()
	}
	p.watch(up)
	defer p.stopTimer()
	go p.read(up)
	return p.finish(up, up.Run(p.ctx, p))
}

// Cancel ends the stream with cause.
func (p *Pump) Cancel(cause error) { p.cancel(cause) }

// Use checks authority and counts as use of the session. Call it before an effect that
// is neither a message of the client nor one for it.
func (p *Pump) Use() error {
	if err := p.check(); err != nil {
		return err
	}
	p.touched.Store(int64(time.Since(p.began)))
	p.Client.Touch()
	return nil
}

func (p *Pump) check() error {
	if !p.Authority.Alive() {
		err := p.lost()
		p.cancel(err)
		return err
	}
	return nil // also after the end, for the last message
}

// Send writes one message to the client and waits until it is written.
func (p *Pump) Send(binary bool, data []byte) error { return p.write(binary, data, p.Use) }

// Notify is Send of a text message that does not count as use of the session.
func (p *Pump) Notify(data []byte) error { return p.write(false, data, p.check) }

func (p *Pump) write(binary bool, data []byte, before func() error) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := before(); err != nil {
		return err
	}
	return p.Client.Write(binary, data)
}

// Output sends the message frame, with output of the upstream, once that is recorded.
func (p *Pump) Output(toStderr bool, output, frame []byte) error {
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	if p.Recorder != nil {
		if err := p.Recorder.Output(toStderr, output); err != nil {
			p.cancel(err)
			return err
		}
	}
	if err := p.Send(true, frame); err != nil {
		p.cancel(host.ErrClientGone)
		return err
	}
	return nil
}

// finish informs the client how the upstream ended and closes it. If the stream's
// context ended, the caller knows the cause and closes the client.
func (p *Pump) finish(up Upstream, err error) error {
	cause := context.Cause(p.ctx)
	if !p.Authority.Alive() {
		cause = p.lost()
	}
	if v, ok := errors.AsType[*Violation](cause); ok {
		_ = up.End(p, v)
		_ = p.Client.Close(v.Code, v.Text)
		return host.E(host.Invalid, p.Op, "the client violated the protocol: %s", v.Text)
	}
	if cause != nil {
		return cause
	}
	code, reason := host.CloseNormal, ""
	if host.KindOf(err) == host.Unavailable {
		code, reason = host.CloseRestart, "connect again"
	} else if err != nil {
		code, reason = host.CloseFailed, "the stream failed"
	}
	if failed := up.End(p, err); failed != nil {
		return failed
	}
	if closing := p.Client.Close(code, reason); err == nil {
		err = closing
	}
	return err
}

// endRecording records how the stream ended. If the recording is not complete, the
// stream ends with an error.
func (p *Pump) endRecording(err error) error {
	how := "ended"
	if err != nil {
		how = host.Internal.String()
		if e, ok := errors.AsType[*host.Error](err); ok {
			how = e.Public()
		}
	}
	if kept := p.Recorder.End(how); err == nil {
		return kept
	}
	return err
}

// read moves the client's messages until the client or the stream ends.
func (p *Pump) read(up Upstream) {
	for {
		binary, data, err := p.Client.Read()
		if err != nil {
			p.cancel(host.ErrClientGone)
			return
		}
		if err := p.receive(up, binary, data); err != nil {
			p.cancel(err)
			return
		}
	}
}

var (
	ping = []byte(`{"type":"ping"}`)
	pong = []byte(`{"type":"pong"}`)
)

func (p *Pump) receive(up Upstream, binary bool, data []byte) error {
	if !binary && string(data) == string(ping) {
		return p.Notify(pong) // browsers cannot send a ping of the websocket
	}
	if !p.Authority.Alive() {
		return p.lost()
	}
	if len(data) > MaxMessage {
		return &Violation{host.CloseTooLarge, "a message is over 1 MiB"}
	}
	if p.ctx.Err() == nil {
		p.touched.Store(int64(time.Since(p.began)))
		p.Client.Touch()
	}
	return up.Receive(p, binary, data)
}

// lost returns why authority is gone; it is never nil.
func (p *Pump) lost() error {
	if err := p.Authority.Cause(); err != nil {
		return err
	}
	return host.ErrNoLonger
}
