package server

import (
	"context"
	"errors"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// fetcher returns what fetches the module of a plugin of the configuration, verified as
// its entry says. A local file that needs no signature is read as it is.
func fetcher(store *artifact.Store) func(context.Context, *plugin.Config, int) ([]byte, error) {
	return func(ctx context.Context, c *plugin.Config, most int) ([]byte, error) {
		p := c.Package()
		if ref, err := artifact.ParseReference(c.Source); err == nil && ref.Local() && !p.Verification.Required() {
			local := *c
			local.Source = ref.Path()
			return plugin.ReadFile(ctx, &local, most)
		}
		a, err := store.Fetch(ctx, p)
		if refusal, ok := errors.AsType[*artifact.Refusal](err); ok && (refusal.Step == artifact.StepDigest || refusal.Step == artifact.StepSignature) {
			err = &plugin.StepError{Name: c.Name, Step: plugin.StepVerify, Err: err}
		}
		if err != nil {
			return nil, err
		}
		return a.Bytes, nil
	}
}

// allowed is what the configuration of now says of plugins that are installed by
// reference. It implements fleet.Packages.
type allowed struct{ *base }

func (a allowed) packages() *artifact.Packages {
	if c := a.rules.Load(); c != nil {
		return &c.Packages
	}
	return &artifact.Packages{}
}

func (a allowed) StopUnverified() bool { return a.packages().StopUnverified }

// packageRules gives a plugin that served before the access and verification that the
// configuration of now has for its name. It implements plugin.Options.Policy.
func (b *base) packageRules(o plugin.Origin, p *plugin.Config) error {
	if o == plugin.API {
		return fleet.Renew(p, allowed{b})
	}
	c := b.rules.Load()
	k := -1
	if c != nil {
		k = slices.IndexFunc(c.Plugins, func(entry plugin.Config) bool { return entry.Name == p.Name })
	}
	if k < 0 {
		return host.E(host.Unprocessable, "", "the configuration has no plugin of this name any more")
	}
	p.Access, p.Verification = c.Plugins[k].Access, c.Plugins[k].Verification
	var problems []error // such as a source that needs a signature, and an entry that asks for none
	from := p.Package()
	from.Problems(func(field, text string) {
		problems = append(problems, host.E(host.Unprocessable, "", "%s%s: %s", p.Source, field, text))
	})
	return errors.Join(problems...)
}

func (a allowed) Package(name, reference string) (artifact.Package, error) {
	return a.packages().Package(name, reference)
}

func (a allowed) Resolve(ctx context.Context, name, reference, digest string) (*artifact.Artifact, error) {
	return a.base.packages.Resolve(ctx, a.packages(), name, reference, digest)
}

func (a allowed) Catalogs(ctx context.Context) []*artifact.Catalog {
	return a.base.packages.Catalogs(ctx, a.packages())
}

// collectPackages removes the copies of packages that no plugin runs, waits with or can
// be rolled back to.
func (b *base) collectPackages() {
	var inUse []string
	for _, s := range b.plugins.Status() {
		for _, g := range s.Generations {
			inUse = append(inUse, g.Digest)
		}
		for _, v := range s.Earlier {
			inUse = append(inUse, v.Digest)
		}
		if s.Waiting != nil {
			inUse = append(inUse, s.Waiting.Digest)
		}
	}
	if _, err := b.packages.Collect(inUse); err != nil {
		b.log.Warn("copies of packages that are no longer used were not removed", "error", err)
	}
}
