package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// healthTime bounds a plugin's answer to whether it works.
const healthTime = 5 * time.Second

// health asks a plugin that has started whether it works, on an instance of its own:
// by its export bulkhead_health, or by the route that its manifest names for it. A
// plugin without either has started, and that is all that is known. It may not call
// capabilities: there is no user to act for.
func (g *Generation) health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	i, err := g.module.Acquire(ctx, nil)
	if err != nil {
		return err
	}
	defer g.module.Release(i)
	if g.adapter != nil {
		return g.aside(ctx, i, func(ctx context.Context, i *sandbox.Instance, env *foreign) error {
			return g.adapter.Check(ctx, i, env)
		})
	}
	state := &call{log: g.log, account: i.Account()}
	defer state.release()
	ctx = withCall(ctx, state)
	if i.Has(abi.ExportHealth) {
		result, err := i.Call(ctx, abi.ExportHealth)
		if err != nil {
			return unhealthy(abi.ExportHealth, nil, err)
		}
		if resp, free, err := decode(i, abi.ExportHealth, result); err != nil || resp != nil {
			if free != nil {
				free()
			}
			return unhealthy(abi.ExportHealth, resp, err)
		}
	}
	k := slices.IndexFunc(g.manifest.Routes, func(r manifest.Route) bool { return r.Name == g.manifest.Health })
	if g.manifest.Health == "" || k < 0 {
		return nil
	}
	r := g.manifest.Routes[k]
	frame := abi.AppendRequest(nil, &abi.Request{Method: r.Method, URL: r.Path, Host: &abi.HostSection{
		RequestID: "health", Route: r.Name, Action: g.name + ":" + r.Action, TimeoutMS: healthTime.Milliseconds(),
	}})
	resp, free, err := enter(ctx, i, abi.ExportHandle, frame)
	if err == nil {
		if free(); resp == nil {
			err = broken("%s returned no frame", abi.ExportHandle)
		}
	}
	return unhealthy("route "+r.Name, resp, err)
}

func unhealthy(what string, resp *abi.Response, err error) error {
	var says string
	refused, ok := errors.AsType[*abi.Error](err)
	fault, failed := errors.AsType[*sandbox.Error](err)
	switch {
	case failed && fault.Fault == sandbox.Deadline:
		says = fmt.Sprintf("did not answer in %v", healthTime)
	case ok:
		says = fmt.Sprintf("answered with status %d: %s", refused.Status, text.Printable(refused.Message))
	case err != nil:
		return host.E(host.Unprocessable, "", "%s: %w", what, err)
	case resp.Status < http.StatusOK || resp.Status >= http.StatusMultipleChoices:
		says = fmt.Sprintf("answered with status %d", resp.Status)
	default:
		return nil
	}
	return host.E(host.Unprocessable, "", "%s %s", what, says)
}
