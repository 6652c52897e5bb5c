package fleet

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// approvalOf begins the names of records that approve a version which configuration
// files brought. No plugin has a colon in its name.
const approvalOf = "consent:"

// approval is an administrator's consent to one version of a plugin of the
// configuration file, on every replica whose version it is.
type approval struct {
	Consent string `json:"consent"` // digest of a plugin.Comparison
}

// Approve lets a version run that a configuration file brought and that waits for
// consent. consent is the digest of its comparison. Each replica where exactly that
// waits takes it, a later one too; the record is kept. The error is of kind NotFound if
// nothing waits on any fresh replica, and Conflict if something else does, or if the name
// is the API's, where consent is given with the change.
func (f *Fleet) Approve(ctx context.Context, who *host.Principal, name, consent string) error {
	if consent == "" {
		return host.E(host.Unprocessable, "fleet", "consent: is missing; give the digest of the comparison that you approve (waiting.comparison.digest)")
	}
	list, err := f.Plugins(ctx)
	if err != nil {
		return err
	}
	other, found := "", false
	for _, p := range list {
		if p.Name != name {
			continue
		}
		if p.Origin == plugin.API {
			return host.E(host.Conflict, "fleet", "%s was installed through the API; consent is given with the installation", name)
		}
		for _, r := range p.Replicas {
			if r.Fresh && r.Waiting != "" {
				found, other = found || r.Waiting == consent, r.Waiting
			}
		}
	}
	switch {
	case other == "":
		return host.E(host.NotFound, "fleet", "no version of %s waits for consent", name)
	case !found:
		return host.E(host.Conflict, "fleet", "consent: is for another module or other grants; what waits is %s", other)
	}
	text, err := json.Marshal(approval{consent})
	if err != nil {
		return host.E(host.Internal, "fleet", "%w", err)
	}
	now, _, _ := f.current(approvalOf + name)
	d := state.Desired{Name: now.Name, Spec: text, By: who.User, Method: who.Login.Method}
	if d, err = f.Store.PutDesired(ctx, d, now.Revision); err == nil {
		f.Logger.Info("a version of the configuration file was approved", "plugin", name, "revision", d.Revision, "user", string(who.User),
			"method", who.Login.Method, "consent", consent)
	}
	return err
}

// approvalGrace is how long a record stays whose plugin no configuration file has: a
// replica that has it may be away.
const approvalGrace = 24 * time.Hour

// collectApprovals removes the records that no replica can use: none has a plugin of that
// name in its configuration file, also none that is not fresh, and the approval is older
// than approvalGrace.
func (f *Fleet) collectApprovals(ctx context.Context, now time.Time) error {
	view, err := f.Store.Fleet(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, r := range view.Replicas {
		report := map[string]Running{}
		if err := json.Unmarshal(r.Report, &report); err != nil {
			return nil // what it has is not known
		}
		for name, running := range report {
			used[name] = used[name] || running.Origin == plugin.File || running.Refused != ""
		}
	}
	for _, d := range view.Desired {
		name, ok := strings.CutPrefix(d.Name, approvalOf)
		if !ok || used[name] || now.Sub(d.At) < approvalGrace {
			continue
		}
		if err := f.Store.RemoveDesired(ctx, d.Name, d.Revision); err != nil && host.KindOf(err) != host.Conflict {
			return err
		}
		f.Logger.Info("an approval was removed, because no configuration file has the plugin any more", "plugin", name)
	}
	return nil
}

// approve takes the version of name that waits here, if d approves it. It needs f.mu.
func (f *Fleet) approve(name string, d state.Desired, st plugin.Status, now time.Time) {
	w := f.approvals[name]
	if w == nil {
		w = &work{}
		f.approvals[name] = w
	}
	if w.busy || st.Origin != plugin.File || st.Waiting == nil || w.revision == d.Revision && now.Before(w.retry) {
		return
	}
	var a approval
	consent := st.Waiting.Comparison.Digest
	if err := json.Unmarshal(d.Spec, &a); err != nil || a.Consent != consent {
		return
	}
	w.revision, w.retry = d.Revision, now.Add(retryAfter)
	f.start(w, func() {
		// An error is logged and in the status of the name.
		_, _ = f.Registry.Approve(f.ctx, name, consent)
	})
}
