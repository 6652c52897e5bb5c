package server

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

// Directory is the source of users, teams and roles: files, custom resources, or
// both.
type Directory struct {
	Files    string             `json:"files,omitempty"`    // directory of YAML files
	Clusters []DirectoryCluster `json:"clusters,omitempty"` // clusters whose custom resources are entries
}

// DirectoryCluster is a cluster whose custom resources are entries. A writer of
// custom resources in its namespaces can give any rights to any user.
type DirectoryCluster struct {
	Name       string   `json:"name"`       // name of a cluster in clusters
	Namespaces []string `json:"namespaces"` // the only namespaces that are read
	// ReplaceShippedRoles lists the namespaces, of those above, whose Roles may replace
	// roles that ship with the host (viewer, editor, admin, breakglass). In other
	// namespaces a Role with such a name is left out.
	ReplaceShippedRoles []string `json:"replaceShippedRoles,omitempty"`
}

func (d *Directory) check(bad *config.Problems, clusters []cluster.Config) {
	if d.Files == "" && len(d.Clusters) == 0 {
		bad.Add("files", "is required without directory.clusters; set one of them")
	}
	seen := map[string]bool{}
	for i, x := range d.Clusters {
		at := bad.Index("clusters", i)
		if !slices.ContainsFunc(clusters, func(c cluster.Config) bool { return c.Name == x.Name }) {
			at.Add("name", "%q is not the name of a cluster in clusters", x.Name)
		}
		if seen[x.Name] {
			at.Add("name", "%q is listed twice; list all its namespaces in one entry", x.Name)
		}
		seen[x.Name] = true
		if len(x.Namespaces) == 0 {
			at.Add("namespaces", "is required; list the namespaces to read entries from")
		}
		for j, ns := range x.Namespaces {
			if !dnsname.IsLabel(ns) {
				at.Index("namespaces", j).Add("", "%q is not a valid namespace name", ns)
			} else if slices.Index(x.Namespaces, ns) != j {
				at.Index("namespaces", j).Add("", "%q is listed twice", ns)
			}
		}
		for j, ns := range x.ReplaceShippedRoles {
			if !slices.Contains(x.Namespaces, ns) {
				at.Index("replaceShippedRoles", j).Add("", "%q must be one of namespaces", ns)
			}
		}
	}
}

// openDirectory opens the directory of users, from files and from clusters.
func (s *Server) openDirectory(ctx context.Context) error {
	c := directory.Config{Dir: s.config.Directory.Files, Base: policies.Roles(), Replace: map[string][]string{}, Kinds: s.config.Catalog(), Logger: s.log}
	for i, x := range s.config.Directory.Clusters {
		f, err := s.clusters.Follow(ctx, x.Name, x.Namespaces, directory.Resources()...)
		if err != nil {
			return fmt.Errorf("directory.clusters[%d]: %w", i, err)
		}
		s.closing(func(context.Context) error { f.Close(); return nil })
		c.Clusters = append(c.Clusters, followed{x.Name, f})
		c.Replace[x.Name] = x.ReplaceShippedRoles
	}
	var err error
	if s.people, err = directory.Open(ctx, c); err != nil {
		return err
	}
	s.closing(func(context.Context) error { return s.people.Close() })
	return nil
}

// followed adapts a cluster's custom resources to directory.Source.
type followed struct {
	name string
	*cluster.Follower
}

func (f followed) Cluster() string { return f.name }

func (f followed) Objects() ([]directory.Object, bool) {
	list, known := f.Follower.Objects()
	out := make([]directory.Object, len(list))
	for i, o := range list {
		out[i] = directory.Object(o)
	}
	return out, known
}

// persons adapts the directory to authn.Directory.
type persons struct{ *directory.Directory }

func (p persons) PersonOf(who *host.Principal) (authn.Person, bool) {
	x, ok := p.Directory.PersonOf(who)
	return authn.Person{Name: x.Name, Roles: x.Roles, Teams: x.Teams}, ok
}
