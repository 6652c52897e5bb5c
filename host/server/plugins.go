package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// prepared is the plugins of a configuration, ready to be published.
type prepared []*plugin.Prepared

// preparePlugins takes every plugin of next up to where it could serve. All that cannot
// are named at once, and then nothing has changed.
func (r *reloads) preparePlugins(ctx context.Context, next, serving *Runtime) (prepared, error) {
	var list prepared
	var problems []error
	for i, c := range next.config.Plugins {
		broker := brokerOf(next, serving, c.Name, slices.Collect(maps.Keys(c.Grants)))
		p, err := r.plugins.Prepare(ctx, plugin.Swap{Config: c, Origin: plugin.File}, broker, next.config.Limits.Plugins)
		if err != nil {
			problems = append(problems, config.At(fmt.Sprintf("plugins[%d]", i), err))
			continue
		}
		list = append(list, p)
	}
	if len(problems) > 0 {
		list.discard()
		return nil, errors.Join(problems...)
	}
	return list, nil
}

func (list prepared) discard() {
	for _, p := range list {
		p.Discard()
	}
}

// unchanged reports whether every plugin serves already.
func (list prepared) unchanged() bool {
	return !slices.ContainsFunc(list, func(p *plugin.Prepared) bool { return p.Report().Outcome != plugin.Unchanged })
}

// publish makes the plugins serve, and says what became of each that is not as before.
func (list prepared) publish(ctx context.Context) (map[string]string, error) {
	outcomes := map[string]string{}
	var problems []error
	for _, p := range list {
		report, err := p.Publish(ctx)
		if err != nil {
			problems = append(problems, err)
		}
		if report.Outcome != plugin.Unchanged {
			outcomes[report.Name] = string(report.Outcome)
		}
	}
	return outcomes, errors.Join(problems...)
}

// removePlugins removes the plugins that only the earlier configuration has, or had when
// the host ended.
func (r *reloads) removePlugins(ctx context.Context, c *Config, serving *Runtime, report *config.Report) error {
	if serving == nil {
		var names []string
		for _, p := range c.Plugins {
			names = append(names, p.Name)
		}
		r.plugins.Retain(plugin.File, names)
		return nil
	}
	var problems []error
	for _, old := range serving.config.Plugins {
		if slices.ContainsFunc(c.Plugins, func(p plugin.Config) bool { return p.Name == old.Name }) {
			continue
		}
		report.Plugins[old.Name] = "removed"
		if err := r.plugins.Remove(ctx, old.Name); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// renewPlugins gives the plugins that are not the configuration's the providers of now.
// One that fails keeps those that it has.
func (r *reloads) renewPlugins(ctx context.Context, next, serving *Runtime) {
	if serving == nil || serving.part(brokerPart) == next.part(brokerPart) {
		return
	}
	for _, s := range r.plugins.Status() {
		if s.Origin != plugin.API || r.plugins.Get(s.Name) == nil {
			continue
		}
		if _, err := r.plugins.Renew(ctx, s.Name); err != nil {
			r.log.Warn("a plugin goes on with the capabilities of the earlier configuration", "plugin", s.Name, "error", err)
		}
	}
}

// hold keeps what a broker uses open for a generation of a plugin, until release. The
// broker is of a runtime that the caller knows to be open.
func (b *base) hold(broker *capability.Broker) (release func()) {
	if p, ok := b.brokers.Load(broker); ok {
		return p.(*part).use().release
	}
	return func() {}
}
