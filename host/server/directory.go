package server

import (
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

// openDirectory opens the directory of users, from files and from clusters. It is taken
// over as long as its own section and the clusters that it names are the same: a new one
// would know nobody of a cluster that does not answer now.
func (b *building) openDirectory() error {
	var read []cluster.Config
	for _, x := range b.config.Directory.Clusters {
		i := slices.IndexFunc(b.config.Clusters, func(c cluster.Config) bool { return c.Name == x.Name })
		read = append(read, b.config.Clusters[i]) // Directory.check has found it
	}
	people, p, err := partOf(b, "directory", []any{b.config.Directory, read}, nil, func() (*directory.Directory, func(), error) {
		return b.newDirectory(read)
	})
	if err == nil {
		b.people, b.peopleID = people, p.id
	}
	return err
}

// newDirectory opens a directory, which has a set of its own of the clusters that it
// reads.
func (b *building) newDirectory(read []cluster.Config) (_ *directory.Directory, _ func(), err error) {
	set, err := b.clusters.Reopen(b.life, read, b.log)
	if err != nil {
		return nil, nil, err
	}
	c := directory.Config{Dir: b.config.Directory.Files, Base: policies.Roles(), Replace: map[string][]string{}, Kinds: b.config.Catalog(), Logger: b.log}
	var followers []*cluster.Follower
	closeAll := func() {
		for _, f := range followers {
			f.Close()
		}
		set.Close()
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	for i, x := range b.config.Directory.Clusters {
		f, err := set.Follow(b.life, x.Name, x.Namespaces, directory.Resources()...)
		if err != nil {
			return nil, nil, config.At(fmt.Sprintf("directory.clusters[%d]", i), err)
		}
		followers = append(followers, f)
		c.Clusters = append(c.Clusters, followed{x.Name, f})
		c.Replace[x.Name] = x.ReplaceShippedRoles
	}
	people, err := directory.Open(b.life, c)
	if err != nil {
		return nil, nil, err
	}
	return people, func() {
		if err := people.Close(); err != nil {
			b.log.Warn("the directory was not closed in order", "error", err)
		}
		closeAll()
	}, nil
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

// persons is the directory of now. It implements authn.Directory.
type persons struct{ *base }

func (p persons) PersonOf(who *host.Principal) (authn.Person, bool) {
	x, ok := p.current.Load().people.PersonOf(who)
	return authn.Person{Name: x.Name, Roles: x.Roles, Teams: x.Teams}, ok
}

// Revision tells the revisions of one directory from those of another.
func (p persons) Revision() uint64 {
	rt := p.current.Load()
	return rt.peopleID<<40 ^ rt.people.Revision()
}
