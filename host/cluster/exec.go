package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
)

// ExecOptions are the command and the container to run it in.
type ExecOptions struct {
	Namespace string
	Pod       string
	Container string
	Command   []string // none: attach to the container's own process
	NoStdin   bool     // the container's own process reads no input
	TTY       bool
}

// Size is the size of a terminal, in characters.
type Size struct{ Cols, Rows uint16 }

// Streams are the caller's ends of a command's streams. Stdout and Stderr are each
// written by one goroutine, concurrently; with a terminal all output is Stdout.
type Streams struct {
	Stdin   io.Reader // its end closes the command's input
	Stdout  io.Writer // an error of Write ends only this stream
	Stderr  io.Writer
	Sizes   <-chan Size // used with a terminal only; may be nil
	Started func()      // called once when the API server has accepted the request; may be nil
}

// Exec runs a command in a container, or attaches to the container's own process, and
// returns the exit code once the process has ended and its output is written. The end of ctx, or of the client's own
// context, closes the connection at once, and the node kills the command;
// a container's own process goes on.
//
// Exec tries WebSocket first and then SPDY, which older API servers support and
// which needs fewer RBAC verbs. It may return while a Read of Stdin is still under
// way; the caller ends it.
func (c *Client) Exec(ctx context.Context, o ExecOptions, s Streams) (exitCode int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })()
	var refused *apierrors.StatusError // the WebSocket's refusal, before SPDY is tried
	run, err := c.executor(o, s.Started, func(err error) bool {
		refused, _ = errors.AsType[*apierrors.StatusError](upgradeCause(err))
		return needsSPDY(err)
	})
	if err != nil {
		return 0, c.Failure(op, "the command could not be started", err)
	}
	sizes := &sizeQueue{ctx: ctx, sizes: s.Sizes}
	options := remotecommand.StreamOptions{Stdin: s.Stdin, Stdout: s.Stdout, Tty: o.TTY}
	if o.NoStdin {
		options.Stdin = nil
	}
	if o.TTY {
		options.TerminalSizeQueue = sizes
	} else {
		options.Stderr = s.Stderr
	}
	// client-go logs an error for every interrupted stream.
	quiet := klog.NewContext(ctx, logr.Discard())
	err = run.StreamWithContext(quiet, options)
	if exit, ok := errors.AsType[utilexec.CodeExitError](err); ok {
		return exit.Code, nil
	}
	if err != nil {
		if !c.auth.Alive() {
			return 0, lost(c.auth)
		}
		if cause := context.Cause(ctx); cause != nil {
			return 0, cause
		}
	}
	return 0, c.Failure(op, "the command failed", refusedTwice(refused, err))
}

// refusedTwice returns err. If SPDY was refused too, its error has no status, so the
// result has that of the WebSocket's refusal.
func refusedTwice(first *apierrors.StatusError, err error) error {
	text, again := strings.CutPrefix(fmt.Sprint(err), "unable to upgrade connection: ")
	if first == nil || !again {
		return upgradeCause(err)
	}
	status := first.Status()
	status.Message = text
	return &apierrors.StatusError{ErrStatus: status}
}

// upgradeCause returns the API server's answer in an error of the handshake, which
// does not implement Unwrap.
func upgradeCause(err error) error {
	if e, ok := errors.AsType[*httpstream.UpgradeFailureError](err); ok && e.Cause != nil {
		return e.Cause
	}
	return err
}

func (c *Client) executor(o ExecOptions, started func(), fallback func(error) bool) (remotecommand.Executor, error) {
	subresource, query := "exec", url.Values{"command": o.Command, "stdout": {"true"}}
	if len(o.Command) == 0 {
		subresource = "attach"
	}
	if !o.NoStdin {
		query.Set("stdin", "true")
	}
	if o.Container != "" {
		query.Set("container", o.Container)
	}
	if o.TTY {
		query.Set("tty", "true")
	} else {
		query.Set("stderr", "true")
	}
	config := c.upgrading(c.ctx, started)
	target, err := c.endpoint.pod(o.Namespace, o.Pod, subresource, query)
	if err != nil {
		return nil, err
	}
	ws, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, target.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, target)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(ws, spdy, fallback)
}

// upgrading returns a configuration for handshakes as the user, that end with ctx.
func (c *Client) upgrading(ctx context.Context, started func()) *rest.Config {
	config := rest.CopyConfig(c.endpoint.rest)
	config.Impersonate = rest.ImpersonationConfig{UserName: c.user.User, Groups: c.user.Groups}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &upgrade{ctx: ctx, client: c, started: started, next: next}
	})
	return config
}

// pod returns the URL of a subresource of a pod.
func (e *endpoint) pod(namespace, name, subresource string, query url.Values) (*url.URL, error) {
	target, err := url.Parse(e.url)
	if err != nil {
		return nil, err
	}
	target = target.JoinPath("api/v1/namespaces", namespace, "pods", name, subresource)
	target.RawQuery = query.Encode()
	return target, nil
}

// needsSPDY reports whether SPDY may work after a WebSocket failed with err: the
// upgrade was forbidden (it is a GET, so RBAC requires get on pods/exec besides
// create; SPDY's is a POST and requires create only), or the API server or a proxy
// does not support it. Other refusals, such as an unknown pod, are the same for SPDY.
func needsSPDY(err error) bool {
	if !httpstream.IsUpgradeFailure(err) && !httpstream.IsHTTPSProxyError(err) {
		return false
	}
	answer, answered := errors.AsType[*apierrors.StatusError](upgradeCause(err))
	if !answered {
		return true
	}
	switch answer.Status().Code {
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUpgradeRequired, http.StatusNotImplemented:
		return true
	}
	return false
}

// upgrade checks authority before the handshake and calls started after it.
type upgrade struct {
	ctx     context.Context
	client  *Client
	started func()
	next    http.RoundTripper
}

func (u *upgrade) RoundTrip(req *http.Request) (*http.Response, error) {
	if auth := u.client.auth; !auth.Alive() {
		closeBody(req)
		return nil, lost(auth)
	}
	// The dialer of port-forward has no context of its own.
	ctx, cancel := context.WithCancelCause(req.Context())
	defer context.AfterFunc(u.ctx, func() { cancel(context.Cause(u.ctx)) })()
	req = req.Clone(ctx)
	correlate(req, u.client.ctx)
	resp, err := trace.Send(u.client.ctx, u.next.RoundTrip, req, u.client.endpoint.cluster)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols && u.started != nil {
		u.started()
	}
	return resp, err
}

// sizeQueue is a channel of sizes as a remotecommand.TerminalSizeQueue.
type sizeQueue struct {
	ctx   context.Context
	sizes <-chan Size
}

func (q *sizeQueue) Next() *remotecommand.TerminalSize {
	select {
	case s, ok := <-q.sizes:
		if ok {
			return &remotecommand.TerminalSize{Width: s.Cols, Height: s.Rows}
		}
	case <-q.ctx.Done():
	}
	return nil
}
