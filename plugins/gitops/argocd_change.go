package main

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

func init() {
	sdk.Handle("argocd-sync", argoSync)
	sdk.Handle("argocd-rollback", argoRollback)
	sdk.Handle("argocd-terminate", argoTerminate)
	sdk.Handle("argocd-refresh", argoRefreshApp)
	sdk.Handle("argocd-automation", argoAutomation)
}

// argoOperation is what Argo CD's controller carries out for an Application: its field
// "operation", which the controller removes when it begins.
type argoOperation struct {
	Sync        *argoSyncOperation `json:"sync,omitempty"`
	InitiatedBy argoInitiator      `json:"initiatedBy"`
	Info        []argoInfo         `json:"info,omitempty"`
	Retry       *argoRetry         `json:"retry,omitempty"`
}

type argoInitiator struct {
	Username  string `json:"username,omitempty"`
	Automated bool   `json:"automated,omitempty"`
}

func (i argoInitiator) name() string {
	if i.Automated {
		return "automated sync"
	}
	return i.Username
}

type argoInfo struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type argoSyncOperation struct {
	Revision     string             `json:"revision,omitempty"`
	Revisions    []string           `json:"revisions,omitempty"`
	Prune        bool               `json:"prune,omitempty"`
	DryRun       bool               `json:"dryRun,omitempty"`
	SyncStrategy *argoStrategy      `json:"syncStrategy,omitempty"`
	Resources    []argoSyncResource `json:"resources,omitempty"`
	Source       json.RawMessage    `json:"source,omitempty"`
	Sources      []json.RawMessage  `json:"sources,omitempty"`
	SyncOptions  []string           `json:"syncOptions,omitempty"`
}

// argoStrategy has one field: apply runs no hooks, hook runs them.
type argoStrategy struct {
	Apply *argoForce `json:"apply,omitempty"`
	Hook  *argoForce `json:"hook,omitempty"`
}

type argoForce struct {
	Force bool `json:"force,omitempty"`
}

type argoSyncResource struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

type argoRetry struct {
	Limit   int64 `json:"limit,omitempty"` // attempts; negative: no limit
	Backoff *struct {
		Duration    string `json:"duration,omitempty"`
		Factor      *int64 `json:"factor,omitempty"`
		MaxDuration string `json:"maxDuration,omitempty"`
	} `json:"backoff,omitempty"`
}

// appBody names the Application that a change is about.
type appBody struct {
	AppName   string `json:"appName"`
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	Reason    string `json:"reason"`
}

// argoApp is an Application in its cluster.
type argoApp struct{ object }

// argoTarget checks the names of an Application. An empty cluster or namespace is the
// default one.
func argoTarget(name, cluster, namespace string) (argoApp, error) {
	namespace = argoNamespace(namespace)
	c, err := clusterOf(cluster)
	if err != nil {
		return argoApp{}, err
	}
	return argoApp{object{kube.Cluster(c), argoPath, "applications", "Application", namespace, name}},
		checkNames("appName", name, "namespace", namespace)
}

func (b *appBody) target() (argoApp, error) {
	if b.AppName == "" || cmp.Or(b.Cluster, settings.DefaultCluster) == "" {
		return argoApp{}, sdk.Errorf(400, "appName and cluster are required")
	}
	if len(b.Reason) > maxReason {
		return argoApp{}, sdk.Errorf(400, "reason must not be longer than %d bytes", maxReason)
	}
	return argoTarget(b.AppName, b.Cluster, b.Namespace)
}

const (
	maxReason = 1024
	maxFields = 1000 // resources or options of one sync
)

func (t *argoApp) get() (*application, error) {
	a := &application{}
	return a, t.read(a)
}

// openApp reads a body that names an Application, and the Application.
func openApp(r *sdk.Request, body interface{ target() (argoApp, error) }) (t argoApp, a *application, err error) {
	if err = r.JSON(body); err != nil {
		return t, nil, err
	}
	if t, err = body.target(); err != nil {
		return t, nil, err
	}
	a, err = t.get()
	return t, a, err
}

// idle refuses if an operation was requested or runs: there is one at a time.
func (a *application) idle() error {
	o := a.operation()
	if o == nil || o.Phase != "Requested" && o.Phase != "Running" && o.Phase != "Terminating" {
		return nil
	}
	who, since := "", ""
	if o.InitiatedBy != "" {
		who = " by " + o.InitiatedBy
	}
	if o.StartedAt != "" {
		since = " since " + o.StartedAt
	}
	return sdk.Errorf(409, "an operation%s is in progress%s; wait for its end, or terminate it", who, since)
}

// initiated is an operation of the person who asks.
func initiated(r *sdk.Request, reason string, sync *argoSyncOperation) *argoOperation {
	o := &argoOperation{Sync: sync, InitiatedBy: argoInitiator{Username: r.User()}}
	if reason != "" {
		o.Info = []argoInfo{{"Reason", reason}}
	}
	return o
}

type argoDone struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
	Method  string `json:"method"` // always "operation": the field that Argo CD's controller acts on
}

func argoAnswer(message string) (*sdk.Response, error) {
	return sdk.JSON(200, argoDone{true, message, "operation"})
}

// argoSyncBody is the body of argoSync.
type argoSyncBody struct {
	appBody
	Revision    string             `json:"revision"`
	Revisions   []string           `json:"revisions"` // of an Application with several sources
	Prune       bool               `json:"prune"`
	DryRun      bool               `json:"dryRun"`
	Strategy    string             `json:"strategy"` // hook, the default, or apply
	Force       bool               `json:"force"`
	Resources   []argoSyncResource `json:"resources"`
	SyncOptions []string           `json:"syncOptions"`
	Retry       *argoRetry         `json:"retry"`
}

// operation returns what the body asks for, once it is checked.
func (b *argoSyncBody) operation() (*argoSyncOperation, error) {
	strategy := &argoStrategy{}
	switch b.Strategy {
	case "", "hook":
		strategy.Hook = &argoForce{b.Force}
	case "apply":
		strategy.Apply = &argoForce{b.Force}
	default:
		return nil, sdk.Errorf(400, "strategy must be hook or apply")
	}
	if len(b.Resources) > maxFields || len(b.SyncOptions) > maxFields || len(b.Revisions) > maxFields {
		return nil, sdk.Errorf(400, "resources, syncOptions and revisions must not have more than %d entries each", maxFields)
	}
	if slices.ContainsFunc(b.Resources, func(o argoSyncResource) bool { return o.Kind == "" || o.Name == "" }) {
		return nil, sdk.Errorf(400, "resources: kind and name are required")
	}
	if b.Retry != nil && b.Retry.Backoff != nil {
		for field, text := range map[string]string{"duration": b.Retry.Backoff.Duration, "maxDuration": b.Retry.Backoff.MaxDuration} {
			if _, err := time.ParseDuration(text); err != nil && text != "" {
				return nil, sdk.Errorf(400, "retry.backoff.%s must be a duration such as 5s", field)
			}
		}
	}
	return &argoSyncOperation{
		Revision: b.Revision, Revisions: b.Revisions, Prune: b.Prune, DryRun: b.DryRun,
		SyncStrategy: strategy, Resources: b.Resources, SyncOptions: b.SyncOptions,
	}, nil
}

// argoSync asks the controller to sync an Application. The answer comes before the sync
// has begun; the Application's operation says how it goes.
func argoSync(r *sdk.Request) (*sdk.Response, error) {
	var b argoSyncBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	t, err := b.target()
	if err != nil {
		return nil, err
	}
	sync, err := b.operation()
	if err != nil {
		return nil, err
	}
	a, err := t.get()
	if err != nil {
		return nil, err
	}
	if err := a.idle(); err != nil {
		return nil, err
	}
	if err := a.permitted(&t); err != nil {
		return nil, err
	}
	if p := a.Spec.SyncPolicy; p != nil && b.SyncOptions == nil {
		sync.SyncOptions = p.SyncOptions
	}
	operation := initiated(r, b.Reason, sync)
	if operation.Retry = b.Retry; b.Retry == nil && a.Spec.SyncPolicy != nil && len(a.Spec.SyncPolicy.Retry) > 0 {
		_ = json.Unmarshal(a.Spec.SyncPolicy.Retry, &operation.Retry) // the API server has checked it
	}
	if err := t.patch(a.Metadata.ResourceVersion, map[string]any{"operation": operation}); err != nil {
		return nil, err
	}
	return argoAnswer("sync of " + b.AppName + " requested")
}

// pausedSync is what an annotation keeps of automated sync while it is paused.
type pausedSync struct {
	By        string          `json:"by"`
	Since     string          `json:"since"` // RFC 3339
	Reason    string          `json:"reason,omitempty"`
	Automated json.RawMessage `json:"automated"`
}

func (a *application) paused() *pausedSync {
	text, ok := a.Metadata.Annotations[argoPaused]
	if !ok {
		return nil
	}
	var p pausedSync
	if json.Unmarshal([]byte(text), &p) != nil {
		return nil
	}
	return &p
}

// pause adds to a patch what pauses automated sync and remembers how it was.
func (a *application) pause(change map[string]any, r *sdk.Request, reason string) error {
	text, err := json.Marshal(pausedSync{r.User(), now().UTC().Format(time.RFC3339), reason, a.Spec.SyncPolicy.Automated})
	if err != nil {
		return err
	}
	change["spec"] = map[string]any{"syncPolicy": map[string]any{"automated": nil}}
	change["metadata"] = map[string]any{"annotations": map[string]any{argoPaused: string(text)}}
	return nil
}

// now is the clock; tests replace it.
var now = time.Now

// argoRollback syncs an Application to what its history says was deployed. Automated
// sync would undo that at once, so it has to be off, or to be paused by the request.
func argoRollback(r *sdk.Request) (*sdk.Response, error) {
	var b struct {
		appBody
		ID     *int64 `json:"id"` // of the history; absent: the deployment before the present one
		Prune  bool   `json:"prune"`
		DryRun bool   `json:"dryRun"`
		Pause  bool   `json:"pauseAutomatedSync"`
	}
	t, a, err := openApp(r, &b)
	if err != nil {
		return nil, err
	}
	to, err := a.deployment(b.ID)
	if err != nil {
		return nil, err
	}
	change := map[string]any{}
	if a.automated() {
		if !b.Pause {
			return nil, sdk.Errorf(409, "automated sync would undo the rollback; set pauseAutomatedSync to pause it")
		}
		if err := a.pause(change, r, b.Reason); err != nil {
			return nil, err
		}
	}
	if err := a.idle(); err != nil {
		return nil, err
	}
	if err := a.permitted(&t); err != nil {
		return nil, err
	}
	sync := &argoSyncOperation{
		Revision: to.Revision, Revisions: to.Revisions, Prune: b.Prune, DryRun: b.DryRun,
		SyncStrategy: &argoStrategy{Apply: &argoForce{}}, Source: to.Source, Sources: to.Sources,
	}
	if p := a.Spec.SyncPolicy; p != nil {
		sync.SyncOptions = p.SyncOptions
	}
	change["operation"] = initiated(r, b.Reason, sync)
	if err := t.patch(a.Metadata.ResourceVersion, change); err != nil {
		return nil, err
	}
	message := "rollback of " + b.AppName + " to " + to.name() + " requested"
	if change["spec"] != nil {
		message += "; automated sync is paused"
	}
	return argoAnswer(message)
}

// deployment returns the entry of the history with an id, or the last but one.
func (a *application) deployment(id *int64) (argoDeployment, error) {
	list := a.Status.History
	if id == nil {
		if len(list) < 2 {
			return argoDeployment{}, sdk.Errorf(409, "Application %s has no earlier deployment", a.Metadata.Name)
		}
		return list[len(list)-2], nil
	}
	i := slices.IndexFunc(list, func(d argoDeployment) bool { return d.ID == *id })
	if i < 0 {
		return argoDeployment{}, sdk.Errorf(404, "Application %s has no deployment %d in its history", a.Metadata.Name, *id)
	}
	return list[i], nil
}

func (d argoDeployment) name() string {
	if d.Revision != "" {
		return d.Revision
	}
	return "the deployment of " + d.DeployedAt
}

// argoTerminate asks the controller to end the operation that runs.
func argoTerminate(r *sdk.Request) (*sdk.Response, error) {
	var b appBody
	t, a, err := openApp(r, &b)
	if err != nil {
		return nil, err
	}
	if o := a.operation(); o == nil || o.Phase != "Running" {
		return nil, sdk.Errorf(409, "no operation of Application %s is running", b.AppName)
	}
	change := map[string]any{"status": map[string]any{"operationState": map[string]any{"phase": "Terminating"}}}
	if err := t.patch(a.Metadata.ResourceVersion, change); err != nil {
		return nil, err
	}
	return argoAnswer("end of the operation of " + b.AppName + " requested")
}

// argoRefreshApp asks the controller to compare an Application with its source now; hard
// also drops the manifests that Argo CD has cached.
func argoRefreshApp(r *sdk.Request) (*sdk.Response, error) {
	var b struct {
		appBody
		Hard bool `json:"hard"`
	}
	t, a, err := openApp(r, &b)
	if err != nil {
		return nil, err
	}
	kind := "normal"
	if b.Hard {
		kind = "hard"
	}
	change := map[string]any{"metadata": map[string]any{"annotations": map[string]any{argoRefresh: kind}}}
	if err := t.patch(a.Metadata.ResourceVersion, change); err != nil {
		return nil, err
	}
	return argoAnswer("refresh of " + b.AppName + " requested")
}

// argoAutomation pauses automated sync, or resumes it as it was before it was paused.
func argoAutomation(r *sdk.Request) (*sdk.Response, error) {
	var b struct {
		appBody
		Enabled *bool `json:"enabled"`
	}
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	if b.Enabled == nil {
		return nil, sdk.Errorf(400, "appName, cluster and enabled are required")
	}
	t, err := b.target()
	if err != nil {
		return nil, err
	}
	a, err := t.get()
	if err != nil {
		return nil, err
	}
	if a.automated() == *b.Enabled {
		return argoAnswer("automated sync of " + b.AppName + " is " + onOff(*b.Enabled) + " already")
	}
	change := map[string]any{}
	if !*b.Enabled {
		err = a.pause(change, r, b.Reason)
	} else {
		p := a.paused()
		if p == nil {
			return nil, sdk.Errorf(409, "automated sync of Application %s was not paused here; set spec.syncPolicy.automated", b.AppName)
		}
		change["spec"] = map[string]any{"syncPolicy": map[string]any{"automated": p.Automated}}
		change["metadata"] = map[string]any{"annotations": map[string]any{argoPaused: nil}}
	}
	if err != nil {
		return nil, err
	}
	if err := t.patch(a.Metadata.ResourceVersion, change); err != nil {
		return nil, err
	}
	return argoAnswer("automated sync of " + b.AppName + " is " + onOff(*b.Enabled))
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
