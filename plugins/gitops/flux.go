package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

func init() {
	sdk.Handle("flux-objects", fluxObjects)
	sdk.Handle("flux-object", fluxObject)
	sdk.Handle("kustomizations", kustomizations)
	sdk.Handle("flux-reconcile", fluxReconcile)
	sdk.Handle("flux-suspend", fluxSuspend)
	sdk.Handle("flux-resume", fluxResume)
}

// fluxType is a type of object that a Flux controller reconciles.
type fluxType struct{ kind, api, plural string }

const (
	fluxSources    = "/apis/source.toolkit.fluxcd.io/v1"
	fluxImages     = "/apis/image.toolkit.fluxcd.io/v1"
	fluxRequested  = "reconcile.fluxcd.io/requestedAt"
	fluxForced     = "reconcile.fluxcd.io/forceAt"
	fluxSuspendedB = "bulkhead.internal/suspended-by"
	fluxSuspendedA = "bulkhead.internal/suspended-at"
	fluxSuspendedR = "bulkhead.internal/suspended-reason"
)

// https://fluxcd.io/flux/components/
var fluxTypes = []fluxType{
	{"Kustomization", "/apis/kustomize.toolkit.fluxcd.io/v1", "kustomizations"},
	{"HelmRelease", "/apis/helm.toolkit.fluxcd.io/v2", "helmreleases"},
	{"GitRepository", fluxSources, "gitrepositories"},
	{"OCIRepository", fluxSources, "ocirepositories"},
	{"HelmRepository", fluxSources, "helmrepositories"},
	{"HelmChart", fluxSources, "helmcharts"},
	{"Bucket", fluxSources, "buckets"},
	{"ImageRepository", fluxImages, "imagerepositories"},
	{"ImagePolicy", fluxImages, "imagepolicies"},
	{"ImageUpdateAutomation", fluxImages, "imageupdateautomations"},
}

func fluxTypeOf(kind string) (fluxType, error) {
	i := slices.IndexFunc(fluxTypes, func(t fluxType) bool { return t.kind == kind })
	if i < 0 {
		return fluxType{}, sdk.Errorf(400, "kind must be one of Flux's, such as Kustomization, HelmRelease or GitRepository")
	}
	return fluxTypes[i], nil
}

// fluxRef names another object of Flux.
type fluxRef struct {
	Kind      string `json:"kind,omitempty"`
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"` // empty: that of the object
}

type fluxContent struct {
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		Suspend   bool      `json:"suspend"`
		SourceRef *fluxRef  `json:"sourceRef"`
		ChartRef  *fluxRef  `json:"chartRef"`
		DependsOn []fluxRef `json:"dependsOn"`
		Chart     *struct {
			Spec struct {
				Chart     string   `json:"chart"`
				Version   string   `json:"version"`
				SourceRef *fluxRef `json:"sourceRef"`
			} `json:"spec"`
		} `json:"chart"`
		URL      string `json:"url"`
		Path     string `json:"path"`
		Interval string `json:"interval"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration    int64           `json:"observedGeneration"`
		Conditions            []fluxCondition `json:"conditions"`
		LastAppliedRevision   string          `json:"lastAppliedRevision"`
		LastAttemptedRevision string          `json:"lastAttemptedRevision"`
		LastHandled           string          `json:"lastHandledReconcileAt"`
		Artifact              *struct {
			Revision       string `json:"revision"`
			LastUpdateTime string `json:"lastUpdateTime"`
		} `json:"artifact"`
		Inventory *struct {
			Entries []struct {
				ID string `json:"id"` // NAMESPACE_NAME_GROUP_KIND
				V  string `json:"v"`
			} `json:"entries"`
		} `json:"inventory"`
	} `json:"status"`
}

type fluxCondition struct {
	Type               string `json:"type"`
	Status             string `json:"status"`
	Reason             string `json:"reason"`
	Message            string `json:"message"`
	LastTransitionTime string `json:"lastTransitionTime,omitempty"`
}

// fluxSummary is what lists show of an object of Flux.
type fluxSummary struct {
	Kind      string     `json:"kind"`
	Name      string     `json:"name"`
	Namespace string     `json:"namespace"`
	Cluster   string     `json:"cluster"`
	Ready     string     `json:"ready"` // True, False or Unknown
	Reason    string     `json:"reason,omitempty"`
	Message   string     `json:"message,omitempty"`
	Current   bool       `json:"current"` // the controller has seen the last change and the last request to reconcile
	Revision  string     `json:"revision,omitempty"`
	Attempted string     `json:"attemptedRevision,omitempty"`
	Source    *fluxRef   `json:"source,omitempty"`
	DependsOn []fluxRef  `json:"dependsOn,omitempty"`
	URL       string     `json:"url,omitempty"`
	Path      string     `json:"path,omitempty"`
	Chart     string     `json:"chart,omitempty"`
	Version   string     `json:"version,omitempty"`
	Interval  string     `json:"interval,omitempty"`
	Suspended *suspended `json:"suspended,omitempty"` // absent if it is not suspended
}

// suspended says who suspended an object and why; empty if it was done elsewhere.
type suspended struct {
	By     string `json:"by,omitempty"`
	Since  string `json:"since,omitempty"` // RFC 3339
	Reason string `json:"reason,omitempty"`
}

// source is the object that the content comes from, with its namespace.
func (c *fluxContent) source() *fluxRef {
	ref := c.Spec.SourceRef
	if c.Spec.ChartRef != nil {
		ref = c.Spec.ChartRef
	}
	if c.Spec.Chart != nil && c.Spec.Chart.Spec.SourceRef != nil {
		ref = c.Spec.Chart.Spec.SourceRef
	}
	if ref == nil {
		return nil
	}
	full := *ref
	if full.Namespace == "" {
		full.Namespace = c.Metadata.Namespace
	}
	return &full
}

func (c *fluxContent) summary(t fluxType, cluster string) fluxSummary {
	s := fluxSummary{
		Kind: t.kind, Name: c.Metadata.Name, Namespace: c.Metadata.Namespace, Cluster: cluster, Ready: "Unknown",
		Revision: c.Status.LastAppliedRevision, Attempted: c.Status.LastAttemptedRevision, Source: c.source(), DependsOn: c.Spec.DependsOn,
		URL: c.Spec.URL, Path: c.Spec.Path, Interval: c.Spec.Interval,
		Current: c.Status.ObservedGeneration == c.Metadata.Generation &&
			c.Status.LastHandled == c.Metadata.Annotations[fluxRequested],
	}
	if s.Revision == "" && c.Status.Artifact != nil {
		s.Revision = c.Status.Artifact.Revision
	}
	if c.Spec.Chart != nil {
		s.Chart, s.Version = c.Spec.Chart.Spec.Chart, c.Spec.Chart.Spec.Version
	}
	for _, condition := range c.Status.Conditions {
		if condition.Type == "Ready" {
			s.Ready, s.Reason, s.Message = condition.Status, condition.Reason, condition.Message
		}
	}
	if c.Spec.Suspend {
		a := c.Metadata.Annotations
		s.Suspended = &suspended{a[fluxSuspendedB], a[fluxSuspendedA], a[fluxSuspendedR]}
	}
	return s
}

type fluxList struct {
	Items      []fluxSummary `json:"items"`
	TotalCount int           `json:"totalCount"`
	Truncated  bool          `json:"truncated,omitempty"`
	Errors     []listError   `json:"errors,omitempty"`
}

// fluxTypesOf returns the type whose kind the query names, or all.
func fluxTypesOf(r *sdk.Request) ([]fluxType, error) {
	kind := r.Query("kind")
	if kind == "" {
		return fluxTypes, nil
	}
	t, err := fluxTypeOf(kind)
	return []fluxType{t}, err
}

// fluxObjects answers the objects of Flux, of one kind or of all.
func fluxObjects(r *sdk.Request) (*sdk.Response, error) {
	types, err := fluxTypesOf(r)
	if err != nil {
		return nil, err
	}
	list, err := listFlux(r, types)
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, list)
}

// listFlux lists objects of several types. A type that the user may not list is in the
// errors, unless it is every type.
func listFlux(r *sdk.Request, types []fluxType) (*fluxList, error) {
	list := &fluxList{Items: []fluxSummary{}}
	failed, err := eachCluster(r, func(cluster kube.Cluster) error {
		var hidden []listError
		var first error
		refused := 0
		for _, t := range types {
			err := listObjects(r, cluster, t.api, t.plural, &list.Truncated, func(c *fluxContent) {
				list.Items = append(list.Items, c.summary(t, string(cluster)))
			})
			if err == nil || absent(err) { // not every controller of Flux is installed everywhere
				continue
			}
			e, ok := errors.AsType[*sdk.Error](err)
			if !ok || e.Status != 403 {
				return err
			}
			if refused++; first == nil {
				first = err
			}
			if len(types) > 1 {
				hidden = append(hidden, listError{"kind_forbidden", string(cluster), "", e.Status, t.kind + ": " + e.Message, e.Detail})
			}
		}
		if refused == len(types) {
			return first
		}
		list.Errors = append(list.Errors, hidden...)
		return nil
	})
	list.Errors = append(list.Errors, failed...)
	list.TotalCount = len(list.Items)
	return list, err
}

// kustomizations answers Flux's Kustomizations under the name that the earlier console
// gave the list.
func kustomizations(r *sdk.Request) (*sdk.Response, error) {
	list, err := listFlux(r, fluxTypes[:1])
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, struct {
		Kustomizations []fluxSummary `json:"kustomizations"`
		Truncated      bool          `json:"truncated,omitempty"`
		Errors         []listError   `json:"errors,omitempty"`
	}{list.Items, list.Truncated, list.Errors})
}

type fluxDetail struct {
	fluxSummary
	Conditions []fluxCondition `json:"conditions"`
	Inventory  []inventoryItem `json:"inventory"` // what a Kustomization has applied
	Events     []fluxEvent     `json:"events"`    // the newest last
	EventError string          `json:"eventError,omitempty"`
}

type inventoryItem struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

type fluxEvent struct {
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Count   int64  `json:"count,omitempty"`
	Time    string `json:"time"`
}

const maxEvents = 50

// fluxObject answers one object of Flux with its conditions, inventory and events.
func fluxObject(r *sdk.Request) (*sdk.Response, error) {
	o, t, err := fluxTarget(r.Query("kind"), r.Query("name"), r.Query("namespace"), r.Query("cluster"))
	if err != nil {
		return nil, err
	}
	var c fluxContent
	if err := o.read(&c); err != nil {
		return nil, err
	}
	d := fluxDetail{
		fluxSummary: c.summary(t, string(o.cluster)), Conditions: orEmpty(c.Status.Conditions),
		Inventory: []inventoryItem{}, Events: []fluxEvent{},
	}
	if c.Status.Inventory != nil {
		for _, entry := range c.Status.Inventory.Entries {
			if item, ok := parseInventory(entry.ID, entry.V); ok {
				d.Inventory = append(d.Inventory, item)
			}
		}
	}
	if d.Events, err = eventsOf(o.cluster, o.ns, t.kind, o.name); err != nil {
		d.Events, d.EventError = []fluxEvent{}, err.Error()
	}
	return sdk.JSON(200, d)
}

// parseInventory reads an entry NAMESPACE_NAME_GROUP_KIND. Only the name of RBAC's
// objects has an underscore, for a colon, and then two of them.
func parseInventory(id, version string) (inventoryItem, bool) {
	namespace, rest, ok := strings.Cut(id, "_")
	i := strings.LastIndexByte(rest, '_')
	if !ok || i < 0 {
		return inventoryItem{}, false
	}
	rest, kind := rest[:i], rest[i+1:]
	if i = strings.LastIndexByte(rest, '_'); i < 0 {
		return inventoryItem{}, false
	}
	return inventoryItem{rest[i+1:], version, kind, namespace, strings.ReplaceAll(rest[:i], "__", ":")}, true
}

// eventsOf returns the newest events about an object.
func eventsOf(c kube.Cluster, namespace, kind, name string) ([]fluxEvent, error) {
	var list struct {
		Items []struct {
			Type, Reason, Message    string
			Count                    int64
			LastTimestamp, EventTime string
			Metadata                 objectMeta
		}
	}
	options := kube.ListOptions{FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name, Limit: 500}
	if err := c.List(collection("/api/v1", namespace, "events"), options, &list); err != nil {
		return nil, err
	}
	events := make([]fluxEvent, 0, len(list.Items))
	for _, e := range list.Items {
		at := e.LastTimestamp
		if at == "" {
			at = e.EventTime
		}
		if at == "" {
			at = e.Metadata.CreationTimestamp
		}
		events = append(events, fluxEvent{e.Type, e.Reason, e.Message, e.Count, at})
	}
	slices.SortStableFunc(events, func(a, b fluxEvent) int {
		x, _ := time.Parse(time.RFC3339Nano, a.Time)
		y, _ := time.Parse(time.RFC3339Nano, b.Time)
		return x.Compare(y)
	})
	return events[max(0, len(events)-maxEvents):], nil
}

// fluxTarget checks the names of an object of Flux.
func fluxTarget(kind, name, namespace, cluster string) (object, fluxType, error) {
	if kind == "" || name == "" || namespace == "" || cmp.Or(cluster, settings.DefaultCluster) == "" {
		return object{}, fluxType{}, sdk.Errorf(400, "kind, name, namespace and cluster are required")
	}
	t, err := fluxTypeOf(kind)
	if err != nil {
		return object{}, t, err
	}
	if err := checkNames("name", name, "namespace", namespace); err != nil {
		return object{}, t, err
	}
	c, err := clusterOf(cluster)
	return object{kube.Cluster(c), t.api, t.plural, t.kind, namespace, name}, t, err
}

// fluxBody names the object that a change is about.
type fluxBody struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	Reason    string `json:"reason"`
}

func (b *fluxBody) read() (object, *fluxContent, error) {
	o, _, err := fluxTarget(b.Kind, b.Name, b.Namespace, b.Cluster)
	if err == nil && len(b.Reason) > maxReason {
		err = sdk.Errorf(400, "reason must not be longer than %d bytes", maxReason)
	}
	if err != nil {
		return o, nil, err
	}
	c := &fluxContent{}
	return o, c, o.read(c)
}

type fluxDone struct {
	Success     bool   `json:"success"`
	Message     string `json:"message"`
	RequestedAt string `json:"requestedAt,omitempty"` // the object is current when its controller has handled it
}

// fluxReconcile asks the controller to reconcile an object now, after its source if the
// request says so. The answer comes before the controller has begun; the object is
// current again when it has handled the request.
func fluxReconcile(r *sdk.Request) (*sdk.Response, error) {
	var b struct {
		fluxBody
		WithSource bool `json:"withSource"`
		Force      bool `json:"force"` // of a HelmRelease: upgrade although nothing has changed
	}
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	o, c, err := b.fluxBody.read()
	if err != nil {
		return nil, err
	}
	if b.Force && b.Kind != "HelmRelease" {
		return nil, sdk.Errorf(400, "force is for a HelmRelease")
	}
	if c.Spec.Suspend {
		return nil, sdk.Errorf(409, "%s %s is suspended; resume it first", b.Kind, b.Name)
	}
	at := now().UTC().Format(time.RFC3339Nano)
	message := "reconciliation of " + b.Name + " requested"
	if b.WithSource {
		if err := reconcileSource(o.cluster, c.source(), at); err != nil {
			return nil, err
		}
		message += ", after its source"
	}
	annotations := map[string]any{fluxRequested: at}
	if b.Force {
		annotations[fluxForced] = at
	}
	if err := o.patch(c.Metadata.ResourceVersion, map[string]any{"metadata": map[string]any{"annotations": annotations}}); err != nil {
		return nil, err
	}
	return sdk.JSON(200, fluxDone{true, message, at})
}

func reconcileSource(cluster kube.Cluster, ref *fluxRef, at string) error {
	if ref == nil {
		return sdk.Errorf(400, "withSource is for an object that has a source")
	}
	t, err := fluxTypeOf(ref.Kind)
	if err != nil {
		return sdk.Errorf(409, "the source is a %s, which is not an object of Flux", ref.Kind)
	}
	o := object{cluster, t.api, t.plural, t.kind, ref.Namespace, ref.Name}
	var c fluxContent
	if err := o.read(&c); err != nil {
		return err
	}
	if c.Spec.Suspend {
		return sdk.Errorf(409, "the source, %s %s, is suspended; resume it first", ref.Kind, ref.Name)
	}
	return o.patch(c.Metadata.ResourceVersion, map[string]any{"metadata": map[string]any{"annotations": map[string]any{fluxRequested: at}}})
}

// fluxSuspend stops the reconciliation of an object and notes who did it, when and why.
func fluxSuspend(r *sdk.Request) (*sdk.Response, error) {
	var b fluxBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	o, c, err := b.read()
	if err != nil {
		return nil, err
	}
	if c.Spec.Suspend {
		return sdk.JSON(200, fluxDone{Success: true, Message: b.Name + " is suspended already"})
	}
	annotations := map[string]any{fluxSuspendedB: r.User(), fluxSuspendedA: now().UTC().Format(time.RFC3339), fluxSuspendedR: nil}
	if b.Reason != "" {
		annotations[fluxSuspendedR] = b.Reason
	}
	change := map[string]any{"spec": map[string]any{"suspend": true}, "metadata": map[string]any{"annotations": annotations}}
	if err := o.patch(c.Metadata.ResourceVersion, change); err != nil {
		return nil, err
	}
	return sdk.JSON(200, fluxDone{Success: true, Message: b.Name + " is suspended"})
}

// fluxResume lets an object be reconciled again, and asks for that at once.
func fluxResume(r *sdk.Request) (*sdk.Response, error) {
	var b fluxBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	o, c, err := b.read()
	if err != nil {
		return nil, err
	}
	if !c.Spec.Suspend {
		return sdk.JSON(200, fluxDone{Success: true, Message: b.Name + " is not suspended"})
	}
	at := now().UTC().Format(time.RFC3339Nano)
	change := map[string]any{
		"spec": map[string]any{"suspend": false},
		"metadata": map[string]any{"annotations": map[string]any{
			fluxSuspendedB: nil, fluxSuspendedA: nil, fluxSuspendedR: nil, fluxRequested: at,
		}},
	}
	if err := o.patch(c.Metadata.ResourceVersion, change); err != nil {
		return nil, err
	}
	return sdk.JSON(200, fluxDone{true, b.Name + " is resumed", at})
}

// warmLists keeps the caches of encoding/json for what the lists read.
func warmLists() {
	sdk.WarmJSON(application{}, fluxContent{}, argoList{}, fluxList{}, argoDetail{}, fluxDetail{}, json.RawMessage("{}"))
}
