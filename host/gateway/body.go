package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// ReadBody reads a body of at most limit bytes. It fails with kind TooLarge, with status
// 408 if the body does not arrive in time, and with the cause of ctx if ctx ends, so that
// the end of a session ends its upload at once.
//
// net/http removes the read deadline once the whole body was read. After a failure
// the deadline stays, so that the server does not wait for the rest.
func (g *Gateway) ReadBody(ctx context.Context, w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength > int64(limit) {
		return nil, host.E(host.TooLarge, "", "request body is over %d bytes", limit)
	}
	if r.ContentLength == 0 {
		return nil, nil
	}
	ctl := http.NewResponseController(w)
	RequestOf(r.Context()).bodyRead = true
	// If the deadline cannot be set, that of ServeHTTP remains.
	_ = ctl.SetReadDeadline(time.Now().Add(g.bodyTimeout))
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = ctl.SetReadDeadline(time.Unix(1, 0)) // interrupts the read
	})
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if !stop() {
		<-ended // the interruption must not affect the next request
	}
	if cause, ok := errors.AsType[*host.Error](context.Cause(ctx)); ok {
		return nil, cause
	}
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, host.E(host.TooLarge, "", "request body is over %d bytes", limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &host.Error{Kind: host.Invalid, Status: http.StatusRequestTimeout, Message: "the request body did not arrive in time",
			Detail: "the limit is " + g.bodyTimeout.String()}
	}
	return nil, host.E(host.Invalid, "", "request body could not be read")
}

// StreamBody is ReadBody for a body that is not kept in memory: it returns a reader of
// it, whose errors are those of ReadBody. Each read has to yield something within the
// time that a whole body has otherwise. done is to be called when the reader is no
// longer used.
func (g *Gateway) StreamBody(ctx context.Context, w http.ResponseWriter, r *http.Request, limit int64) (body io.Reader, done func(), err error) {
	if r.ContentLength > limit {
		return nil, nil, host.E(host.TooLarge, "", "request body is over %d bytes", limit)
	}
	RequestOf(r.Context()).bodyRead = true
	b := &streamedBody{ctx: ctx, ctl: http.NewResponseController(w), from: http.MaxBytesReader(w, r.Body, limit), limit: limit, timeout: g.bodyTimeout}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = b.ctl.SetReadDeadline(time.Unix(1, 0)) // wakes the reading
	})
	return b, func() {
		if !stop() {
			<-ended // it must not meet the next request
		}
	}, nil
}

type streamedBody struct {
	ctx     context.Context
	ctl     *http.ResponseController
	from    io.Reader
	limit   int64
	timeout time.Duration
}

func (b *streamedBody) Read(p []byte) (int, error) {
	_ = b.ctl.SetReadDeadline(time.Now().Add(b.timeout))
	if b.ctx.Err() != nil { // after the deadline, so that the end's own deadline is the last
		return 0, b.cause()
	}
	n, err := b.from.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if b.ctx.Err() != nil {
		return n, b.cause()
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return n, host.E(host.TooLarge, "", "request body is over %d bytes", b.limit)
	}
	if late := errors.Is(err, os.ErrDeadlineExceeded); late {
		return n, &host.Error{Kind: host.Invalid, Status: http.StatusRequestTimeout, Message: "the request body did not arrive in time",
			Detail: "each part of it may take " + b.timeout.String()}
	}
	return n, host.E(host.Invalid, "", "request body could not be read")
}

func (b *streamedBody) cause() error {
	if cause, ok := errors.AsType[*host.Error](context.Cause(b.ctx)); ok {
		return cause
	}
	return host.E(host.Invalid, "", "request body could not be read")
}
