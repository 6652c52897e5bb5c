package main

import (
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

func init() {
	sdk.Handle("argocd-resource-tree", argoResourceTree)
	sdk.Handle("argocd-resource-action", argoResourceAction)
}

// here reports whether the Application's objects are in its own cluster. Objects elsewhere
// cannot be reached through this cluster's API server.
func (a *application) here() bool {
	to := a.Spec.Destination
	return to.Name == "in-cluster" || to.Server == "https://kubernetes.default.svc"
}

// treeNode is an object of an Application, or one that a controller has made for it.
type treeNode struct {
	argoResource
	Parent *treeRef `json:"parent,omitempty"` // absent: the Application itself
}

type treeRef struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

type treeAnswer struct {
	Nodes     []treeNode `json:"nodes"`
	Elsewhere bool       `json:"elsewhere,omitempty"` // in another cluster: only what Argo CD lists is known
	Truncated bool       `json:"truncated,omitempty"`
	// Errors are the types of objects that the user may not list.
	Errors []listError `json:"errors,omitempty"`
}

// treeTypes are the types of objects that controllers make for the kinds of an Application, each
// after the type of its owners.
var treeTypes = []struct{ kind, apiVersion, plural string }{
	{"ReplicaSet", "apps/v1", "replicasets"}, {"Job", "batch/v1", "jobs"}, {"Pod", "v1", "pods"},
}

// argoResourceTree answers the objects of an Application with those that controllers have
// made for them.
func argoResourceTree(r *sdk.Request) (*sdk.Response, error) {
	name := r.Query("appName")
	if name == "" {
		return nil, sdk.Errorf(400, "appName is required")
	}
	t, err := argoTarget(name, r.Query("cluster"), r.Query("namespace"))
	if err != nil {
		return nil, err
	}
	a, err := t.get()
	if err != nil {
		return nil, err
	}
	tree := &treeAnswer{Nodes: []treeNode{}, Elsewhere: !a.here()}
	for _, o := range a.Status.Resources {
		tree.Nodes = append(tree.Nodes, treeNode{argoResource: o})
	}
	if tree.Elsewhere {
		return sdk.JSON(200, tree)
	}
	for _, namespace := range tree.namespaces() {
		for _, m := range treeTypes {
			if err := tree.add(r, t.cluster, namespace, m.kind, m.apiVersion, m.plural); err != nil {
				return nil, err
			}
		}
	}
	return sdk.JSON(200, tree)
}

func (t *treeAnswer) namespaces() (names []string) {
	for _, n := range t.Nodes {
		if n.Namespace != "" && !slices.Contains(names, n.Namespace) {
			names = append(names, n.Namespace)
		}
	}
	return names
}

// add adds the objects of one type that a node owns.
func (t *treeAnswer) add(r *sdk.Request, cluster kube.Cluster, namespace, kind, apiVersion, plural string) error {
	path, seen := kube.Objects(apiVersion, namespace, plural), 0
	for o, err := range kube.Each[kube.Partial](cluster, path, kube.ListOptions{MetadataOnly: true}) {
		if status := sdk.StatusOf(err); status == 403 {
			t.Errors = append(t.Errors, listError{"kind_forbidden", string(cluster), namespace, status, kind + ": " + err.Error(), ""})
			return nil
		}
		if err != nil {
			return err
		}
		if seen++; seen > maxObjects || short(r, reserve) {
			t.Truncated = true
			return nil
		}
		for _, owner := range o.Metadata.OwnerReferences {
			owned := func(n treeNode) bool {
				return n.Kind == owner.Kind && n.Name == owner.Name && n.Namespace == namespace
			}
			if slices.ContainsFunc(t.Nodes, owned) {
				group := groupOf(apiVersion)
				t.Nodes = append(t.Nodes, treeNode{
					argoResource{Group: group, Version: strings.TrimPrefix(apiVersion, group+"/"), Kind: kind, Namespace: namespace, Name: o.Metadata.Name},
					&treeRef{owner.Kind, owner.Name},
				})
				break
			}
		}
	}
	return nil
}

// resourceAction is a change of one object that its controller carries out.
type resourceAction struct {
	plural string
	spec   func() map[string]any // of a merge patch
	status map[string]any        // of a merge patch of the subresource status
}

func spec(field string, value any) func() map[string]any {
	return func() map[string]any { return map[string]any{field: value} }
}

// restarted changes the pods' template, as kubectl rollout restart does.
func restarted() map[string]any {
	return map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		"kubectl.kubernetes.io/restartedAt": now().UTC().Format(time.RFC3339),
	}}}}
}

// resourceActions are the actions by GROUP/KIND/ACTION.
// https://argo-cd.readthedocs.io/en/stable/operator-manual/resource_actions_builtin/
var resourceActions = map[string]resourceAction{
	"apps/Deployment/restart":         {plural: "deployments", spec: restarted},
	"apps/Deployment/pause":           {plural: "deployments", spec: spec("paused", true)},
	"apps/Deployment/resume":          {plural: "deployments", spec: spec("paused", nil)},
	"apps/StatefulSet/restart":        {plural: "statefulsets", spec: restarted},
	"apps/DaemonSet/restart":          {plural: "daemonsets", spec: restarted},
	"batch/CronJob/suspend":           {plural: "cronjobs", spec: spec("suspend", true)},
	"batch/CronJob/resume":            {plural: "cronjobs", spec: spec("suspend", false)},
	"argoproj.io/Rollout/restart":     {plural: "rollouts", spec: func() map[string]any { return map[string]any{"restartAt": now().UTC().Format(time.RFC3339)} }},
	"argoproj.io/Rollout/pause":       {plural: "rollouts", spec: spec("paused", true)},
	"argoproj.io/Rollout/resume":      {plural: "rollouts", spec: spec("paused", nil), status: map[string]any{"pauseConditions": nil}},
	"argoproj.io/Rollout/abort":       {plural: "rollouts", status: map[string]any{"abort": true}},
	"argoproj.io/Rollout/retry":       {plural: "rollouts", status: map[string]any{"abort": false}},
	"argoproj.io/Rollout/promoteFull": {plural: "rollouts", status: map[string]any{"promoteFull": true}},
}

// argoResourceAction acts on one object of an Application, as the user.
func argoResourceAction(r *sdk.Request) (*sdk.Response, error) {
	var b struct {
		appBody
		Resource struct {
			Group     string `json:"group"`
			Kind      string `json:"kind"`
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"resource"`
		Action string `json:"action"`
	}
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	t, err := b.target()
	if err != nil {
		return nil, err
	}
	want := b.Resource
	if want.Kind == "" || want.Name == "" || want.Namespace == "" || b.Action == "" {
		return nil, sdk.Errorf(400, "resource.kind, resource.name, resource.namespace and action are required")
	}
	action, ok := resourceActions[want.Group+"/"+want.Kind+"/"+b.Action]
	if !ok {
		return nil, sdk.Errorf(400, "a %s of group %q has no action %q", want.Kind, want.Group, b.Action)
	}
	a, err := t.get()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(a.Status.Resources, func(o argoResource) bool {
		return o.Group == want.Group && o.Kind == want.Kind && o.Namespace == want.Namespace && o.Name == want.Name
	})
	switch {
	case i < 0:
		return nil, sdk.Errorf(404, "Application %s has no %s %s in namespace %s", b.AppName, want.Kind, want.Name, want.Namespace)
	case !a.here():
		return nil, sdk.Errorf(422, "the objects of Application %s are in another cluster", b.AppName)
	}
	path := kube.Objects(want.Group+"/"+a.Status.Resources[i].Version, want.Namespace, action.plural, want.Name)
	if action.spec != nil {
		if err := t.cluster.Patch(path, kube.MergePatch, map[string]any{"spec": action.spec()}, nil); err != nil {
			return nil, err
		}
	}
	if action.status != nil {
		if err := t.cluster.Patch(path+"/status", kube.MergePatch, map[string]any{"status": action.status}, nil); err != nil {
			return nil, err
		}
	}
	return sdk.JSON(200, argoDone{true, b.Action + " of " + want.Kind + " " + want.Name + " requested", "object"})
}
