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
	"github.com/seed-a3fb47d6/bulkhead/host/internal/azurename"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// timeout bounds a call, retries and pages included.
const timeout = 25 * time.Second

// silence keeps AZURE_SDK_GO_LOGGING from writing past the host's log. The SDK
// wants it done before anything else.
var silence = sync.OnceFunc(func() { azlog.SetListener(nil) })

// Azure is the capability. Safe for concurrent use.
type Azure struct {
	instances map[string]*instance
	names     []string // of the instances, sorted
	sealer    Sealer
	logger    *slog.Logger
}

// New makes the capability. The configuration has been checked; files that it
// names are opened here, and an error names the field. Nothing is sent. Close
// it once.
func New(list []Config, sealer Sealer, logger *slog.Logger) (*Azure, error) {
	silence()
	a := &Azure{instances: map[string]*instance{}, names: names(list), sealer: sealer, logger: logger}
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

// Unopened knows list's instances by name and none of their files: grants can be
// checked by it, and nothing called.
func Unopened(list []Config) *Azure { return &Azure{names: names(list)} }

// Close gives idle connections up.
func (a *Azure) Close() {
	for _, i := range a.instances {
		i.client.CloseIdleConnections()
	}
}

// Name is "azure".
func (*Azure) Name() string { return name }

// Dimensions of a grant: instances, resources, resource groups, verbs.
func (a *Azure) Dimensions() []capability.Dimension {
	return []capability.Dimension{
		{Name: capability.Instances, Values: a.names}, {Name: capability.Resources, Values: azurename.Kinds},
		{Name: capability.ResourceGroups}, {Name: capability.Verbs, Values: azurename.Verbs},
	}
}

// Classify reads the request.
func (a *Azure) Classify(r *abi.Request) (host.CapabilityCall, error) {
	q, err := a.parse(r)
	if err != nil {
		return host.CapabilityCall{}, err
	}
	return q.call(), nil
}

// Spans says that lists and costs over all resource groups are narrowed here.
func (*Azure) Spans(host.CapabilityCall) string { return capability.ResourceGroups }

// Fetch makes the call. Refusals of Azure are errors that keep its status, its
// code and the correlation id.
func (a *Azure) Fetch(ctx context.Context, p *capability.Permit, r *abi.Request) (*abi.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	q, err := a.parse(r)
	if err != nil {
		return nil, err
	}
	i := a.instances[q.instance]
	if i == nil {
		return nil, host.E(host.NotFound, name, "there is no such instance")
	}
	s := &session{instance: i, auth: p.Caller.Authority, correlation: uuid.NewString(), logger: p.Caller.Logger}
	if s.logger == nil {
		s.logger = a.logger
	}
	switch q.shape {
	case pages:
		return s.list(ctx, q, p.Within)
	case costs:
		return s.costs(ctx, q, p.Within)
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
