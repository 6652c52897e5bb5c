package main

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

const (
	argoPath    = "/apis/argoproj.io/v1alpha1"
	argoRefresh = "argocd.argoproj.io/refresh"
	argoPaused  = "bulkhead.internal/paused-automated-sync"
)

func init() {
	sdk.Handle("argocd-applications", argoApplications)
	sdk.Handle("argocd-application", argoApplication)
	sdk.Handle("argocd-applicationsets", argoApplicationSets)
	sdk.Handle("argocd-health", argoHealth)
	sdk.Handle("argocd-sync-stats", argoSyncStats)
	sdk.Handle("argocd-status", argoStatus)
}

// application is an Application as its controller keeps it. What an operation hands on
// unchanged stays as it is.
// https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml
type application struct {
	Metadata  objectMeta      `json:"metadata"`
	Spec      applicationSpec `json:"spec"`
	Operation *argoOperation  `json:"operation"`
	Status    struct {
		Sync struct {
			Status    string   `json:"status"`
			Revision  string   `json:"revision"`
			Revisions []string `json:"revisions"`
		} `json:"sync"`
		Health struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"health"`
		Resources      []argoResource    `json:"resources"`
		History        []argoDeployment  `json:"history"`
		Conditions     []json.RawMessage `json:"conditions"`
		ReconciledAt   string            `json:"reconciledAt"`
		OperationState *struct {
			Operation  argoOperation `json:"operation"`
			Phase      string        `json:"phase"`
			Message    string        `json:"message"`
			StartedAt  string        `json:"startedAt"`
			FinishedAt string        `json:"finishedAt"`
		} `json:"operationState"`
		Summary struct {
			Images       []string `json:"images"`
			ExternalURLs []string `json:"externalURLs"`
		} `json:"summary"`
	} `json:"status"`
}

type objectMeta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	ResourceVersion   string            `json:"resourceVersion"`
	CreationTimestamp string            `json:"creationTimestamp"`
	Generation        int64             `json:"generation"`
	Annotations       map[string]string `json:"annotations"`
}

type applicationSpec struct {
	Project     string            `json:"project"`
	Source      json.RawMessage   `json:"source"`
	Sources     []json.RawMessage `json:"sources"`
	Destination struct {
		Server    string `json:"server"`
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"destination"`
	SyncPolicy *struct {
		Automated   json.RawMessage `json:"automated"`
		SyncOptions []string        `json:"syncOptions"`
		Retry       json.RawMessage `json:"retry"`
	} `json:"syncPolicy"`
}

// argoResource is an object that an Application manages.
type argoResource struct {
	Group           string `json:"group,omitempty"`
	Version         string `json:"version"`
	Kind            string `json:"kind"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name"`
	Status          string `json:"status,omitempty"`
	SyncWave        int64  `json:"syncWave,omitempty"`
	Hook            bool   `json:"hook,omitempty"`
	RequiresPruning bool   `json:"requiresPruning,omitempty"`
	Health          *struct {
		Status  string `json:"status,omitempty"`
		Message string `json:"message,omitempty"`
	} `json:"health,omitempty"`
}

// argoDeployment is one entry of an Application's history.
type argoDeployment struct {
	ID          int64             `json:"id"`
	Revision    string            `json:"revision,omitempty"`
	Revisions   []string          `json:"revisions,omitempty"`
	DeployedAt  string            `json:"deployedAt"`
	InitiatedBy argoInitiator     `json:"initiatedBy"`
	Source      json.RawMessage   `json:"source,omitempty"`
	Sources     []json.RawMessage `json:"sources,omitempty"`
}

// argoSummary is what lists show of an Application.
type argoSummary struct {
	Name          string   `json:"name"`
	Namespace     string   `json:"namespace"`
	Cluster       string   `json:"cluster"`
	Project       string   `json:"project"`
	SyncStatus    string   `json:"syncStatus"`
	HealthStatus  string   `json:"healthStatus"`
	HealthMessage string   `json:"healthMessage,omitempty"`
	Revision      string   `json:"revision,omitempty"`
	Revisions     []string `json:"revisions,omitempty"`
	RepoURL       string   `json:"repoURL,omitempty"`
	Path          string   `json:"path,omitempty"`
	Chart         string   `json:"chart,omitempty"`
	Target        string   `json:"targetRevision,omitempty"`
	Destination   string   `json:"destination,omitempty"`
	DestNamespace string   `json:"destinationNamespace,omitempty"`
	Automated     bool     `json:"automated"`
	ReconciledAt  string   `json:"reconciledAt,omitempty"`
	Operation     *running `json:"operation,omitempty"` // the last one, or the one that runs
}

// running is the state of an Application's operation.
type running struct {
	Phase       string `json:"phase"` // Requested, Running, Terminating, Succeeded, Failed or Error
	Message     string `json:"message,omitempty"`
	StartedAt   string `json:"startedAt,omitempty"`
	FinishedAt  string `json:"finishedAt,omitempty"`
	InitiatedBy string `json:"initiatedBy,omitempty"`
}

// automated reports whether the controller syncs by itself.
func (a *application) automated() bool {
	if a.Spec.SyncPolicy == nil || len(a.Spec.SyncPolicy.Automated) == 0 || string(a.Spec.SyncPolicy.Automated) == "null" {
		return false
	}
	var policy struct{ Enabled *bool }
	_ = json.Unmarshal(a.Spec.SyncPolicy.Automated, &policy)
	return policy.Enabled == nil || *policy.Enabled
}

// operation returns the operation that was requested, runs or ran last, or nil.
func (a *application) operation() *running {
	if a.Operation != nil {
		return &running{Phase: "Requested", InitiatedBy: a.Operation.InitiatedBy.name()}
	}
	s := a.Status.OperationState
	if s == nil {
		return nil
	}
	return &running{s.Phase, s.Message, s.StartedAt, s.FinishedAt, s.Operation.InitiatedBy.name()}
}

func (a *application) summary(cluster string) argoSummary {
	s := argoSummary{
		Name: a.Metadata.Name, Namespace: a.Metadata.Namespace, Cluster: cluster, Project: a.Spec.Project,
		SyncStatus: cmp.Or(a.Status.Sync.Status, "Unknown"), HealthStatus: cmp.Or(a.Status.Health.Status, "Unknown"),
		HealthMessage: a.Status.Health.Message, Revision: a.Status.Sync.Revision, Revisions: a.Status.Sync.Revisions,
		Destination:   cmp.Or(a.Spec.Destination.Name, a.Spec.Destination.Server),
		DestNamespace: a.Spec.Destination.Namespace, Automated: a.automated(),
		ReconciledAt: a.Status.ReconciledAt, Operation: a.operation(),
	}
	source := a.Spec.Source
	if len(a.Spec.Sources) > 0 {
		source = a.Spec.Sources[0]
	}
	var from struct{ RepoURL, Path, Chart, TargetRevision string }
	if len(source) > 0 {
		_ = json.Unmarshal(source, &from) // the API server has checked it
	}
	s.RepoURL, s.Path, s.Chart, s.Target = from.RepoURL, from.Path, from.Chart, from.TargetRevision
	return s
}

func argoNamespace(name string) string {
	return cmp.Or(name, settings.ArgoCDNamespace, "argocd")
}

type argoList struct {
	Items      []argoSummary `json:"items"`
	TotalCount int           `json:"totalCount"`
	IsDemoData bool          `json:"isDemoData"` // always false; the earlier console had sample data
	Truncated  bool          `json:"truncated,omitempty"`
	Errors     []listError   `json:"errors,omitempty"`
}

// argoApplications answers the Applications of every cluster that runs Argo CD.
func argoApplications(r *sdk.Request) (*sdk.Response, error) {
	list := argoList{Items: []argoSummary{}}
	err := eachApplication(r, &list.Truncated, &list.Errors, func(cluster string, a *application) {
		if project := r.Query("project"); project == "" || project == a.Spec.Project {
			list.Items = append(list.Items, a.summary(cluster))
		}
	})
	if err != nil {
		return nil, err
	}
	list.TotalCount = len(list.Items)
	return sdk.JSON(200, list)
}

func eachApplication(r *sdk.Request, truncated *bool, failed *[]listError, use func(cluster string, a *application)) (err error) {
	*failed, err = eachCluster(r, func(cluster kube.Cluster) error {
		return listObjects(r, cluster, argoPath, "applications", truncated, func(a *application) { use(string(cluster), a) })
	})
	return err
}

type argoDetail struct {
	argoSummary
	Images        []string          `json:"images"`
	ExternalURLs  []string          `json:"externalURLs"`
	Conditions    []json.RawMessage `json:"conditions"`
	Resources     []argoResource    `json:"resources"`
	History       []argoDeployment  `json:"history"`
	Source        json.RawMessage   `json:"source,omitempty"`
	Sources       []json.RawMessage `json:"sources,omitempty"`
	SyncOptions   []string          `json:"syncOptions"`
	AutomatedSync json.RawMessage   `json:"automatedSync,omitempty"`
	Paused        *pausedSync       `json:"pausedAutomatedSync,omitempty"`
}

// argoApplication answers one Application: its managed objects with sync and health, its
// history, and what its controller has to say.
func argoApplication(r *sdk.Request) (*sdk.Response, error) {
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
	d := argoDetail{
		argoSummary: a.summary(string(t.cluster)), Images: orEmpty(a.Status.Summary.Images), ExternalURLs: orEmpty(a.Status.Summary.ExternalURLs),
		Conditions: orEmpty(a.Status.Conditions), Resources: orEmpty(a.Status.Resources), History: orEmpty(a.Status.History),
		Source: a.Spec.Source, Sources: a.Spec.Sources, SyncOptions: []string{}, Paused: a.paused(),
	}
	if p := a.Spec.SyncPolicy; p != nil {
		d.SyncOptions, d.AutomatedSync = orEmpty(p.SyncOptions), p.Automated
	}
	return sdk.JSON(200, d)
}

type argoSet struct {
	Name       string            `json:"name"`
	Namespace  string            `json:"namespace"`
	Cluster    string            `json:"cluster"`
	Generators []string          `json:"generators"` // their types, such as git or clusters
	Resources  int               `json:"resourcesCount"`
	Status     string            `json:"status"` // Healthy, Progressing, Error or Unknown
	Conditions []json.RawMessage `json:"conditions"`
}

// argoApplicationSets answers the ApplicationSets of every cluster that runs Argo CD.
func argoApplicationSets(r *sdk.Request) (*sdk.Response, error) {
	var list struct {
		Items      []argoSet   `json:"items"`
		TotalCount int         `json:"totalCount"`
		IsDemoData bool        `json:"isDemoData"`
		Truncated  bool        `json:"truncated,omitempty"`
		Errors     []listError `json:"errors,omitempty"`
	}
	list.Items = []argoSet{}
	var err error
	list.Errors, err = eachCluster(r, func(cluster kube.Cluster) error {
		return listObjects(r, cluster, argoPath, "applicationsets", &list.Truncated, func(s *struct {
			Metadata objectMeta
			Spec     struct{ Generators []map[string]json.RawMessage }
			Status   struct {
				Conditions []json.RawMessage
				Resources  []struct{}
			}
		}) {
			shown := argoSet{
				Name: s.Metadata.Name, Namespace: s.Metadata.Namespace, Cluster: string(cluster), Generators: []string{},
				Resources: len(s.Status.Resources), Status: setStatus(s.Status.Conditions), Conditions: orEmpty(s.Status.Conditions),
			}
			for _, g := range s.Spec.Generators {
				for kind := range g {
					if kind != "selector" {
						shown.Generators = append(shown.Generators, kind)
					}
				}
			}
			slices.Sort(shown.Generators)
			list.Items = append(list.Items, shown)
		})
	})
	if err != nil {
		return nil, err
	}
	list.TotalCount = len(list.Items)
	return sdk.JSON(200, list)
}

// setStatus sums up an ApplicationSet's conditions.
func setStatus(conditions []json.RawMessage) string {
	is := map[string]bool{}
	for _, text := range conditions {
		var c struct{ Type, Status string }
		if json.Unmarshal(text, &c) == nil {
			is[c.Type] = c.Status == "True"
		}
	}
	switch {
	case is["ErrorOccurred"]:
		return "Error"
	case is["RolloutProgressing"]:
		return "Progressing"
	case is["ResourcesUpToDate"]:
		return "Healthy"
	}
	return "Unknown"
}

// argoHealth counts the Applications by health, argoSyncStats by sync status.
func argoHealth(r *sdk.Request) (*sdk.Response, error) {
	return argoStats(r, []string{"healthy", "progressing", "degraded", "suspended", "missing", "unknown"}, func(a *application) string {
		return a.Status.Health.Status
	})
}

func argoSyncStats(r *sdk.Request) (*sdk.Response, error) {
	return argoStats(r, []string{"synced", "outOfSync", "unknown"}, func(a *application) string { return a.Status.Sync.Status })
}

func argoStats(r *sdk.Request, names []string, of func(*application) string) (*sdk.Response, error) {
	var answer struct {
		Stats     map[string]int `json:"stats"`
		Truncated bool           `json:"truncated,omitempty"`
		Errors    []listError    `json:"errors,omitempty"`
	}
	answer.Stats = map[string]int{"total": 0}
	for _, name := range names {
		answer.Stats[name] = 0
	}
	err := eachApplication(r, &answer.Truncated, &answer.Errors, func(_ string, a *application) {
		i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, of(a)) })
		if i < 0 {
			i = len(names) - 1 // unknown
		}
		answer.Stats[names[i]]++
		answer.Stats["total"]++
	})
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, answer)
}

// argoStatus answers on which clusters Argo CD's resource types are installed.
func argoStatus(r *sdk.Request) (*sdk.Response, error) {
	var answer struct {
		Detected bool        `json:"detected"`
		Clusters []string    `json:"clusters"`
		Errors   []listError `json:"errors,omitempty"`
	}
	answer.Clusters = []string{}
	var err error
	answer.Errors, err = eachCluster(r, func(cluster kube.Cluster) error {
		path := collection(argoPath, r.Query("namespace"), "applications")
		err := cluster.List(path, kube.ListOptions{Limit: 1}, &struct{}{})
		if err == nil {
			answer.Clusters = append(answer.Clusters, string(cluster))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	answer.Detected = len(answer.Clusters) > 0
	return sdk.JSON(200, answer)
}
