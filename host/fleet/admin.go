package fleet

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Running is what one replica runs under one name.
type Running struct {
	Origin plugin.Origin `json:"origin,omitempty"`
	// Revision is that of the description which Phase is about; 0 for the file's.
	Revision   int64  `json:"revision,omitempty"`
	Phase      Phase  `json:"phase,omitempty"`
	Version    string `json:"version,omitempty"` // that serves
	Digest     string `json:"digest,omitempty"`
	Canary     string `json:"canary,omitempty"` // digest
	Generation uint64 `json:"generation,omitempty"`
	Step       string `json:"step,omitempty"` // that failed
	Reason     string `json:"reason,omitempty"`
	Waiting    string `json:"waiting,omitempty"` // comparison of a version of the file that needs consent
	Refused    string `json:"refused,omitempty"` // why the store's plugin of this name does not run
}

// State is how the whole fleet does with one name.
type State string

// The states.
const (
	Active      State = "active"      // every fresh replica runs what is desired
	Progressing State = "progressing" // some replica is not done
	Failed      State = "failed"      // some replica could not
)

// Plugin is one name on all replicas.
type Plugin struct {
	Name   string        `json:"name"`
	Origin plugin.Origin `json:"origin"`
	State  State         `json:"state"`
	// Because says which replica keeps it from being active, and why.
	Because  string      `json:"because,omitempty"`
	Revision int64       `json:"revision,omitempty"` // of the description in the store
	By       host.UserID `json:"by,omitempty"`       // who wrote that
	Method   string      `json:"method,omitempty"`   // by which login method
	At       time.Time   `json:"at,omitzero"`
	Changed  string      `json:"changed,omitempty"` // why the host itself wrote it
	Serve    *Version    `json:"serve,omitempty"`
	Canary   *Version    `json:"canary,omitempty"`
	Earlier  []Version   `json:"earlier,omitempty"` // can be rolled back to, the last one first
	// Waiting is a version of the configuration file that waits for consent on the replica
	// that answers; see Approve.
	Waiting  *plugin.Waiting `json:"waiting,omitempty"`
	Replicas []OnReplica     `json:"replicas"`
	// Tag changes whenever another field does.
	Tag string `json:"tag"`
}

// Version is one version of an installed plugin. The configuration is left out: it may
// hold secrets.
type Version struct {
	Digest  string                        `json:"digest"`
	Source  string                        `json:"source,omitempty"` // pinned reference; empty: an upload
	Plugin  string                        `json:"plugin,omitempty"`
	Version string                        `json:"version,omitempty"`
	Grants  map[string][]capability.Grant `json:"grants,omitempty"`
	Limits  plugin.Limits                 `json:"limits,omitzero"`
	By      host.UserID                   `json:"by,omitempty"`
	At      time.Time                     `json:"at,omitzero"`
	Rule    *plugin.Canary                `json:"rule,omitempty"` // of a canary
}

// OnReplica is one name on one replica. A replica that has not reported yet has no
// phase.
type OnReplica struct {
	Replica string `json:"replica"`
	Fresh   bool   `json:"fresh"`
	Self    bool   `json:"self,omitempty"` // the one that answers
	Running
}

// Request is what an administrator wants to run. It is whole: a field that is left out
// and not in Keep is none, and grants that are left out are no grants.
type Request struct {
	// Reference is where the module is: https://…, oci://…, oci-layout:DIR with an absolute
	// path on the host, or catalog:PLUGIN[@VERSION]. The configuration has to allow it. It
	// is resolved once, and every replica fetches what it was then.
	Reference string `json:"reference,omitempty"`
	// Digest is that of the module ("sha256:" and 64 hexadecimal digits). Without Reference
	// it names an upload, and is required unless Keep has module.
	Digest  string                        `json:"digest,omitempty"`
	Grants  map[string][]capability.Grant `json:"grants,omitempty"`
	Config  json.RawMessage               `json:"config,omitempty"`
	Limits  plugin.Limits                 `json:"limits,omitzero"`
	Rollout plugin.Rollout                `json:"rollout,omitzero"`
	// Canary makes it serve some users first; without it, it serves everybody.
	Canary *plugin.Canary `json:"canary,omitempty"`
	// Consent is the digest of a comparison that a dry run returned.
	Consent string `json:"consent,omitempty"`
	// Revision is that of the plugin which is to be replaced; 0 if the name is new.
	Revision int64 `json:"revision,omitempty"`
	// Keep lists what stays as it is of the version that serves: module, grants, config,
	// limits, rollout.
	Keep []string `json:"keep,omitempty"`
}

// keepers are the fields that Keep may name.
var keepers = []string{"module", "grants", "config", "limits", "rollout"}

// version returns what q describes. current is what is desired now, nil if nothing is.
func (q *Request) version(current *spec) (v version, err error) {
	v = version{Digest: q.Digest, Grants: q.Grants, Config: q.Config, Limits: q.Limits, Rollout: q.Rollout, Consent: q.Consent}
	given := map[string]bool{
		"module": q.Digest != "" || q.Reference != "", "grants": q.Grants != nil, "config": q.Config != nil,
		"limits": q.Limits != plugin.Limits{}, "rollout": !isZero(q.Rollout),
	}
	for _, field := range q.Keep {
		switch {
		case !slices.Contains(keepers, field):
			return v, host.E(host.Unprocessable, "", "keep: %q is none of %s", field, strings.Join(keepers, ", "))
		case given[field]:
			return v, host.E(host.Unprocessable, "", "keep: %s is given, too; leave out one of them", field)
		case current == nil:
			return v, host.E(host.Conflict, "", "keep: nothing is installed under this name whose %s could stay", field)
		}
		switch of := &current.Serve; field {
		case "module":
			v.Digest, v.Source = of.Digest, of.Source
		case "grants":
			v.Grants = of.Grants
		case "config":
			v.Config = of.Config
		case "limits":
			v.Limits = of.Limits
		case "rollout":
			v.Rollout = of.Rollout
		}
	}
	if v.Digest == "" && q.Reference == "" {
		return v, host.E(host.Unprocessable, "", "digest: is missing; upload the module and give its digest, or give its reference")
	}
	return v, nil
}

func isZero(r plugin.Rollout) bool {
	text, err := json.Marshal(r)
	empty, _ := json.Marshal(plugin.Rollout{})
	return err == nil && bytes.Equal(text, empty)
}

// Check says what would come of q, and changes nothing: the steps, and the comparison
// with what this replica runs, whose digest is the consent.
func (f *Fleet) Check(ctx context.Context, name string, q *Request) (*plugin.Report, error) {
	_, current, err := f.current(name)
	if err != nil {
		return nil, err
	}
	v, err := f.resolve(ctx, name, q, current)
	if err != nil {
		return nil, err
	}
	return f.check(ctx, name, &v, q.Canary)
}

// resolve returns what q describes, with the digest and the pinned reference of its
// module.
func (f *Fleet) resolve(ctx context.Context, name string, q *Request, current *spec) (version, error) {
	v, err := q.version(current)
	if err != nil || q.Reference == "" {
		return v, err
	}
	a, err := f.Packages.Resolve(ctx, name, q.Reference, q.Digest)
	if err != nil {
		step := plugin.StepFetch
		if r, ok := errors.AsType[*artifact.Refusal](err); ok && r.Step != artifact.StepFetch {
			step = plugin.StepVerify
		}
		return v, forAdmin(&plugin.StepError{Name: name, Step: step, Err: err})
	}
	v.Digest, v.Source = a.Digest, a.Reference.String()
	return v, nil
}

// Catalogs fetches and verifies the catalogues that this replica's configuration names.
func (f *Fleet) Catalogs(ctx context.Context) []*artifact.Catalog { return f.Packages.Catalogs(ctx) }

// check tries v here, after this replica's own work on the name has ended.
func (f *Fleet) check(ctx context.Context, name string, v *version, rule *plugin.Canary) (*plugin.Report, error) {
	if err := f.settle(ctx, name); err != nil {
		return nil, err
	}
	c, err := v.config(name, f.Packages)
	if err != nil {
		return nil, forAdmin(err)
	}
	report, err := f.Registry.Check(ctx, plugin.Swap{Config: c, Origin: plugin.API, Canary: rule})
	if report != nil {
		report.Source = v.Source
	}
	return report, forAdmin(err)
}

// forAdmin gives the error of a step a kind by which an administrator learns the step
// and the reason.
func forAdmin(err error) error {
	e, ok := errors.AsType[*plugin.StepError](err)
	if !ok {
		return err
	}
	kind := host.KindOf(e.Err)
	if kind == host.Internal { // what a step found is what the administrator has to mend
		kind = host.Unprocessable
	}
	return &host.Error{Kind: kind, Op: "fleet", Message: string(e.Step) + ": " + text(e.Err), Detail: "step " + string(e.Step), Err: e.Err}
}

// settle waits until this replica has done what it can about what is desired of name,
// so that a comparison is with that, and not with what ran before.
func (f *Fleet) settle(ctx context.Context, name string) error {
	for {
		now, _, _ := f.current(name)
		f.mu.Lock()
		w, settled := f.names[name], f.settled
		busy := now.Revision != 0
		if w != nil {
			busy = w.busy || now.Revision != 0 && w.revision != now.Revision
		}
		f.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.ctx.Done():
			return host.ErrShutdown
		}
	}
}

// current is what is desired of name as it is known here; nil if nothing is.
func (f *Fleet) current(name string) (state.Desired, *spec, error) {
	list, _ := f.Store.Desired()
	i := slices.IndexFunc(list, func(d state.Desired) bool { return d.Name == name })
	if i < 0 {
		return state.Desired{Name: name}, nil, nil
	}
	s, err := parse(list[i].Spec)
	if err != nil {
		return list[i], nil, host.E(host.Conflict, "fleet", "%w; remove the plugin", err)
	}
	return list[i], s, nil
}

// Put makes q what is desired under name. It is tried on this replica first: what fails
// there is desired of none. If it asks for more than what runs, q.Consent has to be the
// digest of the comparison; the error is of kind Conflict otherwise, as it is if the
// revision is not q.Revision.
func (f *Fleet) Put(ctx context.Context, who *host.Principal, name string, q *Request) (*plugin.Report, error) {
	now, s, err := f.current(name)
	if err != nil {
		return nil, err
	}
	if now.Revision != q.Revision {
		return nil, f.changed(now, q.Revision)
	}
	v, err := f.resolve(ctx, name, q, s)
	if err != nil {
		return nil, err
	}
	report, err := f.check(ctx, name, &v, q.Canary)
	if err != nil {
		return report, err
	}
	if c := report.Comparison; c != nil && len(c.More) > 0 && q.Consent != c.Digest {
		return report, &host.Error{Kind: host.Conflict, Op: "fleet", Detail: "consent_required",
			Message: fmt.Sprintf("%s may do more than what runs: look at the comparison of a dry run, and repeat with consent %s", name, c.Digest)}
	}
	v.Digest, v.Plugin, v.Version, v.By, v.At = report.Digest, report.Plugin, report.Version, who.User, time.Now().UTC().Round(0)
	if s == nil {
		s = &spec{}
	}
	if q.Canary != nil && s.Serve.Digest != "" {
		s.Canary, s.Because = &canary{v, *q.Canary}, ""
	} else {
		s.serve(v)
	}
	return report, f.write(ctx, who, now, s)
}

// changed is the refusal of a change that was made from another revision.
func (f *Fleet) changed(now state.Desired, expect int64) error {
	switch {
	case now.Revision == 0:
		return host.E(host.Conflict, "fleet", "%s is not installed", now.Name)
	case expect == 0:
		return host.E(host.Conflict, "fleet", "%s is installed already: by %s (%s) at %s, revision %d; upgrade it, or take another name",
			now.Name, now.By, now.Method, now.At.UTC().Format(time.RFC3339), now.Revision)
	}
	return host.E(host.Conflict, "fleet", "%s was changed since revision %d: by %s (%s) at %s, now revision %d; look at it and try again",
		now.Name, expect, now.By, now.Method, now.At.UTC().Format(time.RFC3339), now.Revision)
}

func (f *Fleet) write(ctx context.Context, who *host.Principal, now state.Desired, s *spec) error {
	text, err := json.Marshal(s)
	if err != nil {
		return host.E(host.Internal, "fleet", "%w", err)
	}
	d := state.Desired{Name: now.Name, Spec: text, Uploads: s.uploads(), By: who.User, Method: who.Login.Method}
	d, err = f.Store.PutDesired(ctx, d, now.Revision)
	if err == nil {
		f.Logger.Info("what is desired of a plugin was changed", "plugin", d.Name, "revision", d.Revision, "user", string(who.User),
			"method", who.Login.Method, "version", s.Serve.Version, "source", s.Serve.Source, "digest", s.Serve.Digest, "canary", s.Canary != nil)
	}
	return err
}

// change edits what is desired of an installed plugin.
func (f *Fleet) change(ctx context.Context, who *host.Principal, name string, revision int64, edit func(*spec) error) error {
	now, s, err := f.installed(name, revision)
	if err != nil {
		return err
	}
	if s == nil {
		return host.E(host.Conflict, "fleet", "the description of %s cannot be read; remove the plugin", name)
	}
	if err := edit(s); err != nil {
		return err
	}
	return f.write(ctx, who, now, s)
}

// installed is what is desired of name, which has to be of that revision, or of any if
// it is 0.
func (f *Fleet) installed(name string, revision int64) (state.Desired, *spec, error) {
	now, s, _ := f.current(name)
	switch {
	case now.Revision == 0 && statusByName(f.Registry.Status())[name].Origin == plugin.File:
		return now, nil, host.E(host.Conflict, "fleet", "%s belongs to the configuration file; change it there", name)
	case now.Revision == 0:
		return now, nil, host.E(host.NotFound, "fleet", "%s is not installed", name)
	case revision != 0 && revision != now.Revision:
		return now, nil, f.changed(now, revision)
	}
	return now, s, nil
}

// Promote makes the canary of name serve everybody.
func (f *Fleet) Promote(ctx context.Context, who *host.Principal, name string, revision int64) error {
	return f.change(ctx, who, name, revision, (*spec).promote)
}

// Rollback drops the canary of name, or makes an earlier version serve: the one of this
// digest, or the last one if it is empty.
func (f *Fleet) Rollback(ctx context.Context, who *host.Principal, name, digest string, revision int64) error {
	return f.change(ctx, who, name, revision, func(s *spec) error { return s.rollBack(digest) })
}

// Remove ends name on every replica.
func (f *Fleet) Remove(ctx context.Context, who *host.Principal, name string, revision int64) error {
	now, _, err := f.installed(name, revision)
	if err != nil {
		return err
	}
	if err := f.Store.RemoveDesired(ctx, name, now.Revision); err != nil {
		return err
	}
	f.Logger.Info("a plugin was removed", "plugin", name, "user", string(who.User), "method", who.Login.Method)
	return nil
}

// Plugins describes every name on every replica, by name. It reads the store: a
// replica that is cut off answers nothing.
func (f *Fleet) Plugins(ctx context.Context) ([]Plugin, error) {
	view, err := f.Store.Fleet(ctx)
	if err != nil {
		return nil, err
	}
	reports := map[string]map[string]Running{}
	plugins := map[string]*Plugin{}
	for _, d := range view.Desired {
		if !strings.HasPrefix(d.Name, approvalOf) {
			plugins[d.Name] = describe(d)
		}
	}
	for _, r := range view.Replicas {
		if r.Report == nil {
			continue
		}
		report := map[string]Running{}
		if err := json.Unmarshal(r.Report, &report); err != nil {
			f.Logger.Error("a replica's report cannot be read", "replica", r.ID, "error", err)
			continue
		}
		reports[r.ID] = report
		for name, running := range report {
			some := running.Digest != "" || running.Waiting != "" || running.Reason != "" && running.Origin == plugin.File
			if plugins[name] == nil && r.Fresh && some {
				plugins[name] = &Plugin{Name: name, Origin: running.Origin}
			}
		}
	}
	var out []Plugin
	here := statusByName(f.Registry.Status())
	for _, name := range sortedKeys(plugins) {
		p := plugins[name]
		if st := here[name]; st.Origin == plugin.File {
			p.Waiting = st.Waiting
		}
		for _, r := range view.Replicas {
			if r.Fresh || reports[r.ID][name] != (Running{}) {
				p.Replicas = append(p.Replicas, OnReplica{r.ID, r.Fresh, r.ID == f.Store.Replica(), reports[r.ID][name]})
			}
		}
		p.judge()
		out = append(out, *p)
	}
	return out, nil
}

// describe is what is desired, without the replicas.
func describe(d state.Desired) *Plugin {
	p := &Plugin{Name: d.Name, Origin: plugin.API, Revision: d.Revision, By: d.By, Method: d.Method, At: d.At.UTC()}
	s, err := parse(d.Spec)
	if err != nil {
		p.State, p.Because = Failed, err.Error()
		return p
	}
	p.Changed = s.Because
	p.Serve = s.Serve.public(nil)
	if s.Canary != nil {
		p.Canary = s.Canary.public(&s.Canary.Rule)
	}
	for i := range s.Earlier {
		p.Earlier = append(p.Earlier, *s.Earlier[i].public(nil))
	}
	return p
}

func (v *version) public(rule *plugin.Canary) *Version {
	return &Version{v.Digest, v.Source, v.Plugin, v.Version, v.Grants, v.Limits, v.By, v.At, rule}
}

// judge says how the fleet does, by the fresh replicas' own reports on this revision.
func (p *Plugin) judge() {
	slices.SortFunc(p.Replicas, func(a, b OnReplica) int { return cmp.Compare(a.Replica, b.Replica) })
	if p.State == "" {
		p.State = Active
	}
	fresh := 0
	for _, r := range p.Replicas {
		if !r.Fresh {
			continue
		}
		fresh++
		state, because := p.on(&r)
		if state == Failed && p.State != Failed || state == Progressing && p.State == Active {
			p.State, p.Because = state, "replica "+r.Replica+": "+because
		}
	}
	if fresh == 0 {
		p.State, p.Because = Progressing, "no replica is fresh"
	}
	text, err := json.Marshal(p)
	if err == nil {
		sum := sha256.Sum256(text)
		p.Tag = hex.EncodeToString(sum[:12])
	}
}

// on is how one replica does.
func (p *Plugin) on(r *OnReplica) (State, string) {
	switch {
	case r.Refused != "" && p.Origin == plugin.API:
		return Failed, r.Refused
	case p.Origin == plugin.File:
		switch {
		case r.Reason != "":
			return Failed, r.Step + ": " + r.Reason
		case r.Waiting != "":
			return Progressing, "a version of the configuration file waits for consent " + r.Waiting
		case r.Digest == "":
			return Progressing, "it does not run there"
		}
		return Active, ""
	case p.Revision == 0:
		return Progressing, "it is being removed"
	case r.Revision != p.Revision || r.Phase == "" || r.Phase == Applying:
		return Progressing, "it is not done yet"
	case r.Phase != Done:
		return Failed, r.Step + ": " + r.Reason
	case p.Serve == nil || r.Digest != p.Serve.Digest:
		return Progressing, "it runs another version"
	case p.Canary != nil && r.Canary != p.Canary.Digest:
		return Progressing, "it does not run the canary"
	}
	return Active, ""
}

const (
	lookEvery = 250 * time.Millisecond
	maxWait   = 20 * time.Second
)

// Plugin describes one name. If tag is what its Tag still is, Plugin waits, for at most
// 20 s, until it changes. It fails with kind NotFound if there is no such name.
func (f *Fleet) Plugin(ctx context.Context, name, tag string) (*Plugin, error) {
	enough := time.After(maxWait)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for over := false; ; {
		list, err := f.Plugins(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list, func(p Plugin) bool { return p.Name == name })
		if i < 0 {
			return nil, host.E(host.NotFound, "fleet", "no plugin has the name %q", name)
		}
		if tag == "" || list[i].Tag != tag || over {
			return &list[i], nil
		}
		select {
		case <-tick.C:
		case <-enough:
			over = true
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func sorted(keys iter.Seq[string]) []string { return slices.Sorted(keys) }
