package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/git"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

func init() { sdk.Handle("sync", syncFromGit) }

type syncBody struct {
	declaration
	DryRun bool `json:"dryRun"`
	Prune  bool `json:"prune"`
	// Confirm is the digest of the list of objects to prune, as an answer showed it.
	Confirm string `json:"confirm"`
	// ConfirmAll is the inventory's name. It is required if nothing would remain.
	ConfirmAll string `json:"confirmAll"`
}

// The actions on an object.
const (
	actionCreated = "created"
	actionApplied = "applied"
	actionPending = "pending" // in a dry run: needs a namespace or kind that the sync creates
)

type appliedObject struct {
	identity
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Action string `json:"action"`
}

type syncAnswer struct {
	Success bool            `json:"success"`
	Message string          `json:"message"`
	DryRun  bool            `json:"dryRun,omitempty"`
	Source  git.Where       `json:"source"`
	Applied []appliedObject `json:"applied"`
	Errors  []failure       `json:"errors"`
	Prune   *pruning        `json:"prune,omitempty"`
}

// syncFromGit applies what a path in git declares. Nothing is applied unless every object
// can be read and its kind exists. Each object is then applied on its own; failures are in
// the answer's errors, and the same sync can be repeated at any time.
func syncFromGit(r *sdk.Request) (*sdk.Response, error) {
	var b syncBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	m, items, problems, err := b.read()
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return invalidManifest(r, problems)
	}
	if len(items) == 0 && !b.Prune {
		return nil, sdk.Errorf(422, "the path declares no objects")
	}
	s := &syncing{body: &b, request: r, cluster: kube.Cluster(b.Cluster), items: items, answer: syncAnswer{
		DryRun: b.DryRun, Source: m.Where, Applied: []appliedObject{}, Errors: []failure{},
	}}
	if s.inventory, err = readInventory(&b.declaration, m.Where); err != nil {
		return nil, err
	}
	if b.Prune {
		s.answer.Prune = s.inventory.plan(items)
		if refused, err := s.refusePrune(); refused != nil || err != nil {
			return refused, err
		}
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	return sdk.JSON(200, s.summary())
}

// syncing is one sync.
type syncing struct {
	body      *syncBody
	request   *sdk.Request
	cluster   kube.Cluster
	items     []*item
	inventory *inventory
	answer    syncAnswer
}

func (s *syncing) run() error {
	namespaces, created := 0, map[string]bool{}
	for namespaces < len(s.items) && s.items[namespaces].Kind == "Namespace" {
		created[s.items[namespaces].Name] = true
		namespaces++
	}
	if err := s.apply(s.items[:namespaces], created); err != nil {
		return err
	}
	// The inventory is written before the objects, so that a sync that is cut short leaves
	// no object that a later one cannot prune.
	if !s.body.DryRun && len(s.items) > 0 {
		if err := s.inventory.record(s.items); err != nil {
			return err
		}
	}
	if err := s.apply(s.items[namespaces:], created); err != nil {
		return err
	}
	if p := s.answer.Prune; p != nil && !s.body.DryRun && s.body.Confirm != "" {
		return s.prune(p)
	}
	return nil
}

// apply applies objects in their order. created are the namespaces of the sync.
func (s *syncing) apply(items []*item, created map[string]bool) error {
	var defined []*item
	for n, i := range items {
		if s.request.Remaining() < reserve {
			s.leave(items[n:])
			return nil
		}
		if !i.isCRD() && len(defined) > 0 {
			s.established(defined)
			defined = nil
		}
		_, isNew, err := i.put(s.cluster, s.body.DryRun)
		if err != nil {
			if s.body.DryRun && absent(err) && (created[i.Namespace] || s.defines(i)) {
				s.done(i, actionPending)
				continue
			}
			f, err := failureOf(i.identity, i.at, err)
			if err != nil {
				return err
			}
			s.answer.Errors = append(s.answer.Errors, f)
			continue
		}
		if i.isCRD() && !s.body.DryRun {
			defined = append(defined, i)
		}
		if isNew {
			s.done(i, actionCreated)
		} else {
			s.done(i, actionApplied)
		}
	}
	return nil
}

func (s *syncing) done(i *item, action string) {
	s.answer.Applied = append(s.answer.Applied, appliedObject{i.identity, i.at.File, i.at.Line, action})
}

// leave reports objects for which there was no time.
func (s *syncing) leave(items []*item) {
	for _, i := range items {
		s.answer.Errors = append(s.answer.Errors, failure{i.identity, i.at.File, i.at.Line, 504, "plugin", "there was no time left; sync again", ""})
	}
}

// defines reports whether a CustomResourceDefinition of the sync defines the kind of i.
func (s *syncing) defines(i *item) bool {
	kind := groupOf(i.APIVersion) + "/" + i.Kind
	return slices.ContainsFunc(s.items, func(o *item) bool { return o.isCRD() && o.defines == kind })
}

const (
	establishTime = 20 * time.Second
	establishStep = 100 * time.Millisecond
)

// established waits until the cluster serves kinds that were just defined. If it does not
// in time, applying their objects fails and says so.
func (s *syncing) established(defined []*item) {
	for began := time.Now(); time.Since(began) < establishTime && s.request.Remaining() > 2*reserve; time.Sleep(establishStep) {
		if !slices.ContainsFunc(defined, func(i *item) bool { return !s.isEstablished(i) }) {
			return
		}
	}
}

func (s *syncing) isEstablished(i *item) bool {
	var crd struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if err := s.cluster.Get(i.path(), &crd); err != nil {
		return false
	}
	for _, c := range crd.Status.Conditions {
		if c.Type == "Established" && c.Status == "True" {
			return true
		}
	}
	return false
}

func (s *syncing) summary() *syncAnswer {
	a := &s.answer
	a.Success = len(a.Errors) == 0
	verb := "applied"
	if a.DryRun {
		verb = "would be applied"
	}
	a.Message = fmt.Sprintf("%d of %d objects %s", len(a.Applied), len(s.items), verb)
	if p := a.Prune; p != nil {
		switch {
		case len(p.Pruned) > 0:
			a.Message += fmt.Sprintf(", %d pruned", len(p.Pruned))
		case len(p.Objects) > 0:
			a.Message += fmt.Sprintf("; %d to prune: repeat with confirm", len(p.Objects))
		}
	}
	return a
}

// pruneRefusal is the answer to a prune that must be confirmed, with the list.
type pruneRefusal struct {
	Error     string   `json:"error"`
	Detail    string   `json:"detail"`
	Prune     *pruning `json:"prune"`
	RequestID string   `json:"requestId"`
}

// refusePrune answers a confirmation that is not one for the list as it is now. Nothing
// has been applied then.
func (s *syncing) refusePrune() (*sdk.Response, error) {
	p, b := s.answer.Prune, s.body
	refuse := func(message, detail string) (*sdk.Response, error) {
		return sdk.JSON(409, pruneRefusal{message, detail, p, s.request.RequestID()})
	}
	switch {
	case b.DryRun || b.Confirm == "":
		return nil, nil
	case b.Confirm != p.Confirm:
		return refuse("the objects to prune are not those that were confirmed", "nothing was changed; repeat with the confirm of this list")
	case p.All && b.ConfirmAll != p.Inventory:
		return refuse("this would prune every object of the inventory", "nothing was changed; to do it, set confirmAll to "+p.Inventory)
	}
	return nil, nil
}

// prune deletes the objects of the plan, last kinds first, and records what remains.
func (s *syncing) prune(p *pruning) error {
	for _, o := range slices.Backward(p.Objects) {
		if s.request.Remaining() < reserve {
			s.answer.Errors = append(s.answer.Errors, failure{o, "", 0, 504, "plugin", "there was no time left; prune again", ""})
			continue
		}
		if err := remove(s.cluster, &o); err != nil {
			f, err := failureOf(o, git.Object{}, err)
			if err != nil {
				return err
			}
			s.answer.Errors = append(s.answer.Errors, f)
			continue
		}
		p.Pruned = append(p.Pruned, o)
	}
	return s.inventory.forget(p.Pruned)
}

// remove deletes an object that this plugin applied, if it still is the one that was read.
func remove(cluster kube.Cluster, o *identity) error {
	var live struct {
		Metadata struct {
			UID           string
			ManagedFields []struct{ Manager string }
		}
	}
	if err := cluster.Get(o.path(), &live); absent(err) {
		return nil
	} else if err != nil {
		return err
	}
	if !slices.ContainsFunc(live.Metadata.ManagedFields, func(f struct{ Manager string }) bool { return f.Manager == manager }) {
		return sdk.Errorf(409, "the object was not applied by a sync; delete it by other means")
	}
	options, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": map[string]string{"uid": live.Metadata.UID},
	})
	if err != nil {
		return err
	}
	_, err = cluster.Fetch("DELETE", o.path(), []sdk.Pair{{Name: "Content-Type", Value: "application/json"}}, options)
	if absent(err) {
		return nil
	}
	return err
}
