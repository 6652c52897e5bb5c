// Package dev is `bulkhead plugin dev`: it builds a plugin whenever its files are saved, runs
// it in a host of its own, and prints what each request did.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/devhost"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
)

// Options are those of Run.
type Options struct {
	Dir    string // of the plugin
	Listen string // replaces the configuration's address, if it is not empty
	User   string // of requests without a login; devhost.DefaultUser if empty
	Kinds  *capability.Catalog
	Out    io.Writer
}

// Run builds and serves until ctx is done. It returns an error if it cannot begin; a plugin
// that does not build or a configuration that cannot be used is printed, and mended by the
// next save.
func Run(ctx context.Context, o Options) (err error) {
	if _, err := os.Stat(filepath.Join(o.Dir, pack.ManifestFile)); err != nil {
		return fmt.Errorf("there is no plugin: %w", err)
	}
	temp, err := os.MkdirTemp("", "bulkhead-dev-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	w, err := watch(o.Dir)
	if err != nil {
		return err
	}
	defer w.close()
	s := &session{Options: o, temp: temp, out: &printer{out: o.Out, kinds: o.Kinds}}
	defer func() { err = errors.Join(err, s.close()) }()
	for {
		s.update(ctx)
		w.serving = s.host != nil
		if !w.wait(ctx) {
			return nil
		}
	}
}

// session is what Run has open.
type session struct {
	Options
	temp string
	name string // of the plugin that the host was opened for
	host *devhost.Host
	out  *printer
}

func (s *session) close() error {
	if s.host == nil {
		return nil
	}
	return s.host.Close()
}

func (s *session) module() string { return filepath.Join(s.temp, "plugin.wasm") }

// update builds the plugin and makes it serve.
func (s *session) update(ctx context.Context) {
	began := time.Now()
	if err := pack.Build(ctx, s.Dir, s.module(), pack.Options{Capabilities: s.Kinds.Names()}); err != nil {
		if ctx.Err() == nil {
			s.out.failed("not built", s.host != nil, err)
		}
		return
	}
	m, size, err := readModule(s.module())
	if err != nil {
		s.out.failed("not built", s.host != nil, err)
		return
	}
	built := time.Since(began)
	if s.host != nil && m.Name != s.name {
		s.out.failed("not replaced", true, fmt.Errorf("manifest.json: name: was %q and is %q; start bulkhead plugin dev again", s.name, m.Name))
		return
	}
	if s.host == nil {
		err = s.open(ctx, m.Name)
	} else {
		err = s.host.Swap(ctx)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.out.failed("not served", s.host != nil, err)
	default:
		s.out.serves(m, s.host.URL(), size, built, time.Since(began)-built)
	}
}

func (s *session) open(ctx context.Context, name string) (err error) {
	s.host, err = devhost.Open(ctx, devhost.Options{
		Dir: s.Dir, Name: name, Module: s.module(), Temp: s.temp, Listen: s.Listen, User: s.User,
		Logger: devhost.NewLogger(func(line string) { s.out.print("    " + line + "\n") }), Traced: s.out.request,
	})
	s.name = name
	if err != nil {
		s.host = nil
	}
	return err
}

// readModule returns the manifest in a module's file, and the file's size.
func readModule(path string) (*manifest.Manifest, int, error) {
	wasm, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	raw, err := manifest.Extract(wasm)
	if err != nil {
		return nil, 0, err
	}
	m, err := manifest.Parse(raw)
	return m, len(wasm), err
}
