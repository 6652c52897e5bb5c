package server

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"sigs.k8s.io/yaml"
)

// Config is the configuration file. Paths in it are relative to the file's own
// directory. It is not changed once it is read.
type Config struct {
	Listen    string `json:"listen"`    // host:port, or unix:PATH for a proxy on the same machine
	PublicURL string `json:"publicURL"` // what browsers see; required off loopback
	TLS       *TLS   `json:"tls,omitempty"`
	// Metrics is host:port of a second listener, which serves /metrics for Prometheus and, on
	// loopback, /debug/pprof/. It asks for no login, so it belongs on this machine or in a
	// network of its own. Without it, neither is served.
	Metrics   string           `json:"metrics,omitempty"`
	Data      string           `json:"data"` // directory of embedded state, host key, compiled plugins
	State     state.Options    `json:"state,omitzero"`
	Auth      authn.Options    `json:"auth"`
	Directory Directory        `json:"directory"`
	Policy    Policy           `json:"policy,omitzero"`
	Clusters  []cluster.Config `json:"clusters,omitempty"` // that capabilities reach
	Capabilities
	Plugins []plugin.Config `json:"plugins,omitempty"` // in the order in which they are loaded
	// Packages allows administrators to install plugins by reference while the host runs.
	Packages artifact.Packages `json:"packages,omitzero"`
	Limits   Limits            `json:"limits,omitzero"`
	// Recordings bounds the recordings of terminals, which are kept below Data.
	Recordings recording.Config `json:"recordings,omitzero"`
	// Audit is where everything that has an effect is recorded; see host/audit/README.md.
	Audit audit.TrailConfig `json:"audit,omitzero"`
	Log   Log               `json:"log,omitzero"`
	// File is where the configuration was read from; nil if it was not.
	File *config.File `json:"-"`
	// Instrument is kept for configurations that are read later.
	Instrument *Instrument `json:"-"`
}

// ignored are variables BULKHEAD_… that are no key.
func (c *Config) ignored() []string {
	if c.File == nil {
		return nil
	}
	return c.File.Ignored
}

// Capabilities is the keys of the capabilities.
type Capabilities = all.Config

// RecordingsDir is the directory of recordings.
func (c *Config) RecordingsDir() string { return filepath.Join(c.Data, "recordings") }

// TLS names the certificate of the listener.
type TLS struct {
	Cert string `json:"cert"` // PEM file
	Key  string `json:"key"`  // PEM file
}

// Policy is the operator's own Rego, in a directory or an OPA bundle; with
// neither, the shipped rules decide alone.
type Policy struct {
	authz.Source
	// Shadow is a candidate that is asked beside the policy. Nothing of it is
	// enforced; its differences are logged and counted.
	Shadow *authz.Source `json:"shadow,omitempty"`
	Log    audit.Config  `json:"log,omitzero"` // of decisions
}

func (p *Policy) config() authz.Config {
	return authz.Config{Source: p.Source, Shadow: p.Shadow, Log: p.Log}
}

// paths are the places in p that hold paths of files.
func (p *Policy) paths() []*string {
	list := append(p.Source.Paths(), p.Log.Paths()...)
	if p.Shadow != nil {
		list = append(list, p.Shadow.Paths()...)
	}
	return list
}

// Limits bound what people may have running.
type Limits struct {
	SessionsPerUser int `json:"sessionsPerUser,omitempty"` // on each replica; default 100
	// MaxSession is the longest that a stream or call lasts. Policy may say less;
	// without either the end of the login is the limit.
	MaxSession host.Duration `json:"maxSession,omitempty"`
	// Idle ends a stream after this time without traffic. Policy may say less.
	Idle  host.Duration `json:"idle,omitempty"`
	Rates authn.Rates   `json:"rates,omitzero"`
	// User bounds the instances and memory of one person in all plugins.
	User plugin.UserLimits `json:"user,omitzero"`
	// Plugins is what plugins get whose own limits do not say otherwise.
	Plugins plugin.Limits `json:"plugins,omitzero"`
}

// Log says how the host logs to standard error.
type Log struct {
	Level  string `json:"level,omitempty"`  // debug, info, warn, error; default info
	Format string `json:"format,omitempty"` // text or json; default text
}

// Load reads the file and the environment as config.Read does, and checks the result
// as far as that needs nothing but the file system. Each problem is a line that names
// the file, the line and the field.
func Load(path string, environ []string) (*Config, error) {
	c := &Config{Listen: "127.0.0.1:8080", Data: "./data"}
	var err error
	if c.File, err = config.Read(path, environ, c); err != nil {
		return nil, err
	}
	c.resolve(c.File.Dir)
	var bad config.Problems
	c.check(&bad)
	if err := c.File.Locate(bad.Err()); err != nil {
		return nil, err
	}
	return c, nil
}

// checkPolicies reports policies that are given as nothing, as by a variable that is
// not set. What serves then would be the shipped rules alone.
func (c *Config) checkPolicies(bad *config.Problems) {
	empty := func(at string, s *authz.Source) {
		if s == nil {
			s = &authz.Source{}
		}
		for key, given := range map[string]bool{"dir": s.Dir != "", "bundle": s.Bundle != nil} {
			if !given && c.File.Has(at+"."+key) {
				bad.At(at).Add(key, "is empty; leave it out if there is none")
			}
		}
	}
	empty("policy", &c.Policy.Source)
	empty("policy.shadow", c.Policy.Shadow)
}

// resolve makes paths absolute, so that nothing depends on where the host was
// started.
func (c *Config) resolve(base string) {
	for i := range c.Plugins {
		c.Plugins[i].In(base)
	}
	c.Packages.In(base)
	for _, p := range c.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	if _, path := c.network(); path != "" && !filepath.IsAbs(path) {
		c.Listen = "unix:" + filepath.Join(base, path)
	}
}

// Files returns the files and directories that c names, except those of plugins and
// packages, as absolute paths.
func (c *Config) Files() (list []string) {
	for _, p := range c.paths() {
		if *p != "" {
			list = append(list, *p)
		}
	}
	return list
}

func (c *Config) paths() []*string {
	paths := append([]*string{&c.Data, &c.Directory.Files}, c.Policy.paths()...)
	if c.TLS != nil {
		paths = append(paths, &c.TLS.Cert, &c.TLS.Key)
	}
	paths = append(paths, c.Auth.Paths()...)
	paths = append(paths, c.State.Paths()...)
	paths = append(paths, c.Audit.Paths()...)
	for i := range c.Clusters {
		paths = append(paths, &c.Clusters[i].Kubeconfig)
	}
	return append(paths, c.Capabilities.Paths()...)
}

func (c *Config) check(bad *config.Problems) {
	_, path := c.network()
	_, _, err := net.SplitHostPort(c.Listen)
	local := path == "" && (err != nil || netaddr.IsLoopback(netaddr.Host(c.Listen))) // one complaint about listen is enough
	if path == "" && err != nil {
		bad.Add("listen", "%q is neither host:port nor unix:PATH", c.Listen)
	}
	if _, _, err := net.SplitHostPort(c.Metrics); c.Metrics != "" && err != nil {
		bad.Add("metrics", "%q is not host:port", c.Metrics)
	}
	if c.Data == "" {
		bad.Add("data", "is missing")
	}
	c.Directory.check(bad.At("directory"), c.Clusters)
	if c.TLS != nil && (c.TLS.Cert == "" || c.TLS.Key == "") {
		bad.Add("tls", "needs cert and key")
	}
	c.Auth.Check(bad.At("auth"), local)
	if c.PublicURL == "" && !local {
		bad.Add("publicURL", "is required when listen is not loopback")
	}
	if c.PublicURL != "" {
		if _, err := parsePublicURL(c.PublicURL); err != nil {
			bad.Add("publicURL", "%v", err)
		}
	}
	policy := c.Policy.config()
	policy.Check(bad.At("policy"))
	c.checkPolicies(bad)
	c.State.Check(bad.At("state"))
	c.Limits.check(bad.At("limits"))
	c.Recordings.Check(bad.At("recordings"))
	c.Audit.Check(bad.At("audit"))
	if _, err := c.Log.level(); err != nil {
		bad.Add("log.level", "%q is not debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "" && c.Log.Format != "text" && c.Log.Format != "json" {
		bad.Add("log.format", "%q is neither text nor json", c.Log.Format)
	}
	cluster.CheckConfigs(bad.At("clusters"), c.Clusters)
	c.Capabilities.Check(bad)
	names, catalog := map[string]bool{}, c.Catalog()
	for i, p := range c.Plugins {
		at := bad.Index("plugins", i)
		if names[p.Name] {
			at.Add("name", "%q is used twice", p.Name)
		}
		p.Check(at, catalog, c.Limits.Plugins)
		if source := p.Package(); p.Source != "" {
			source.Problems(func(field, text string) { at.Add(strings.TrimPrefix(field, "."), "%s", text) })
		}
		names[p.Name] = true
	}
	c.Packages.Problems(func(field, text string) { bad.Add("packages"+field, "%s", text) })
}

// bounds are those of the session table.
func (l *Limits) bounds() session.Bounds {
	return session.Bounds{PerUser: l.SessionsPerUser, Longest: time.Duration(l.MaxSession), Idle: time.Duration(l.Idle)}
}

func (l *Limits) check(bad *config.Problems) {
	for field, negative := range map[string]bool{"sessionsPerUser": l.SessionsPerUser < 0, "maxSession": l.MaxSession < 0, "idle": l.Idle < 0} {
		if negative {
			bad.Add(field, "is negative")
		}
	}
	l.Rates.Check(bad.At("rates"))
	l.User.Check(bad.At("user"))
	l.Plugins.Check(bad.At("plugins"))
}

// network tells where to listen: on a Unix socket, if there is a path.
func (c *Config) network() (kind, path string) {
	if path, ok := strings.CutPrefix(c.Listen, "unix:"); ok && path != "" {
		return "unix", path
	}
	return "tcp", ""
}

// public is the URL under which the host is reached at addr.
func (c *Config) public(addr net.Addr) (*url.URL, error) {
	if c.PublicURL != "" {
		return parsePublicURL(c.PublicURL)
	}
	scheme := "http"
	if c.TLS != nil {
		scheme = "https"
	}
	return &url.URL{Scheme: scheme, Host: addr.String()}, nil
}

func parsePublicURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("%q is not an http or https URL", s)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("%q must be scheme and host alone", s)
	}
	u.Path = ""
	if u.Scheme == "http" && !netaddr.IsLoopback(u.Hostname()) {
		return nil, fmt.Errorf("%q must be https off loopback", s)
	}
	return u, nil
}

// shutdownTimeout bounds an orderly end.
const shutdownTimeout = 15 * time.Second

// YAML is the configuration as it is used. It holds no secrets: those are in
// files that it names.
func (c *Config) YAML() ([]byte, error) { return yaml.Marshal(c) }
