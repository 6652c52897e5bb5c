package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
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
	// SharedWatches are the resources, such as "applications.argoproj.io", or "*.GROUP"
	// for all of a group, and "releases.helm.sh", that the host itself lists and watches
	// for all users, who get what the cluster lets each of them list. The host's own
	// identity needs list and watch on them (on secrets for releases.helm.sh). Without
	// an entry, each user's watch is the user's own.
	SharedWatches []string `json:"sharedWatches"`
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
	close   sync.Once
}

// CheckConfigs adds all problems of configs to bad, which is at the list. It opens no
// files.
func CheckConfigs(bad *config.Problems, configs []Config) {
	seen := map[string]bool{}
	for i, c := range configs {
		bad := bad.Index("", i)
		if len(c.Name) > dnsname.MaxLabel || !dnsname.IsSubdomain(c.Name) {
			bad.Add("name", "%q must be a lower-case DNS name of at most 63 characters", c.Name)
		} else if seen[c.Name] {
			bad.Add("name", "%q is used twice", c.Name)
		}
		checkShared(bad, c.SharedWatches)
		if c.Kubeconfig == "" {
			bad.Add("kubeconfig", "is required")
		}
		seen[c.Name] = true
	}
}

func checkShared(bad *config.Problems, names []string) {
	for i, name := range names {
		switch plain := strings.TrimPrefix(name, "*."); {
		case name == "secrets":
			bad.Add("sharedWatches", "the host keeps no Secrets of others; for Helm's releases, name releases.helm.sh")
		case !dnsname.IsSubdomain(plain):
			bad.Add("sharedWatches", "%q must be RESOURCE.GROUP, RESOURCE of the core group, *.GROUP or releases.helm.sh", name)
		case slices.Contains(names[:i], name):
			bad.Add("sharedWatches", "%q is there twice", name)
		}
	}
}

// same reports whether both describe the same cluster, so that one member serves both.
func (c *Config) same(other *Config) bool { return reflect.DeepEqual(c, other) }

// Open reads every kubeconfig and watches the clusters until ctx ends or Close
// is called. The error names all invalid fields, such as "clusters[0].kubeconfig".
func Open(ctx context.Context, configs []Config, logger *slog.Logger) (*Set, error) {
	return new(Set).Reopen(ctx, configs, logger)
}

// Reopen is Open for a configuration that comes after that of s, which must not be
// closed yet. Clusters whose entry is the same are shared by both sets, with their
// connections, until both are closed; they were opened with the ctx of the earlier one.
func (s *Set) Reopen(ctx context.Context, configs []Config, logger *slog.Logger) (*Set, error) {
	var bad config.Problems
	if CheckConfigs(bad.At("clusters"), configs); bad.Err() != nil {
		return nil, bad.Err()
	}
	next := &Set{members: map[string]*member{}}
	var problems []error
	var fresh []*member
	for i, c := range configs {
		m := s.members[c.Name]
		if m == nil || !m.config.same(&c) {
			var err error
			if m, err = newMember(c, fmt.Sprintf("clusters[%d]", i), logger); err != nil {
				problems = append(problems, err)
				continue
			}
			fresh = append(fresh, m)
		}
		next.members[c.Name] = m
		next.order = append(next.order, c.Name)
	}
	if len(problems) > 0 {
		for _, m := range fresh {
			m.close()
		}
		return nil, errors.Join(problems...)
	}
	for _, m := range fresh {
		m.start(ctx)
	}
	for _, m := range next.members {
		m.sets.Add(1)
	}
	return next, nil
}

// Close stops watching the clusters that no other set shares, and ends the connections
// of requests to them. End the sessions that hold clients first; commands in containers
// end with those. It may be called repeatedly.
func (s *Set) Close() {
	s.close.Do(func() {
		for _, m := range s.members {
			if m.sets.Add(-1) == 0 {
				m.close()
			}
		}
	})
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
