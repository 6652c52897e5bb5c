// Package devhost runs a host in the process of a tool for plugin authors: with the
// configuration in the plugin's directory, real limits and policy, a fake user, and data in
// a temporary directory. It traces each request.
package devhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
)

// ConfigFile is the host's configuration in a plugin's directory. Without it the host has
// the shipped roles, and the fake user is an admin.
const ConfigFile = "dev/bulkhead.yaml"

// DefaultUser is the fake user.
const DefaultUser = "dev@example.com"

// Options describe a host for one plugin.
type Options struct {
	Dir    string // of the plugin
	Name   string // of the plugin, as in its manifest
	Module string // file of the built plugin
	Temp   string // directory for the host's data, which the caller removes
	// Listen replaces the address of the configuration, if it is not empty.
	Listen string
	User   string // of requests without a login; DefaultUser if empty
	// NoRates leaves out the limits of requests in a time.
	NoRates bool
	Logger  *slog.Logger
	// Traced gets each request after it was answered. It is called concurrently.
	Traced func(*Trace)
	// Answer, if set, answers the calls of all capabilities that grants and policy permit,
	// instead of the services that they are for. Streams are refused then. It is called
	// concurrently, with the call's context.
	Answer func(context.Context, *capability.Exchange)
	// Answered, if set, gets each call that a service has answered, as Answer does.
	Answered func(context.Context, *capability.Exchange)
}

// Host is a running host. Its methods are safe for concurrent use.
type Host struct {
	options Options
	server  *server.Server
	logins  logins
	stop    context.CancelFunc
	served  chan error
}

// Open starts a host with the module in o.Module and serves. An error says what is wrong
// with the configuration or the plugin, as it would to an operator.
func Open(ctx context.Context, o Options) (*Host, error) {
	if o.User == "" {
		o.User = DefaultUser
	}
	file, err := o.configFile()
	if err != nil {
		return nil, err
	}
	c, err := server.Load(file, os.Environ())
	if err != nil {
		return nil, err
	}
	if err := shareCompiled(filepath.Join(o.Temp, "data")); err != nil {
		return nil, err
	}
	h := &Host{options: o, served: make(chan error, 1)}
	h.logins.host = h
	c.Instrument = &server.Instrument{
		Adjust: h.adjust, Handler: h.trace, Decided: decided, Exchanged: exchanged, Called: called,
	}
	if o.Answer != nil || o.Answered != nil {
		c.Instrument.Provider = func(p capability.Provider) capability.Provider { return between(p, &h.options) }
	}
	if h.server, err = server.Open(ctx, c, o.Logger); err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	go func() { h.served <- h.server.Serve(serving) }()
	return h, nil
}

// configFile returns the plugin's configuration, or writes one.
func (o *Options) configFile() (string, error) {
	file := filepath.Join(o.Dir, filepath.FromSlash(ConfigFile))
	switch _, err := os.Stat(file); {
	case err == nil:
		return file, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	file = filepath.Join(o.Temp, "bulkhead.yaml")
	people := filepath.Join(o.Temp, "people")
	if err := os.MkdirAll(people, 0o700); err != nil {
		return "", err
	}
	user := fmt.Sprintf("apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: dev}\nspec: {id: %q, roles: [admin]}\n", o.User)
	if err := os.WriteFile(filepath.Join(people, "people.yaml"), []byte(user), 0o600); err != nil {
		return "", err
	}
	text := fmt.Sprintf("auth: {dev: {}}\ndirectory: {files: ./people}\nplugins: [{name: %s, source: %q}]\n", o.Name, o.Module)
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// CompiledCache returns the directory of the user's cache for compiled plugins: compiling
// one takes seconds. The sandbox makes it and bounds it.
func CompiledCache() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "bulkhead", "compiled"), err
}

// shareCompiled makes the host with this data directory use CompiledCache.
func shareCompiled(data string) error {
	shared, err := CompiledCache()
	if err != nil {
		return err
	}
	for _, dir := range []string{shared, data} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.Symlink(shared, filepath.Join(data, "compiled")); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// adjust makes a configuration that was read one for this host: of the plugin it runs the
// module that was built last, pinned by digest. The pin is the consent of the author to what
// a new version may do.
func (h *Host) adjust(c *server.Config) error {
	o := &h.options
	c.Data = filepath.Join(o.Temp, "data")
	if o.Listen != "" {
		c.Listen, c.PublicURL = o.Listen, ""
	}
	if o.NoRates {
		c.Limits.Rates.Client, c.Limits.Rates.Account = -1, -1
	}
	k := slices.IndexFunc(c.Plugins, func(p plugin.Config) bool { return p.Name == o.Name })
	if k < 0 {
		return fmt.Errorf("plugins: none is named %q, as the plugin in %s is", o.Name, filepath.Join(o.Dir, "manifest.json"))
	}
	wasm, err := os.ReadFile(o.Module)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(wasm)
	p := &c.Plugins[k]
	p.Source, p.Digest, p.Verification = o.Module, "sha256:"+hex.EncodeToString(sum[:]), artifact.Verification{}
	return nil
}

// Swap makes the module that is in the file now serve. Requests and sessions that run stay on
// the version they began on. After an error what served before goes on serving, and the
// next change of the configuration tries again.
func (h *Host) Swap(ctx context.Context) error {
	_, err := h.server.Reload(ctx, false)
	if inner := errors.Unwrap(err); inner != nil {
		return inner // the outer error says that the configuration is refused
	}
	return err
}

// URL is where the host is reached.
func (h *Host) URL() string { return h.server.URL() }

// Close ends the host and waits for it.
func (h *Host) Close() error {
	h.stop()
	return errors.Join(<-h.served, h.server.Close())
}
