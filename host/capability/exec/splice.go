package exec

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
)

// Subprotocols of the socket.
const (
	ChannelProtocol = "v5.channel.k8s.io"
	ControlProtocol = "bulkhead.exec.v1"
)

const maxMessage = 1 << 20

// stream is one opened command.
type stream struct {
	clusters  *cluster.Set
	permit    *capability.Permit
	request   *request
	recording *recording.Recording // nil if it is not recorded
	used      atomic.Bool
}

// Subprotocols are those of Kubernetes and of Bulkhead.
func (*stream) Subprotocols() []string { return []string{ChannelProtocol, ControlProtocol} }

// MaxMessage is one byte more than Splice accepts, so that Splice can report a message
// that is slightly too large.
func (*stream) MaxMessage() int { return maxMessage + 1 }

// Close makes the stream unusable; nothing is running yet.
func (s *stream) Close() error {
	if !s.used.Swap(true) && s.recording != nil {
		return s.recording.Discard()
	}
	return nil
}

// Splice runs the command and moves its streams.
func (s *stream) Splice(ctx context.Context, c capability.Client) (err error) {
	if s.used.Swap(true) {
		return host.E(host.Conflict, name, "the stream was used or closed")
	}
	if s.recording != nil {
		defer func() { err = s.endRecording(err) }()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if d := s.permit.Obligations.MaxSession; d > 0 {
		defer time.AfterFunc(d, func() { cancel(host.ErrTooLong) }).Stop()
	}
	v := &splice{ctx: ctx, cancel: cancel, client: c, auth: s.permit.Caller.Authority, sizes: newSizes(), idle: s.permit.Obligations.Idle, recording: s.recording}
	if v.idle > 0 {
		v.timer = time.AfterFunc(v.idle, func() { cancel(host.ErrIdle) })
		defer v.timer.Stop()
	}
	switch c.Subprotocol() {
	case ChannelProtocol:
		v.protocol = channelProtocol{}
	case ControlProtocol:
		v.protocol = controlProtocol{recorded: s.recording != nil}
	default:
		return host.E(host.Invalid, name, "the subprotocol is neither %s nor %s", ChannelProtocol, ControlProtocol)
	}
	return v.run(s)
}

// endRecording records how the session ended. If the recording is not complete, the
// session ends with an error.
func (s *stream) endRecording(err error) error {
	how := "ended"
	if err != nil {
		how = host.Internal.String()
		if e, ok := errors.AsType[*host.Error](err); ok {
			how = e.Public()
		}
	}
	if kept := s.recording.End(how); err == nil {
		return kept
	}
	return err
}

// splice is one session.
type splice struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	client   capability.Client
	auth     host.Authority
	protocol protocol
	sizes    *sizes
	idle     time.Duration
	timer    *time.Timer

	recording *recording.Recording // nil if it is not recorded

	writing sync.Mutex
	stdin   *io.PipeWriter
	eof     bool // stdin was closed by the client; reader only
}

// protocol is the format of the socket's messages.
type protocol interface {
	// receive handles one message of the client; a *violation ends the session.
	receive(v *splice, binary bool, data []byte) error
	// output returns the message with p, which is never empty.
	output(stderr bool, p []byte) []byte
	started(v *splice) error
	// finished informs the client how the command ended: with an exit code, or err.
	finished(v *splice, exitCode int, err error) error
}

// violation is a client's violation of the protocol.
type violation struct {
	code int
	text string
}

func (v *violation) Error() string { return v.text }

func (v *splice) run(s *stream) error {
	stdin, w := io.Pipe()
	v.stdin = w
	defer stdin.CloseWithError(io.ErrClosedPipe)
	defer context.AfterFunc(v.ctx, func() { stdin.CloseWithError(context.Cause(v.ctx)) })()
	v.sizes.put(s.request.size)

	client, err := s.clusters.As(v.ctx, s.request.cluster, s.permit.Obligations.Impersonate, v.auth)
	if err != nil {
		return v.finish(0, err)
	}
	go v.read()
	code, err := client.Exec(v.ctx, s.request.options, cluster.Streams{
		Stdin: stdin, Stdout: &output{v, false}, Stderr: &output{v, true}, Sizes: v.sizes.c,
		Started: func() {
			if err := v.protocol.started(v); err != nil {
				v.cancel(err)
			}
		},
	})
	return v.finish(code, err)
}

// finish informs the client how the command ended and closes it. If the session's
// context ended, the caller knows the cause and closes the client.
func (v *splice) finish(code int, err error) error {
	cause := context.Cause(v.ctx)
	if !v.auth.Alive() {
		cause = v.lost()
	}
	if breach, ok := errors.AsType[*violation](cause); ok {
		_ = v.protocol.finished(v, 0, breach)
		_ = v.client.Close(breach.code, breach.text)
		return host.E(host.Invalid, name, "the client violated the protocol: %s", breach.text)
	}
	if cause != nil {
		return cause
	}
	closeCode, reason := host.CloseNormal, ""
	if err != nil {
		closeCode, reason = host.CloseFailed, "the command failed"
	}
	if failed := v.protocol.finished(v, code, err); failed != nil {
		return failed
	}
	if closing := v.client.Close(closeCode, reason); err == nil {
		err = closing
	}
	return err
}

// read moves the client's messages until the socket or the session ends.
func (v *splice) read() {
	for {
		binary, data, err := v.client.Read()
		if err != nil {
			v.cancel(host.ErrClientGone)
			return
		}
		if !v.alive() {
			return
		}
		if len(data) > maxMessage {
			err = &violation{host.CloseTooLarge, "a message is over 1 MiB"}
		} else {
			err = v.protocol.receive(v, binary, data)
		}
		if err != nil {
			v.cancel(err)
			return
		}
	}
}

// lost returns why authority is gone; it is never nil.
func (v *splice) lost() error {
	if err := v.auth.Cause(); err != nil {
		return err
	}
	return host.ErrNoLonger
}

// alive checks authority and counts a frame as activity.
func (v *splice) alive() bool {
	if !v.auth.Alive() {
		v.cancel(v.lost())
		return false
	}
	if v.timer != nil && v.ctx.Err() == nil {
		v.timer.Reset(v.idle)
	}
	return true
}

// input writes bytes to the command and waits until it reads them.
func (v *splice) input(p []byte) error {
	if v.eof {
		return &violation{host.CloseViolation, "input after its end"}
	}
	if len(p) == 0 {
		return nil
	}
	if v.recording != nil {
		if err := v.recording.Input(p); err != nil {
			return err
		}
	}
	_, err := v.stdin.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		return nil // the command has ended; finish sends its exit code
	}
	return err
}

// resize tells the command the size of the client's terminal.
func (v *splice) resize(size cluster.Size) error {
	v.sizes.put(size)
	if v.recording != nil {
		return v.recording.Resize(size.Cols, size.Rows)
	}
	return nil
}

func (v *splice) closeInput() error {
	v.eof = true
	return v.stdin.Close()
}

// send writes one message to the client.
func (v *splice) send(binary bool, data []byte) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	if !v.alive() {
		return v.lost()
	}
	return v.client.Write(binary, data)
}

// output is one of the command's output streams.
type output struct {
	v      *splice
	stderr bool
}

func (o *output) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := context.Cause(o.v.ctx); err != nil {
		return 0, err
	}
	if r := o.v.recording; r != nil {
		if err := r.Output(o.stderr, p); err != nil {
			o.v.cancel(err)
			return 0, err
		}
	}
	if err := o.v.send(true, o.v.protocol.output(o.stderr, p)); err != nil {
		o.v.cancel(host.ErrClientGone)
		return 0, err
	}
	return len(p), nil
}

// sizes holds the latest size that the terminal does not know yet; a newer size replaces
// it.
type sizes struct{ c chan cluster.Size }

func newSizes() *sizes { return &sizes{make(chan cluster.Size, 1)} }

// put is called by one goroutine at a time.
func (s *sizes) put(size cluster.Size) {
	for {
		select {
		case s.c <- size:
			return
		default:
		}
		select {
		case <-s.c:
		default:
		}
	}
}
