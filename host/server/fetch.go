package server

import (
	"context"
	"errors"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
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
