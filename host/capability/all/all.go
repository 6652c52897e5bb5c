// Package all lists the capabilities of this host: their kinds, their configuration and
// how their providers are opened. A new capability is a folder beside this one and a
// line in entries; its configuration, if it has any, is a key of Config.
package all

import (
	"log/slog"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/git"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/helm"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/http"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/kube"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/pods"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
)

// Config is the keys of the host's configuration that belong to capabilities.
type Config struct {
	Helm  helm.Config    `json:"helm,omitzero"`
	Azure []azure.Config `json:"azure,omitempty"` // subscriptions that the azure capability reaches
	Git   []git.Config   `json:"git,omitempty"`   // repositories that the git capability reads
	HTTP  []http.Config  `json:"http,omitempty"`  // services that the http capability sends requests to
}

// Check adds everything that is wrong to bad, which is at the root. Nothing is opened.
func (c *Config) Check(bad *config.Problems) {
	c.Helm.Check(bad.At("helm"))
	azure.CheckConfigs(bad.At("azure"), c.Azure)
	git.CheckConfigs(bad.At("git"), c.Git)
	http.CheckConfigs(bad.At("http"), c.HTTP)
}

// Paths are the fields that name files.
func (c *Config) Paths() []*string {
	paths := c.Helm.Paths()
	for i := range c.Azure {
		paths = append(paths, c.Azure[i].Paths()...)
	}
	for i := range c.Git {
		paths = append(paths, c.Git[i].Paths()...)
	}
	for i := range c.HTTP {
		paths = append(paths, c.HTTP[i].Paths()...)
	}
	return paths
}

// Host is the parts of the host that providers use.
type Host struct {
	Clusters   *cluster.Set
	Recordings *recording.Store
	Sealer     azure.Sealer
	Judge      helm.Judge // of Kubewarden's policies
	Data       string     // the host's data directory
	Logger     *slog.Logger
}

// entries are the capabilities, each with its section of Config. The last one claims
// every question in words that no other claims.
var entries = []struct {
	kind    func(*Config) *capability.Kind
	section func(*Config) any
	uses    uses
	open    func(*Config, *Host) (capability.Provider, error)
}{
	{func(*Config) *capability.Kind { return pods.NewKind() }, nil, clusters | recordings, func(_ *Config, h *Host) (capability.Provider, error) {
		return pods.New(pods.NewKind(), h.Clusters, h.Recordings), nil
	}},
	{func(*Config) *capability.Kind { return pods.NewAlias() }, nil, clusters | recordings, func(_ *Config, h *Host) (capability.Provider, error) {
		return pods.New(pods.NewAlias(), h.Clusters, h.Recordings), nil
	}},
	{func(*Config) *capability.Kind { return helm.NewKind() }, func(c *Config) any { return c.Helm }, clusters, func(c *Config, h *Host) (capability.Provider, error) {
		return helm.New(c.Helm, h.Clusters, h.Judge, h.Logger)
	}},
	{func(c *Config) *capability.Kind { return azure.NewKind(c.Azure, nil) }, func(c *Config) any { return c.Azure }, 0, func(c *Config, h *Host) (capability.Provider, error) { return azure.New(c.Azure, h.Sealer, h.Logger) }},
	{func(c *Config) *capability.Kind { return git.NewKind(c.Git) }, func(c *Config) any { return c.Git }, 0, func(c *Config, h *Host) (capability.Provider, error) { return git.New(c.Git, h.Data, h.Logger) }},
	{func(c *Config) *capability.Kind { return http.NewKind(c.HTTP) }, func(c *Config) any { return c.HTTP }, 0, func(c *Config, h *Host) (capability.Provider, error) { return http.New(c.HTTP, h.Logger) }},
	{func(*Config) *capability.Kind { return kube.NewKind() }, nil, clusters, func(_ *Config, h *Host) (capability.Provider, error) { return kube.New(h.Clusters), nil }},
}

// Catalog returns the kinds of a host with this configuration, which need not have been
// checked. It opens nothing.
func (c *Config) Catalog() *capability.Catalog {
	var kinds []*capability.Kind
	for _, e := range entries {
		kinds = append(kinds, e.kind(c))
	}
	return capability.NewCatalog(kinds...)
}

// uses is what of a Host that a configuration describes a provider uses.
type uses uint8

const (
	clusters uses = 1 << iota
	recordings
)

// Opening opens the provider of one capability.
type Opening struct {
	Name    string // of the capability
	Section any    // of the configuration that it has; nil: none
	// Clusters and Recordings say whether the provider uses those of the Host.
	Clusters, Recordings bool
	// Open opens the provider, whose Close, if it has one, releases it. Errors name the
	// field, for example "helm.repositories[0].path".
	Open func(*Host) (capability.Provider, error)
}

// Openings returns how the provider of each capability is opened, in the order of the
// catalog.
func (c *Config) Openings() []Opening {
	var list []Opening
	for _, e := range entries {
		o := Opening{Name: e.kind(c).Name, Clusters: e.uses&clusters != 0, Recordings: e.uses&recordings != 0, Open: func(h *Host) (capability.Provider, error) { return e.open(c, h) }}
		if e.section != nil {
			o.Section = e.section(c)
		}
		list = append(list, o)
	}
	return list
}

// Child must be called at the start of main. In a child process that a provider
// started, it does the child's work and does not return.
func Child() {
	helm.Child()
	git.Child()
}
