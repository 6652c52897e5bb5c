package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	azlog "github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
	"github.com/google/uuid"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// timeout bounds a call, retries and pages included.
const timeout = 25 * time.Second

// silence prevents AZURE_SDK_GO_LOGGING from bypassing the host's log. It must run
// before anything else of the SDK.
var silence = sync.OnceFunc(func() { azlog.SetListener(nil) })

// Azure is the provider. Safe for concurrent use.
type Azure struct {
	kind      *capability.Kind
	instances map[string]*instance
	sealer    Sealer
	logger    *slog.Logger
}

// New makes the provider. The configuration has been checked. New opens the files that
// it names, and its errors name the field. It sends nothing. Call Close once.
func New(list []Config, sealer Sealer, logger *slog.Logger) (*Azure, error) {
	silence()
	a := &Azure{instances: map[string]*instance{}, kind: NewKind(list, sealer), sealer: sealer, logger: logger}
	var problems []error
	for i, c := range list {
		instance, err := newInstance(c, logger)
		if err != nil {
			problems = append(problems, fmt.Errorf("azure[%d]: %w", i, err))
			continue
		}
		a.instances[c.Name] = instance
	}
	return a, errors.Join(problems...)
}

// Close closes idle connections.
func (a *Azure) Close() {
	for _, i := range a.instances {
		i.client.CloseIdleConnections()
	}
}

// Kind returns the kind of NewKind.
func (a *Azure) Kind() *capability.Kind { return a.kind }

// Fetch makes the call. Refusals of Azure are errors that keep its status, its
// code and the correlation id.
func (a *Azure) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	q := p.Payload.(*request)
	i := a.instances[q.instance]
	if i == nil {
		return nil, host.E(host.NotFound, name, "the instance does not exist")
	}
	s := &session{instance: i, auth: p.Caller.Authority, correlation: uuid.NewString(), logger: p.Caller.Logger}
	if s.logger == nil {
		s.logger = a.logger
	}
	host.CorrelationOf(ctx).Answered(s.correlation) // Azure's activity log has it
	switch q.shape {
	case pages:
		return s.list(ctx, q, p.Narrowing)
	case costs:
		return s.costs(ctx, q, p.Narrowing)
	case action:
		return s.change(ctx, a, q)
	case state:
		return s.state(ctx, q)
	}
	return s.get(ctx, q)
}

func (s *session) get(ctx context.Context, q *request) (*abi.Response, error) {
	got, err := s.do(ctx, http.MethodGet, s.url(q.wire(q.names), q.wireQuery()), nil)
	if err != nil {
		return nil, err
	}
	return &abi.Response{Status: got.status, Header: asJSON, Body: got.body}, nil
}

var asJSON = []abi.Pair{{Name: "Content-Type", Value: "application/json"}}

func reply(v any) (*abi.Response, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &abi.Response{Status: http.StatusOK, Header: asJSON, Body: body}, nil
}
