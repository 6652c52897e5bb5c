package server

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"sigs.k8s.io/yaml"
)

// Config is the configuration file. Paths in it are relative to the file's own
// directory. It is read once and not changed afterwards.
type Config struct {
	Listen    string           `json:"listen"`    // host:port, or unix:PATH for a proxy on the same machine
	PublicURL string           `json:"publicURL"` // what browsers see; required off loopback
	TLS       *TLS             `json:"tls,omitempty"`
	Data      string           `json:"data"` // directory of embedded state, host key, compiled plugins
	State     state.Options    `json:"state,omitzero"`
	Auth      authn.Options    `json:"auth"`
	Directory Directory        `json:"directory"`
	Policy    Policy           `json:"policy,omitzero"`
	Clusters  []cluster.Config `json:"clusters,omitempty"` // that capabilities reach
	Capabilities
	Plugins []plugin.Config `json:"plugins,omitempty"` // in the order in which they are loaded
	Limits  Limits          `json:"limits,omitzero"`
	// Recordings bounds the recordings of terminals, which are kept below Data.
	Recordings recording.Config `json:"recordings,omitzero"`
	Log        Log              `json:"log,omitzero"`
	// Ignored are variables BULKHEAD_… that are no key.
	Ignored []string `json:"-"`
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

// Load reads the file and the environment: a variable BULKHEAD_KEY, with the
// key's path in capitals joined by "_" (BULKHEAD_DIRECTORY_FILES), replaces
// the file's value and is itself YAML. Unknown keys are errors. The result is
// checked as far as that needs nothing but the file system.
func Load(path string, environ []string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c := &Config{Listen: "127.0.0.1:8080", Data: "./data"}
	if err := errors.Join(decode(text, c), emptyPolicies(text)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if slices.Contains(environ, "BULKHEAD_POLICY_DIR=") {
		return nil, errors.New("BULKHEAD_POLICY_DIR: is empty")
	}
	if err := override(c, environ); err != nil {
		return nil, err
	}
	base, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c.resolve(base)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// emptyPolicies reports policies that are given as nothing, as by a variable that
// is not set. What serves then would be the shipped rules alone.
func emptyPolicies(text []byte) error {
	var c struct {
		Policy map[string]any `json:"policy"`
	}
	_ = strictyaml.Unmarshal(text, &c, strictyaml.Small) // decode says what is wrong with it
	shadow, _ := c.Policy["shadow"].(map[string]any)
	var problems []error
	for _, of := range []struct {
		at   string
		keys map[string]any
	}{{"policy", c.Policy}, {"policy.shadow", shadow}} {
		for _, key := range []string{"dir", "bundle"} {
			if v, given := of.keys[key]; given && (v == nil || v == "") {
				problems = append(problems, fmt.Errorf("%s.%s: is empty; leave it out if there is none", of.at, key))
			}
		}
	}
	return errors.Join(problems...)
}

// decode reads YAML into v. Its errors name unknown fields by their whole path,
// and other mistakes by line.
func decode(text []byte, v any) error { return strictyaml.Unmarshal(text, v, strictyaml.Small) }

// resolve makes paths absolute, so that nothing depends on where the host was
// started.
func (c *Config) resolve(base string) {
	paths := append([]*string{&c.Data, &c.Directory.Files}, c.Policy.paths()...)
	if c.TLS != nil {
		paths = append(paths, &c.TLS.Cert, &c.TLS.Key)
	}
	paths = append(paths, c.Auth.Paths()...)
	paths = append(paths, c.State.Paths()...)
	for i := range c.Clusters {
		paths = append(paths, &c.Clusters[i].Kubeconfig)
	}
	for i := range c.Plugins {
		paths = append(paths, &c.Plugins[i].Source)
	}
	paths = append(paths, c.Capabilities.Paths()...)
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	if _, path := c.network(); path != "" && !filepath.IsAbs(path) {
		c.Listen = "unix:" + filepath.Join(base, path)
	}
}

func (c *Config) check() error {
	var problems []error
	bad := func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	_, path := c.network()
	_, _, err := net.SplitHostPort(c.Listen)
	local := path == "" && (err != nil || netaddr.IsLoopback(netaddr.Host(c.Listen))) // one complaint about listen is enough
	if path == "" && err != nil {
		bad("listen", "%q is neither host:port nor unix:PATH", c.Listen)
	}
	if c.Data == "" {
		bad("data", "is missing")
	}
	c.Directory.check(c.Clusters, bad)
	if c.TLS != nil && (c.TLS.Cert == "" || c.TLS.Key == "") {
		bad("tls", "needs cert and key")
	}
	problems = append(problems, c.Auth.Check(local)...)
	problems = append(problems, c.Limits.Rates.Check()...)
	if c.PublicURL == "" && !local {
		bad("publicURL", "is required when listen is not loopback")
	}
	if c.PublicURL != "" {
		if _, err := parsePublicURL(c.PublicURL); err != nil {
			bad("publicURL", "%v", err)
		}
	}
	policy := c.Policy.config()
	if err := policy.Check(); err != nil {
		problems = append(problems, err)
	}
	for _, err := range c.State.Check() {
		problems = append(problems, fmt.Errorf("state.%w", err))
	}
	if c.Limits.SessionsPerUser < 0 {
		bad("limits.sessionsPerUser", "is negative")
	}
	if c.Limits.MaxSession < 0 {
		bad("limits.maxSession", "is negative")
	}
	if c.Limits.Idle < 0 {
		bad("limits.idle", "is negative")
	}
	if err := c.Recordings.Check(); err != nil {
		bad("recordings", "%v", err)
	}
	problems = append(problems, c.Limits.User.Check("limits.user")...)
	problems = append(problems, c.Limits.Plugins.Check("limits.plugins")...)
	if _, err := c.Log.level(); err != nil {
		bad("log.level", "%q is not debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "" && c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", "%q is neither text nor json", c.Log.Format)
	}
	problems = append(problems, cluster.CheckConfigs(c.Clusters), c.Capabilities.Check())
	names, catalog := map[string]bool{}, c.Catalog()
	for i, p := range c.Plugins {
		at := fmt.Sprintf("plugins[%d]", i)
		if names[p.Name] {
			bad(at+".name", "%q is used twice", p.Name)
		}
		problems = append(problems, p.Check(at, catalog, c.Limits.Plugins)...)
		names[p.Name] = true
	}
	return errors.Join(problems...)
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
