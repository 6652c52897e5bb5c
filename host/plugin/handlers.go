package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/adapter"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// register runs the plugin's registration, and compares the handlers that the plugin then
// says it has with the routes of its manifest. A plugin need not say.
func (g *Generation) register(ctx context.Context, i *sandbox.Instance) error {
	if i.Has(abi.ExportInitialize) {
		if _, err := i.Call(ctx, abi.ExportInitialize); err != nil {
			return err
		}
	}
	if !i.Has(abi.ExportRoutes) {
		return nil
	}
	result, err := i.Call(ctx, abi.ExportRoutes)
	if err != nil {
		return err
	}
	resp, free, err := decode(i, abi.ExportRoutes, result)
	if err != nil {
		return err
	}
	defer free()
	if resp == nil {
		return broken("%s returned no frame", abi.ExportRoutes)
	}
	handlers, err := manifest.ParseHandlers(string(resp.Body))
	if err != nil {
		return broken("%s %v", abi.ExportRoutes, err)
	}
	if err := g.manifest.CheckHandlers(handlers); err != nil {
		return fmt.Errorf("manifest and handlers differ: %w", err)
	}
	return nil
}

// CheckHandlers runs the registration of a plugin's module in the sandbox, without its
// start, which may need a configuration, and returns how its handlers differ from the
// routes of its manifest. Nothing is compared if the module does not export
// abi.ExportRoutes, or exceeds a default limit, which a host may have raised: Inspect says
// that. A module of another ABI is linked and started.
func CheckHandlers(ctx context.Context, box *sandbox.Sandbox, wasm []byte) error {
	m, err := manifestOf(wasm)
	if err != nil {
		return err
	}
	deny := func(context.Context, *host.Question) host.Decision { return host.Decision{} }
	granted, err := capability.NewBroker(deny, slog.New(slog.DiscardHandler)).Grant(m.Name, nil)
	if err != nil {
		return err
	}
	g := &Generation{name: m.Name, manifest: m, granted: granted, log: slog.New(slog.DiscardHandler)}
	for _, c := range m.Capabilities {
		g.denied = append(g.denied, c.Name)
	}
	if m.ABI != "" { // which does not say what handlers a module has
		if g.adapter, err = adapter.New(m, m.Name, nil); err != nil {
			return err
		}
	}
	spec := g.spec()
	spec.Name, spec.Limits = m.Name, Limits{}.resolve(m.Limits).sandbox()
	if m.ABI == "" {
		spec.Init = g.register
	}
	module, err := box.Load(ctx, wasm, spec)
	if refused, ok := errors.AsType[*sandbox.Refused](err); ok && refused.Limit != "" {
		return nil
	}
	if err != nil {
		return explain(err, m)
	}
	return module.Close(context.WithoutCancel(ctx))
}
