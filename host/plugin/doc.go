// Package plugin is ABI v1 over the sandbox. It reads a plugin's module, checks its
// manifest against what the operator granted, links exactly that, starts it, and turns
// calls into frames and back. It owns which plugins serve, under which name, and how one
// version replaces another.
//
// What a capability does and whether it may is host/capability's business; how
// requests arrive and sockets work is the gateway's, which passes a Socket in.
//
// # Generations
//
// A generation is one version of a plugin under one name, with its configuration. A
// request or session takes a Lease of the generation that serves its user, and stays on
// it. Registry.Swap makes a generation in steps (see Step), none of which changes what
// serves but the last, which moves one pointer. The replaced generation drains: calls
// end by their own time limit; sockets and event streams end by themselves, or at the
// drain deadline (Rollout.Drain) with host.ErrSwapped. Its memory is given back when the
// last lease is returned. A name has three generations with memory at most: another swap
// ends the sessions of the oldest that drains, and waits for its calls.
//
// # Grants
//
// A Swap is whole: it grants nothing that it leaves out, whatever serves now. Of its
// grants:
//
//   - omitted, null and empty grants, and a capability with an empty list, grant
//     nothing. A plugin that needs the capability is refused; one for which it is
//     optional runs without it.
//   - a grant that lacks a dimension, or has an empty list there, is refused. Every
//     combination of its lists is allowed; "*" allows all of a dimension and has to be
//     written.
//   - a grant of a capability that the manifest does not request gives nothing.
//
// # Consent
//
// A new version is compared with the generation that serves, or with the one that served
// before a restart. What it may do beyond that one waits for an administrator, who
// approves Comparison.Digest: capabilities and their grants, routes and actions, and
// limits. What it may do less is taken at once. In the configuration file, the operator's
// own changes count as approved: changed grants and limits, a changed digest, and a name
// that was not there. Through the API everything waits, a first version too.
//
// A change of an entry's rollout or verification alone makes no generation: it counts
// from the next swap, rollback and look at regressions.
package plugin
