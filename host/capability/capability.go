package capability

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Caller is the user and the route that a plugin acts for, fixed for one plugin call or
// session.
type Caller struct {
	Plugin    string // the instance's name
	Principal *host.Principal
	Route     host.Route
	Resource  host.Resource
	// Obligations are those of the route's decision. Its Namespaces and
	// ResourceGroups narrow every call that has these dimensions, in addition to the
	// obligations of the call's own decision; the gateway enforces the others.
	Obligations host.Obligations
	Reason      string // the reason that the user states; see host.Question
	Authority   host.Authority
	// Hold makes the caller's session depend on the decision that opened a stream,
	// until release is called; its error is why the session has ended. If Hold is
	// nil, the decision is not asked for again.
	Hold func(q *host.Question, allowed host.Obligations) (release func(), err error)
	// Outlive opens another session of the same user, for work that goes on after the
	// call: it ends with the login, and when policy no longer permits the route or q.
	// target is shown in session lists. Nil: no work outlives the call.
	Outlive   func(target string, q *host.Question) (Session, error)
	RequestID string
	Logger    *slog.Logger

	waits    waits
	failures atomic.Int64 // of its calls that were logged
}

// Session is a user's session that a capability's work runs in.
type Session interface {
	host.Authority
	Context() context.Context // ends with the session
	Close()                   // once the work is done
}

// RetryAfter returns how long to wait according to the last upstream that refused a
// call of this caller with that status, as the guest saw it; 0 if it did not say. Frames
// do not contain it, so a plugin can pass such a refusal on without knowing of it.
func (c *Caller) RetryAfter(status int) time.Duration { return c.waits.of(status) }

// Permit is one allowed call, with the request that policy saw.
type Permit struct {
	Caller *Caller
	Prepared
	Decision    string           // the id of the call's own decision
	Obligations host.Obligations // of that decision
	// Narrowing limits a call that spans namespaces or resource groups; see Kind.Spans.
	Narrowing Narrowing
	// Correlation joins the requests that are sent for the call; never nil. The context of
	// Fetch, Open and Splice has it.
	Correlation *host.Correlation

	revision uint64 // of the policy that decided
	effect   *effect
	question *host.Question // the question that was decided
	granted  *Granted       // the plugin's; nil: Also refuses
	entry    granted
}

// Outlive returns a permit for carrying out p's call after the call of the plugin has been
// answered, and its session, which must be closed. It asks policy again. The error is of
// kind Unprocessable if the caller does not support it.
func (p *Permit) Outlive(target string) (*Permit, Session, error) {
	c := p.Caller
	if c.Outlive == nil {
		return nil, nil, host.E(host.Unprocessable, p.Call.Name, "this call cannot go on in the background")
	}
	s, err := c.Outlive(target, p.question)
	if err != nil {
		return nil, nil, err
	}
	if p.effect != nil {
		p.effect.outlives = true
	}
	longer := *p
	longer.Caller = &Caller{
		Plugin: c.Plugin, Principal: c.Principal, Route: c.Route, Resource: c.Resource, Obligations: c.Obligations,
		Reason: c.Reason, Authority: s, RequestID: c.RequestID, Logger: c.Logger,
	}
	return &longer, s, nil
}

// Provider carries out the calls of one capability. It is safe for concurrent
// use.
type Provider interface {
	// Kind describes the capability; it always returns the same Kind.
	Kind() *Kind
	// Fetch makes the call that p permits: it carries out p.Payload, which
	// Kind.Classify made, and reads nothing else from the guest.
	Fetch(ctx context.Context, p *Permit) (*abi.Response, error)
}

// Opener is a Provider whose Kind has streams. It meets MaxSession, Idle and Record of
// Permit.Obligations, or refuses the call.
type Opener interface {
	Open(ctx context.Context, p *Permit) (Stream, error)
}

// Stream is an upstream that the host splices to the client.
type Stream interface {
	// Subprotocols returns the websocket subprotocols that Splice supports, the
	// preferred one first. The upgrade is answered with the first of them that the
	// client offers; Splice refuses a client that offers none.
	Subprotocols() []string
	// MaxMessage returns how many bytes of a client's message the socket should
	// read; 0 means the socket's own limit. The socket may close with 1009 for a
	// longer message. A shorter message that is too long for the protocol is answered
	// by Splice.
	MaxMessage() int
	// Splice moves data until either side or ctx ends, and has closed the upstream
	// when it returns. It is called once.
	//
	// If the upstream ended or the client violated the protocol, Splice has informed
	// and closed the client. If ctx ended, authority was lost, a limit was reached
	// (host.ErrTooLong, host.ErrIdle) or the client went away, Splice returns that
	// cause, and the caller closes the client. A Read of the client may still be in
	// progress then; closing ends it.
	Splice(ctx context.Context, c Client) error
	// Close releases a stream that is not spliced. It may be called repeatedly.
	Close() error
}

// Client is the user's end of a socket. At most one goroutine reads and one writes at a
// time; Close may be called at any time and ends both.
type Client interface {
	Subprotocol() string
	Read() (binary bool, data []byte, err error)
	Write(binary bool, data []byte) error
	// Touch counts as use of the session, which can end when it is not used. Read and
	// Write do not count.
	Touch()
	Close(code int, reason string) error
}
