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

// ReadBody reads a body of at most limit bytes. It fails with kind TooLarge, with
// status 408 when the body has not arrived in time, and with ctx's cause when
// that ends: the end of a session ends its upload at once.
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
	// A failure to set the deadline leaves the one of ServeHTTP.
	_ = ctl.SetReadDeadline(time.Now().Add(g.bodyTimeout))
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = ctl.SetReadDeadline(time.Unix(1, 0)) // wakes the reading
	})
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if !stop() {
		<-ended // it must not meet the next request
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
			Detail: "it may take " + g.bodyTimeout.String()}
	}
	return nil, host.E(host.Invalid, "", "request body could not be read")
}
