package trace

import (
	"context"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/propagation"
	otel "go.opentelemetry.io/otel/trace"
)

// headers are those by which a trace goes on in another process.
var headers = w3c.Fields()

// Send sends a request by send in a span below the one in ctx, until the answer's
// header has arrived. cluster is the name of the cluster that it is for, or "". The
// request gets the trace's headers, in place of those it has; a request outside a trace is
// sent as it is. Send does not change req.
func Send(ctx context.Context, send func(*http.Request) (*http.Response, error), req *http.Request, cluster string) (*http.Response, error) {
	if !otel.SpanContextFromContext(ctx).IsValid() {
		return send(req)
	}
	ctx, span := start(ctx, req.Method, otel.SpanKindClient)
	defer span.End()
	req = req.Clone(req.Context())
	for _, name := range headers {
		req.Header.Del(name)
	}
	w3c.Inject(ctx, propagation.HeaderCarrier(req.Header))
	if span != nil {
		span.String("http.request.method", req.Method)
		span.String("server.address", req.URL.Hostname())
		if port, err := strconv.ParseInt(req.URL.Port(), 10, 32); err == nil {
			span.Int("server.port", port)
		}
		// Without query and user, which can be secrets.
		span.String("url.full", req.URL.Scheme+"://"+req.URL.Host+req.URL.EscapedPath())
		span.String("k8s.cluster.name", cluster)
	}
	resp, err := send(req)
	switch {
	case err != nil:
		span.Fail("no_answer")
	case resp.StatusCode >= http.StatusBadRequest:
		span.Fail(strconv.Itoa(resp.StatusCode))
		fallthrough
	default:
		span.Int("http.response.status_code", int64(resp.StatusCode))
	}
	return resp, err
}
