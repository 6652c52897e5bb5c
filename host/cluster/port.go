package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Headers of port-forward's streams (k8s.io/api/core/v1).
const (
	streamType  = "streamType"
	portHeader  = "port"
	requestID   = "requestID"
	maxPortText = 4 << 10 // of the node's error
)

// Port is one connection to a port of a pod, through the API server. Read and Write may
// be used by one goroutine each.
type Port struct {
	client *Client
	conn   httpstream.Connection
	data   httpstream.Stream
	stop   func() bool
	told   chan struct{} // closed once refusal is set
	once   sync.Once

	refusal error // what the node reported
}

// Dial opens a connection to a port of a pod. The end of ctx, or of the client's own
// context, closes it. It tries WebSocket first and then SPDY, like Exec. Whether anything
// listens at the port shows at the first Read.
func (c *Client) Dial(ctx context.Context, namespace, pod string, port uint16) (*Port, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	conn, err := c.dial(ctx, namespace, pod)
	if err != nil {
		stop()
		cancel(nil)
		return nil, c.Failure(op, "the port could not be reached", upgradeCause(err))
	}
	p := &Port{client: c, conn: conn, told: make(chan struct{})}
	closing := context.AfterFunc(ctx, func() { _ = conn.Close() })
	p.stop = func() bool { closing(); cancel(nil); return stop() }
	if err := p.open(port); err != nil {
		_ = p.Close()
		return nil, c.Failure(op, "the port could not be reached", err)
	}
	return p, nil
}

func (c *Client) dial(ctx context.Context, namespace, pod string) (httpstream.Connection, error) {
	config := c.upgrading(ctx, nil)
	target, err := c.endpoint.pod(namespace, pod, "portforward", url.Values{})
	if err != nil {
		return nil, err
	}
	ws, err := portforward.NewSPDYOverWebsocketDialerForStreamingWithLogger(logr.Discard(), target, config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	second := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	dialer := portforward.NewFallbackDialerForStreaming(ws, second, needsSPDY)
	type result struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan result, 1)
	go func() { // the handshake ends with ctx, but what follows it has no context
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				_ = r.conn.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// open makes the two streams of a connection.
func (p *Port) open(port uint16) error {
	h := http.Header{streamType: {"error"}, portHeader: {strconv.Itoa(int(port))}, requestID: {"0"}}
	header := func(kind string) http.Header {
		out := http.Header{}
		for name := range h {
			out.Set(name, h[name][0])
		}
		out.Set(streamType, kind)
		return out
	}
	failed, err := p.conn.CreateStream(header("error"))
	if err != nil {
		return err
	}
	_ = failed.Close() // nothing is written to it
	go p.listen(failed)
	p.data, err = p.conn.CreateStream(header("data"))
	return err
}

// listen reads the node's error, which is empty if the connection ended well.
func (p *Port) listen(failed io.Reader) {
	defer close(p.told)
	text, err := io.ReadAll(io.LimitReader(failed, maxPortText))
	if len(text) > 0 {
		p.refusal = &host.Error{Kind: host.Upstream, Op: op, Message: "the port could not be reached", Detail: p.client.endpoint.unaddressed(strings.TrimSpace(string(text)))}
	} else if err != nil {
		p.refusal = errPortLost
	}
}

var errPortLost = errors.New("the connection to the pod was lost")

// Read returns io.EOF when the pod has closed its side.
func (p *Port) Read(b []byte) (int, error) {
	n, err := p.data.Read(b)
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, p.why(err)
}

// why returns the reason for the end of the data.
func (p *Port) why(err error) error {
	if !p.client.auth.Alive() {
		return lost(p.client.auth)
	}
	select {
	case <-p.told:
	case <-p.conn.CloseChan():
		return errPortLost
	case <-time.After(time.Second): // the node closes both streams together
	}
	select {
	case <-p.told:
		if p.refusal != nil {
			return p.refusal
		}
	default:
	}
	return err
}

// Write sends bytes to the pod.
func (p *Port) Write(b []byte) (int, error) {
	if !p.client.auth.Alive() {
		return 0, lost(p.client.auth)
	}
	return p.data.Write(b)
}

// CloseWrite tells the pod that no more bytes come.
func (p *Port) CloseWrite() error { return p.data.Close() }

// Lost reports whether err, of Read or Write, means that the connection to the pod was
// lost, and not that the pod closed it.
func Lost(err error) bool { return errors.Is(err, errPortLost) }

// Close closes the connection. It may be called repeatedly.
func (p *Port) Close() (err error) {
	p.once.Do(func() {
		p.stop()
		err = p.conn.Close()
	})
	return err
}
