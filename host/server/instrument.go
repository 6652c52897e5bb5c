package server

import (
	"context"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// Instrument connects a tool to a host that runs in the tool's own process, such as
// `bulkhead plugin dev`. A nil function, and a nil Instrument, changes nothing. The
// functions are called concurrently; the context of each belongs to the request that
// Handler has passed on.
type Instrument struct {
	// Adjust changes each configuration after it was read and checked.
	Adjust func(*Config) error
	// Handler returns the handler of the listener, around the host's own.
	Handler func(http.Handler) http.Handler
	// Provider returns what carries out the calls of a capability instead of the host's
	// own provider. Grants and policy apply before it is asked.
	Provider func(capability.Provider) capability.Provider
	// Decided is told each decision about a request or a capability call.
	Decided func(context.Context, *host.Question, host.Decision)
	// Exchanged is told each capability call with its outcome; see
	// capability.Broker.Observe.
	Exchanged func(context.Context, *capability.Exchange)
	// Called is told what each unary call of a plugin has used.
	Called func(context.Context, plugin.Usage)
}

func (c *Config) adjust() error {
	if i := c.Instrument; i != nil && i.Adjust != nil {
		return i.Adjust(c)
	}
	return nil
}

func (i *Instrument) handler(h http.Handler) http.Handler {
	if i == nil || i.Handler == nil {
		return h
	}
	return i.Handler(h)
}

func (i *Instrument) provider(p capability.Provider) capability.Provider {
	if i == nil || i.Provider == nil {
		return p
	}
	return i.Provider(p)
}

func (i *Instrument) decided(ctx context.Context, q *host.Question, d host.Decision) {
	if i != nil && i.Decided != nil {
		i.Decided(ctx, q, d)
	}
}

func (i *Instrument) exchanged() func(context.Context, *capability.Exchange) {
	if i == nil {
		return nil
	}
	return i.Exchanged
}

func (i *Instrument) called() func(context.Context, plugin.Usage) {
	if i == nil {
		return nil
	}
	return i.Called
}
