package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
)

// Config names one cluster.
type Config struct {
	Name       string `json:"name"`       // name in routes, grants and permissions
	Kubeconfig string `json:"kubeconfig"` // file name
	Context    string `json:"context"`    // the file's current context if empty
	// WaitForKubeconfig lets the host start before the file exists, or before its
	// API server answers. Until then the cluster is "starting".
	WaitForKubeconfig bool `json:"waitForKubeconfig"`
}

// Status is the readiness of one cluster.
type Status struct {
	Name   string `json:"name"`
	Ready  bool   `json:"ready"`
	Detail string `json:"detail,omitempty"` // why not
}

// Set is the configured clusters. It is safe for concurrent use.
type Set struct {
	members map[string]*member
	order   []string
	stop    context.CancelFunc
	running sync.WaitGroup
}

// CheckConfigs returns all errors in configs, each with its field, such as
// "clusters[0].name". It opens no files.
func CheckConfigs(configs []Config) error {
	var problems []error
	seen := map[string]bool{}
	for i, c := range configs {
		if len(c.Name) > dnsname.MaxLabel || !dnsname.IsSubdomain(c.Name) {
			problems = append(problems, fmt.Errorf("clusters[%d].name: %q must be a lower-case DNS name of at most 63 characters", i, c.Name))
		} else if seen[c.Name] {
			problems = append(problems, fmt.Errorf("clusters[%d].name: %q is used twice", i, c.Name))
		}
		if c.Kubeconfig == "" {
			problems = append(problems, fmt.Errorf("clusters[%d].kubeconfig: is required", i))
		}
		seen[c.Name] = true
	}
	return errors.Join(problems...)
}

// Open reads every kubeconfig and watches the clusters until ctx ends or Close
// is called. The error names all invalid fields, such as "clusters[0].kubeconfig".
func Open(ctx context.Context, configs []Config, logger *slog.Logger) (*Set, error) {
	if err := CheckConfigs(configs); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &Set{members: map[string]*member{}, stop: stop}
	var problems []error
	for i, c := range configs {
		m, err := newMember(c, fmt.Sprintf("clusters[%d]", i), logger)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		s.members[c.Name] = m
		s.order = append(s.order, c.Name)
	}
	if len(problems) > 0 {
		stop()
		return nil, errors.Join(problems...)
	}
	for _, m := range s.members {
		s.running.Go(func() { m.watch(ctx) })
	}
	return s, nil
}

// Close stops watching and ends the connections of requests in progress. End the
// sessions that hold clients first; commands in containers end with those.
func (s *Set) Close() {
	s.stop()
	s.running.Wait()
	for _, m := range s.members {
		if e := m.current.Load(); e != nil {
			e.close()
		}
	}
}

// Ready returns the status of every cluster, in the order of the configuration.
func (s *Set) Ready() []Status {
	list := make([]Status, 0, len(s.order))
	for _, name := range s.order {
		list = append(list, s.members[name].status())
	}
	return list
}

// As returns a client that sends requests to cluster as user. The end of ctx ends all
// its requests; auth is checked before each request and while its answer is read.
//
// Errors: host.Forbidden for an identity that must not be impersonated,
// host.NotFound for an unknown cluster, host.Unavailable for one that is
// starting, and auth's cause if it is lost.
func (s *Set) As(ctx context.Context, cluster string, user *host.Impersonation, auth host.Authority) (*Client, error) {
	if err := admissible(user); err != nil {
		return nil, err
	}
	if auth == nil {
		return nil, &host.Error{Kind: host.Forbidden, Op: op, Message: "no authority"}
	}
	if !auth.Alive() {
		return nil, lost(auth)
	}
	m := s.members[cluster]
	if m == nil {
		return nil, host.E(host.NotFound, op, "there is no cluster %q", cluster)
	}
	e, err := m.endpoint()
	if err != nil {
		return nil, err
	}
	return newClient(ctx, e, user, auth), nil
}

const op = "cluster"
