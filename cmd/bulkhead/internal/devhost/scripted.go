package devhost

import (
	"context"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// stub is a provider whose calls a tool answers. What precedes a call is the host's own:
// classifying it, grants, policy.
type stub struct {
	kind   *capability.Kind
	answer func(context.Context, *capability.Exchange)
}

// asked is a request with what the host's provider would carry out.
type asked struct{ request *abi.Request }

// scripted returns a provider in place of p.
func scripted(p capability.Provider, answer func(context.Context, *capability.Exchange)) capability.Provider {
	kind := *p.Kind()
	classify := kind.Classify
	kind.Classify = func(r *abi.Request) (capability.Prepared, error) {
		prepared, err := classify(r)
		prepared.Payload = asked{r}
		return prepared, err
	}
	return &stub{&kind, answer}
}

func (s *stub) Kind() *capability.Kind { return s.kind }

func (s *stub) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	x := &capability.Exchange{Plugin: p.Caller.Plugin, Capability: s.kind.Name, Request: p.Payload.(asked).request}
	s.answer(ctx, x)
	return x.Response, x.Err
}

// Open implements capability.Opener.
func (s *stub) Open(context.Context, *capability.Permit) (capability.Stream, error) {
	return nil, host.E(host.Unavailable, s.kind.Name, "streams cannot be scripted")
}
