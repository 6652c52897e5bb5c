package pods

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/host/stream"
)

// Subprotocols of a terminal's socket.
const (
	ChannelProtocol = "v5.channel.k8s.io"
	ControlProtocol = "bulkhead.exec.v1"
)

// openTerminal opens exec and attach. The process starts with Splice.
func (e *Pods) openTerminal(ctx context.Context, p *capability.Permit, q *request, client *cluster.Client) (capability.Stream, error) {
	if err := q.may(ctx, client, q.operation.rbac, q.pod); err != nil {
		return nil, err
	}
	pod, err := q.get(ctx, client)
	if err != nil {
		return nil, err
	}
	if err := pod.running(); err != nil {
		return nil, err
	}
	c, err := pod.container(q.container)
	if err != nil {
		return nil, err
	}
	options := cluster.ExecOptions{Namespace: q.namespace, Pod: q.pod, Container: c.Name, Command: q.command, TTY: q.tty}
	if len(q.command) == 0 {
		options.TTY, options.NoStdin = c.TTY, !c.Stdin
	}
	return e.terminal(p, q, options)
}

func (e *Pods) terminal(p *capability.Permit, q *request, o cluster.ExecOptions) (capability.Stream, error) {
	r, err := e.record(p, q, &o)
	if err != nil {
		return nil, err
	}
	return &opened{
		provider: e, permit: p, recording: r, protocols: []string{ChannelProtocol, ControlProtocol},
		start: func(protocol string) stream.Upstream {
			t := &terminal{clusters: e.clusters, permit: p, request: q, options: o, protocol: channelProtocol{}, sizes: newSizes()}
			if protocol == ControlProtocol {
				t.protocol = controlProtocol{recorded: r != nil}
			}
			t.input, t.stdin = io.Pipe()
			return t
		},
	}, nil
}

// strongest returns the stricter of the records that the decisions about the route and
// the call require.
func strongest(a, b host.Record) host.Record {
	if a == host.RecordAll || b == host.RecordAll {
		return host.RecordAll
	}
	return cmp.Or(a, b)
}

// record begins the recording of a terminal, before the client learns that it opens. It
// returns nil if none is required.
func (e *Pods) record(p *capability.Permit, q *request, o *cluster.ExecOptions) (*recording.Recording, error) {
	what := strongest(p.Obligations.Record, p.Caller.Obligations.Record)
	if what == host.RecordNothing {
		return nil, nil
	}
	log := cmp.Or(p.Caller.Logger, slog.New(slog.DiscardHandler))
	if !e.recordings.Can(what) {
		log.Error("a terminal cannot be recorded as policy requires; recordings.input permits recording input", "record", string(what))
		return nil, &host.Error{Kind: host.Forbidden, Op: name, Message: "the terminal must be recorded, but cannot be", Detail: "obligation_not_supported"}
	}
	who := p.Caller.Principal
	r, err := e.recordings.Begin(recording.Meta{
		User: string(who.User), Login: string(who.Login.ID), Cluster: q.cluster, Namespace: o.Namespace, Pod: o.Pod, Container: o.Container,
		Decision: p.Decision, RequestID: p.Caller.RequestID, Reason: p.Caller.Reason, TTY: o.TTY,
		Command: cmp.Or(strings.Join(o.Command, " "), "(attached)"), Cols: q.size.Cols, Rows: q.size.Rows,
	}, what)
	if err == nil {
		log.Info("terminal is recorded", "recording", r.ID(), "record", string(what), "decision", p.Decision)
	}
	return r, err
}

// terminal is one running process with its streams.
type terminal struct {
	clusters *cluster.Set
	permit   *capability.Permit
	request  *request
	options  cluster.ExecOptions
	protocol protocol
	sizes    *sizes
	input    *io.PipeReader
	stdin    *io.PipeWriter
	eof      bool // stdin was closed by the client; Receive only
	exitCode int
}

// protocol is the format of the socket's messages.
type protocol interface {
	// receive handles one message of the client.
	receive(t *terminal, p *stream.Pump, binary bool, data []byte) error
	// output returns the message with b, which is never empty.
	output(stderr bool, b []byte) []byte
	started(p *stream.Pump) error
	// finished informs the client how the process ended: with an exit code, or err.
	finished(p *stream.Pump, exitCode int, err error) error
	warn(p *stream.Pump, cause error, left time.Duration) error
}

func (t *terminal) Receive(p *stream.Pump, binary bool, data []byte) error {
	return t.protocol.receive(t, p, binary, data)
}

func (t *terminal) End(p *stream.Pump, err error) error {
	return t.protocol.finished(p, t.exitCode, err)
}

func (t *terminal) Warn(p *stream.Pump, cause error, left time.Duration) error {
	return t.protocol.warn(p, cause, left)
}

func (t *terminal) Run(ctx context.Context, p *stream.Pump) error {
	defer t.input.CloseWithError(io.ErrClosedPipe)
	defer context.AfterFunc(ctx, func() { t.input.CloseWithError(context.Cause(ctx)) })()
	t.sizes.put(t.request.size)
	client, err := t.clusters.As(ctx, t.request.cluster, t.permit.Obligations.Impersonate, t.permit.Caller.Authority)
	if err != nil {
		return err
	}
	t.exitCode, err = client.Exec(ctx, t.options, cluster.Streams{
		Stdin: t.input, Stdout: &output{t, p, false}, Stderr: &output{t, p, true}, Sizes: t.sizes.c,
		Started: func() {
			if err := t.protocol.started(p); err != nil {
				p.Cancel(err)
			}
		},
	})
	if err == nil && p.Recorder != nil {
		err = p.Recorder.Exit(t.exitCode)
	}
	return err
}

// write gives bytes to the process and waits until it reads them.
func (t *terminal) write(p *stream.Pump, b []byte) error {
	if t.eof {
		return &stream.Violation{Code: host.CloseViolation, Text: "input after its end"}
	}
	if len(b) == 0 {
		return nil
	}
	if p.Recorder != nil {
		if err := p.Recorder.Input(b); err != nil {
			return err
		}
	}
	_, err := t.stdin.Write(b)
	if errors.Is(err, io.ErrClosedPipe) {
		return nil // the process has ended; End sends its exit code
	}
	return err
}

// resize tells the process the size of the client's terminal.
func (t *terminal) resize(p *stream.Pump, size cluster.Size) error {
	t.sizes.put(size)
	if p.Recorder != nil {
		return p.Recorder.Resize(size.Cols, size.Rows)
	}
	return nil
}

func (t *terminal) closeInput() error {
	t.eof = true
	return t.stdin.Close()
}

// output is one of the process's output streams.
type output struct {
	t      *terminal
	p      *stream.Pump
	stderr bool
}

func (o *output) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := o.p.Output(o.stderr, b, o.t.protocol.output(o.stderr, b)); err != nil {
		return 0, err
	}
	return len(b), nil
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
