package devhost

import (
	"context"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// provider stands between the host and a provider. What precedes a call is the host's own:
// classifying it, grants, policy.
type provider struct {
	inner   capability.Provider
	kind    *capability.Kind
	options *Options
}

// asked is a request with what the inner provider carries out.
type asked struct {
	request *abi.Request
	payload any
}

func between(p capability.Provider, o *Options) capability.Provider {
	kind := *p.Kind()
	classify := kind.Classify
	kind.Classify = func(r *abi.Request) (capability.Prepared, error) {
		prepared, err := classify(r)
		prepared.Payload = asked{r, prepared.Payload}
		return prepared, err
	}
	return &provider{p, &kind, o}
}

func (s *provider) Kind() *capability.Kind { return s.kind }

func (s *provider) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	a := p.Payload.(asked)
	x := &capability.Exchange{Plugin: p.Caller.Plugin, Capability: s.kind.Name, Request: a.request}
	if s.options.Answer != nil {
		s.options.Answer(ctx, x)
		return x.Response, x.Err
	}
	permit, began := *p, time.Now()
	permit.Payload = a.payload
	x.Response, x.Err = s.inner.Fetch(ctx, &permit)
	x.Took = time.Since(began)
	s.options.Answered(ctx, x)
	return x.Response, x.Err
}

// Open implements capability.Opener.
func (s *provider) Open(ctx context.Context, p *capability.Permit) (capability.Stream, error) {
	opener, ok := s.inner.(capability.Opener)
	if !ok || s.options.Answer != nil {
		return nil, host.E(host.Unavailable, s.kind.Name, "streams cannot be scripted")
	}
	permit := *p
	permit.Payload = p.Payload.(asked).payload
	return opener.Open(ctx, &permit)
}
