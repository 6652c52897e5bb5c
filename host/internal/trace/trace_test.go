package trace

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unsafe"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
)

func tracer(t *testing.T, options ...sdk.TracerProviderOption) (*Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	p := sdk.NewTracerProvider(append(options, sdk.WithSpanProcessor(spans))...)
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return New(p), spans
}

func from(traceparent string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if traceparent != "" {
		r.Header.Set("traceparent", traceparent)
	}
	return r
}

func trusting(trust bool) func(*http.Request) bool { return func(*http.Request) bool { return trust } }

func attributes(s sdk.ReadOnlySpan) map[attribute.Key]string {
	m := map[attribute.Key]string{}
	for _, a := range s.Attributes() {
		m[a.Key] = a.Value.Emit()
	}
	return m
}

func TestATrustedCallersSpanIsTheParentAndAnyoneElsesALink(t *testing.T) {
	tr, spans := tracer(t)
	sampled := "00-" + callersTrace + "-" + callersSpan + "-01"
	for _, c := range []struct {
		name, traceparent string
		trusted           bool
		parent, link      bool
	}{
		{"a proxy's", sampled, true, true, false},
		{"a client's", sampled, false, false, true},
		{"none", "", true, false, false},
		{"one that is malformed", "00-" + callersTrace + "-xx-01", true, false, false},
		{"one that is far too long", "00-" + strings.Repeat("a", 10_000) + "-01", false, false, false},
	} {
		spans.Reset()
		_, span := tr.Request(from(c.traceparent), trusting(c.trusted))
		span.End()
		s := spans.Ended()[0]
		if got := s.Parent().SpanID().String() == callersSpan; got != c.parent {
			t.Errorf("%s: parent %v", c.name, s.Parent().SpanID())
		}
		if got := s.SpanContext().TraceID().String() == callersTrace; got != c.parent {
			t.Errorf("%s: trace %v", c.name, s.SpanContext().TraceID())
		}
		if got := len(s.Links()) == 1 && s.Links()[0].SpanContext.SpanID().String() == callersSpan; got != c.link {
			t.Errorf("%s: links %v", c.name, s.Links())
		}
	}
}

func TestOnlyATrustedCallerSaysWhatIsSampled(t *testing.T) {
	never, none := tracer(t, sdk.WithSampler(sdk.ParentBased(sdk.NeverSample())))
	for _, trusted := range []bool{true, false} {
		ctx, span := never.Request(from("00-"+callersTrace+"-"+callersSpan+"-01"), trusting(trusted))
		span.End()
		if got := ID(ctx) == callersTrace; got != trusted {
			t.Errorf("trusted %v: trace %q", trusted, ID(ctx))
		}
	}
	if n := len(none.Ended()); n != 1 {
		t.Errorf("%d spans", n)
	}
}

func TestARequestGoesOnInTheUpstreamsTrace(t *testing.T) {
	tr, spans := tracer(t)
	ctx, root := tr.Request(from(""), trusting(false))
	req := httptest.NewRequest("GET", "https://bob:hunter2@api.example:6443/apis/x?token=hunter2", nil)
	req.Header.Set("traceparent", "00-"+strings.Repeat("1", 32)+"-"+strings.Repeat("2", 16)+"-01")
	req.Header.Set("tracestate", "guest=1")
	var sent http.Header
	answer := &http.Response{StatusCode: 404}
	resp, err := Send(ctx, func(r *http.Request) (*http.Response, error) { sent = r.Header; return answer, nil }, req, "dev")
	root.End()
	if resp != answer || err != nil {
		t.Fatal(resp, err)
	}
	s := spans.Ended()[0]
	if want := "00-" + s.SpanContext().TraceID().String() + "-" + s.SpanContext().SpanID().String() + "-01"; sent.Get("traceparent") != want || sent.Get("tracestate") != "" {
		t.Errorf("sent %q %q, want %q", sent.Get("traceparent"), sent.Get("tracestate"), want)
	}
	if req.Header.Get("tracestate") != "guest=1" {
		t.Error("the request itself was changed")
	}
	got := attributes(s)
	for key, want := range map[attribute.Key]string{
		"http.request.method": "GET", "server.address": "api.example", "server.port": "6443", "k8s.cluster.name": "dev",
		"url.full": "https://api.example:6443/apis/x", "http.response.status_code": "404", "error.type": "404",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if s.Status().Code != codes.Error {
		t.Errorf("status %v", s.Status())
	}
	failed := errors.New("refused")
	if _, err := Send(ctx, func(*http.Request) (*http.Response, error) { return nil, failed }, req, ""); err != failed {
		t.Error(err)
	}
}

func TestARequestOutsideATraceIsSentAsItIs(t *testing.T) {
	req := from("00-" + callersTrace + "-" + callersSpan + "-01")
	_, err := Send(t.Context(), func(r *http.Request) (*http.Response, error) {
		if r != req {
			t.Error("another request")
		}
		return nil, nil
	}, req, "")
	if err != nil {
		t.Error(err)
	}
}

func TestTextIsBoundedAndValid(t *testing.T) {
	tr, spans := tracer(t)
	ctx, root := tr.Request(from(""), trusting(false))
	_, span := Start(ctx, "x")
	span.String("long", strings.Repeat("a", maxText-1)+"ö")
	span.Event("\xff")
	span.End()
	root.End()
	got := attributes(spans.Ended()[0])["long"]
	if len(got) > maxText+2 || !strings.HasSuffix(got, "a\uFFFD") {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-4:])
	}
	if e := spans.Ended()[0].Events()[0].Name; e != "\uFFFD" {
		t.Errorf("%q", e)
	}
}

// untraced is what a request does that nobody traces.
func untraced(ctx context.Context, t *Tracer, r *http.Request, send func(*http.Request) (*http.Response, error)) {
	_, root := t.Request(r, nil)
	for range 5 { // authenticate, decide, call, capability, its decision
		c, span := Start(ctx, "x")
		span.String("key", "value")
		if ID(c) != "" {
			panic("it is traced")
		}
		span.End()
	}
	_, _ = Send(ctx, send, r, "dev")
	root.End()
}

// deep is a context with as many values as one of a capability call.
func deep(ctx context.Context) context.Context {
	for i := range 12 {
		ctx = context.WithValue(ctx, new(i), i)
	}
	return ctx
}

func TestWhatNobodyTracesAllocatesNothing(t *testing.T) {
	ctx, r := deep(t.Context()), from("00-"+callersTrace+"-"+callersSpan+"-01")
	send := func(*http.Request) (*http.Response, error) { return nil, nil }
	if n := testing.AllocsPerRun(100, func() { untraced(ctx, nil, r, send) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUntraced(b *testing.B) {
	ctx, r := deep(b.Context()), from("00-"+callersTrace+"-"+callersSpan+"-01")
	send := func(*http.Request) (*http.Response, error) { return nil, nil }
	b.ReportAllocs()
	for b.Loop() {
		untraced(ctx, nil, r, send)
	}
}

// The span of a session lives for hours, and a guest's line, or the frame that a name is a
// part of, is larger than what is kept of it.
func TestASpanKeepsNoMoreThanItsText(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 8*maxText), strings.Repeat("x", 10)} {
		if got := clipped(text); len(got) != min(len(text), maxText) || unsafe.StringData(got) == unsafe.StringData(text) {
			t.Errorf("a text of %d bytes is kept as a part of it", len(text))
		}
	}
}
