// Package trace records what a request spends its time with, as spans of OpenTelemetry.
//
// A Tracer begins the first span of a request, and Start the spans below it. If nobody
// traces, or the request is not sampled, Start returns its context and a nil Span: that
// costs one look-up in the context and allocates nothing. A span holds no user and no
// query; the request's id joins it with the log and the audit.
package trace

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	otel "go.opentelemetry.io/otel/trace"
)

const scope = "github.com/seed-a3fb47d6/bulkhead"

// maxText is the longest value of an attribute, and of an event, in bytes.
const maxText = 1 << 10

// w3c is https://www.w3.org/TR/trace-context/. Baggage is neither read nor sent.
var w3c = propagation.TraceContext{}

// Tracer begins traces. It is safe for concurrent use; a nil Tracer begins none.
type Tracer struct{ tracer otel.Tracer }

// New returns a Tracer whose spans p takes.
func New(p otel.TracerProvider) *Tracer { return &Tracer{p.Tracer(scope)} }

// Request begins the span of a request that a server has got, and returns the context for
// serving it. The traceparent of a request that is trusted is the span's parent, and says
// whether it is sampled; anybody else's becomes a link of a trace of its own.
func (t *Tracer) Request(r *http.Request, trusted func(*http.Request) bool) (context.Context, *Span) {
	ctx := r.Context()
	if t == nil {
		return ctx, nil
	}
	options := []otel.SpanStartOption{otel.WithSpanKind(otel.SpanKindServer)}
	if len(r.Header["Traceparent"]) > 0 {
		if caller := otel.SpanContextFromContext(w3c.Extract(ctx, propagation.HeaderCarrier(r.Header))); caller.IsValid() {
			if trusted(r) {
				ctx = otel.ContextWithRemoteSpanContext(ctx, caller)
			} else {
				options = append(options, otel.WithLinks(otel.Link{SpanContext: caller}))
			}
		}
	}
	ctx, span := t.tracer.Start(ctx, r.Method, options...)
	return ctx, recorded(span)
}

func recorded(s otel.Span) *Span {
	if !s.IsRecording() {
		return nil
	}
	return &Span{s}
}

// Start begins a span below the one in ctx. The caller must end it.
func Start(ctx context.Context, name string) (context.Context, *Span) {
	return start(ctx, name, otel.SpanKindInternal)
}

func start(ctx context.Context, name string, kind otel.SpanKind) (context.Context, *Span) {
	parent := otel.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, nil
	}
	ctx, span := parent.TracerProvider().Tracer(scope).Start(ctx, name, otel.WithSpanKind(kind))
	return ctx, recorded(span)
}

// Of returns the span in ctx, nil if it is not recorded. The caller must not end it.
func Of(ctx context.Context) *Span { return recorded(otel.SpanFromContext(ctx)) }

// ID returns the id of the sampled trace that ctx belongs to, 32 hexadecimal digits, or
// "".
func ID(ctx context.Context) string {
	c := otel.SpanContextFromContext(ctx)
	if !c.IsSampled() {
		return ""
	}
	return c.TraceID().String()
}

// Span is one span that is recorded. All methods do nothing with a nil Span, so that
// what has no span costs nothing.
type Span struct{ span otel.Span }

// Name renames the span.
func (s *Span) Name(name string) {
	if s != nil {
		s.span.SetName(name)
	}
}

// String sets an attribute; an empty value sets none.
func (s *Span) String(key, value string) {
	if s != nil && value != "" {
		s.span.SetAttributes(attribute.String(key, clipped(value)))
	}
}

// Int sets an attribute.
func (s *Span) Int(key string, value int64) {
	if s != nil {
		s.span.SetAttributes(attribute.Int64(key, value))
	}
}

// Bool sets an attribute.
func (s *Span) Bool(key string, value bool) {
	if s != nil {
		s.span.SetAttributes(attribute.Bool(key, value))
	}
}

// Event adds a line of text with the time of now.
func (s *Span) Event(text string) {
	if s != nil {
		s.span.AddEvent(clipped(text))
	}
}

// Fail marks the span as failed, for a reason that has few values: a status or a source.
func (s *Span) Fail(reason string) {
	if s != nil {
		s.span.SetAttributes(attribute.String("error.type", reason))
		s.span.SetStatus(codes.Error, "")
	}
}

// End ends the span.
func (s *Span) End() {
	if s != nil {
		s.span.End()
	}
}

// clipped is a copy of text within the bound, which keeps nothing that text is a part of: a span
// lives as long as its session, and waits for the exporter. It is in valid UTF-8: an exporter would lose all the spans
// that it sends together with one that is not.
func clipped(text string) string {
	return strings.Clone(strings.ToValidUTF8(text[:min(len(text), maxText)], "\uFFFD"))
}
