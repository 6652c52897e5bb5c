package capability

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Unreachable is a namespace that a list over several namespaces could not read.
type Unreachable struct {
	Namespace string `json:"namespace"`
	Status    int    `json:"status"` // as HTTP has it: 403
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"`
}

// Partial collects the namespaces that a list over several could not read, so that a
// forbidden namespace does not hide the others. Safe for concurrent use.
type Partial struct {
	all   int
	mu    sync.Mutex
	by    map[string]Unreachable
	first error
}

// NewPartial makes a Partial for a list over the given number of namespaces.
func NewPartial(all int) *Partial { return &Partial{all: all, by: map[string]Unreachable{}} }

// Without records that the cluster refuses to show the namespace, and returns nil. It
// returns any other error, such as lost authority or an unreachable cluster, because
// that does not concern the one namespace.
func (p *Partial) Without(namespace string, err error) error {
	e, ok := errors.AsType[*host.Error](err)
	if !ok || e.Kind != host.Forbidden || e.Status == 0 { // without a status it is the host's own refusal
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == nil {
		p.first = err
	}
	p.by[namespace] = Unreachable{Namespace: namespace, Status: e.HTTPStatus(), Message: e.Public(), Detail: e.Detail}
	return nil
}

// Result returns the namespaces that were not read, sorted. If no namespace was read, it
// returns the first error instead.
func (p *Partial) Result() ([]Unreachable, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.by) > 0 && len(p.by) >= p.all {
		return nil, p.first
	}
	return slices.SortedFunc(maps.Values(p.by), func(a, b Unreachable) int { return strings.Compare(a.Namespace, b.Namespace) }), nil
}
