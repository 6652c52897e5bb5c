package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/adapter"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Judge puts the request of an AdmissionReview to the policy of Kubewarden that serves as
// name, for a caller, who pays for it as for a call. The error is nil only if the policy
// accepts the object as it is: a policy that rejects it or would change it is host.Forbidden,
// with the policy's message; one that does not serve is host.Unavailable; one that fails is
// host.Upstream.
func (r *Registry) Judge(ctx context.Context, c *capability.Caller, name string, request []byte) error {
	l, ok := r.Lease(name, c.Principal)
	if !ok {
		return host.E(host.Unavailable, "", "the policy must judge this change, and does not serve")
	}
	defer l.Return()
	if l.manifest.ABI != manifest.Kubewarden {
		return host.E(host.Unavailable, "", "the plugin of this name must judge this change, and is not a policy of Kubewarden")
	}
	ctx, cancel := context.WithTimeout(ctx, l.Timeout())
	defer cancel()
	i, release, err := l.acquire(ctx, c.Principal.User)
	if err != nil {
		return err
	}
	defer release()
	state := &call{caller: c, log: c.Logger, account: i.Account()}
	env := &foreign{g: l.Generation, c: state}
	defer env.free()
	resp, err := l.adapter.Handle(withCall(ctx, state), i, env, &abi.Request{Method: http.MethodPost, URL: "/", Body: request})
	if !c.Authority.Alive() {
		return c.Authority.Cause()
	}
	var v adapter.Verdict
	if err == nil {
		err = json.Unmarshal(resp.Body, &v)
	}
	message := text.Printable(text.Cut(v.Message, 4<<10))
	switch {
	case err != nil:
		c.Logger.Warn("a policy failed", "plugin", name, "error", err)
		out := &host.Error{Kind: host.Upstream, Message: "the policy failed", Err: err}
		if x, ok := errors.AsType[*abi.Error](err); ok {
			out.Detail = x.Detail
		}
		return out
	case !*v.Accepted:
		return &host.Error{Kind: host.Forbidden, Message: "rejected: " + message, Detail: "policy_rejected"}
	case len(v.Mutated) > 0 && string(v.Mutated) != "null":
		return &host.Error{Kind: host.Forbidden, Message: "the policy would change the object; what is applied is what the chart declares", Detail: "policy_mutates"}
	}
	return nil
}
