package capability

import (
	"context"
	"log/slog"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Caller is for whom a plugin acts, fixed for one plugin call or session.
type Caller struct {
	Plugin    string // the instance's name
	Principal *host.Principal
	Route     host.Route
	Resource  host.Resource
	// Obligations of the route's decision. Its Namespaces and ResourceGroups
	// narrow every call that is about one, as those of the call's own decision do;
	// the rest is the route's to enforce.
	Obligations host.Obligations
	Reason      string // what the person states; see host.Question
	Authority   host.Authority
	// Stand makes the caller's session live by the decision that opened a
	// stream, until leave is called; its error is why the session has ended. Nil
	// where nobody asks again.
	Stand     func(q *host.Question, allowed host.Obligations) (leave func(), err error)
	RequestID string
	Logger    *slog.Logger

	waits waits
}

// RetryAfter is how long the last upstream that refused a call of this caller with
// that status, as the guest saw it, asked to wait; 0: none did. Frames do not carry
// it: a plugin that hands such a refusal on need not know of it.
func (c *Caller) RetryAfter(status int) time.Duration { return c.waits.of(status) }

// Permit is one allowed call, with the request that policy saw.
type Permit struct {
	Caller *Caller
	Prepared
	Decision    string           // the id of the call's own decision
	Obligations host.Obligations // of that decision
	// Within narrows a call that spans namespaces or resource groups; see Kind.Spans.
	Within Within

	question *host.Question // that Obligations answer
	granted  *Granted       // whose call it is; nil: Also refuses
	entry    granted
}

// Provider carries out the calls of one capability. It is safe for concurrent
// use.
type Provider interface {
	// Kind describes the capability. It is always the same.
	Kind() *Kind
	// Fetch makes the call that p permits: it carries out p.Payload, which the
	// Kind's Classify made, and reads nothing of the guest's besides.
	Fetch(ctx context.Context, p *Permit) (*abi.Response, error)
}

// Opener is a Provider whose Kind has streams. It honours what Permit.Obligations
// says of sessions, MaxSession, Idle and Record, or refuses.
type Opener interface {
	Open(ctx context.Context, p *Permit) (Stream, error)
}

// Stream is an upstream that the host splices to the client.
type Stream interface {
	// Subprotocols are the websocket subprotocols that Splice speaks, the
	// preferred one first. The upgrade is answered with the first of them that
	// the client offers; Splice refuses a client without one that it speaks.
	Subprotocols() []string
	// MaxMessage is how many bytes a message of the client may have; 0 leaves it
	// to the socket's own limit. The socket should not read more of one and may
	// end with its own 1009; a message between what the protocol takes and this
	// is answered by Splice.
	MaxMessage() int
	// Splice moves data until either side ends or ctx does, and has closed the
	// upstream when it returns. It is called once.
	//
	// When the upstream ended, or the client broke the protocol, Splice has told
	// and closed the client. When ctx ended, authority was lost, a limit was
	// reached (host.ErrTooLong, host.ErrIdle) or the client went away, it returns
	// that cause and the caller closes the client. A Read of the client may still
	// be under way then; closing ends it.
	Splice(ctx context.Context, c Client) error
	// Close releases a stream that is not spliced. It may be called repeatedly.
	Close() error
}

// Client is the person's end of a socket. One goroutine reads and one writes
// at a time; Close may be called at any time and ends both.
type Client interface {
	Subprotocol() string
	Read() (binary bool, data []byte, err error)
	Write(binary bool, data []byte) error
	Close(code int, reason string) error
}
