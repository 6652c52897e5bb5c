// Package azure is the client of the capability "azure", which reads and operates
// subscriptions of Azure through Azure Resource Manager. The host has the credentials,
// subscription ids and API versions, and defines the possible requests; a plugin names an
// instance, a resource group and a resource.
//
// Names may come directly from a request: an empty or invalid name is an error with status
// 400 that names it. Other errors are *sdk.Error from the host: 403 from policy, the
// operator's grant or Azure; 404, 409 and 429 from Azure, with Azure's code and
// correlation id in Detail; 502 to 504 if Azure failed or took too long.
//
// Answers are Azure's own JSON, decoded into the value that a plugin passes. See the REST
// reference of the resource, in the version that the host's documentation names.
package azure

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// Instance is a subscription by its name in the operator's config.
type Instance string

// Type is a kind of resource, as Azure writes it.
type Type string

const (
	ContainerGroups    Type = "Microsoft.ContainerInstance/containerGroups"
	KubernetesClusters Type = "Microsoft.ContainerService/managedClusters"
	ScaleSets          Type = "Microsoft.Compute/virtualMachineScaleSets"
	VirtualMachines    Type = "Microsoft.Compute/virtualMachines"
)

// Types are the types that the host supports.
var Types = []Type{ContainerGroups, KubernetesClusters, ScaleSets, VirtualMachines}

// Verb is a change.
type Verb string

const (
	Restart Verb = "restart"
	Start   Verb = "start"
	Stop    Verb = "stop"
)

// Resource is one resource of a type.
type Resource struct {
	Group string // the resource group
	Type  Type
	Name  string
}

// List is a list that the host merged. Errors has the resource groups that could not be
// read; the list contains the others. Truncated is set if the host did not read
// everything.
type List[T any] struct {
	Value     []T          `json:"value"`
	Errors    []GroupError `json:"errors"`
	Truncated bool         `json:"truncated"`
}

// GroupError is why a resource group, or all of a list, could not be read.
type GroupError struct {
	ResourceGroup string `json:"resourceGroup,omitempty"`
	Status        int    `json:"status"` // HTTP
	Message       string `json:"message"`
	Detail        string `json:"detail,omitempty"`     // Azure's code and the correlation id
	RetryAfter    int    `json:"retryAfter,omitempty"` // seconds to wait, as requested by Azure
}

// Change is the state of a change. Status is InProgress, Succeeded, Failed or Canceled. ID
// is for State; it is empty if the change has ended or Azure gave no address for its
// state.
type Change struct {
	Status          string       `json:"status"`
	ID              string       `json:"id"`
	StartTime       string       `json:"startTime"` // RFC 3339
	EndTime         string       `json:"endTime"`
	PercentComplete *float64     `json:"percentComplete"`
	RetryAfter      int          `json:"retryAfter"` // seconds until the next request
	Error           *ChangeError `json:"error"`
	Target          ChangeTarget `json:"target"`
}

// ChangeTarget is the resource of a change; Type is its type in permissions, such as
// containerinstances.
type ChangeTarget struct {
	Type          string `json:"type"`
	ResourceGroup string `json:"resourceGroup"`
	Name          string `json:"name"`
}

// ChangeError is Azure's reason for the failure of a change.
type ChangeError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ResourceGroups reads the resource groups in which the user may see anything.
func (i Instance) ResourceGroups(out any) error { return i.get("/resourceGroups", nil, out) }

// List reads the resources of a type in the named groups, or in all. Groups that the user
// may not see are left out.
func (i Instance) List(t Type, groups []string, out any) error {
	path, err := t.path()
	if err != nil {
		return err
	}
	return i.get("/providers"+path, url.Values{"resourceGroup": groups}, out)
}

// Get reads one resource.
func (i Instance) Get(r Resource, out any) error { return i.at(r, "", nil, out) }

// NodePools reads a Kubernetes cluster's node pools.
func (i Instance) NodePools(r Resource, out any) error { return i.at(r, "/agentPools", nil, out) }

// ScaleSetVMs reads the machines of a scale set.
func (i Instance) ScaleSetVMs(r Resource, out any) error {
	return i.at(r, "/virtualMachines", nil, out)
}

// Logs reads the last lines of a container's log. If tail is zero, Azure chooses their
// number.
func (i Instance) Logs(r Resource, container string, tail int, timestamps bool) (string, error) {
	if err := checkName("container", container); err != nil {
		return "", err
	}
	query := url.Values{}
	if tail > 0 {
		query.Set("tail", strconv.Itoa(tail))
	}
	if timestamps {
		query.Set("timestamps", "true")
	}
	var out struct {
		Content string `json:"content"`
	}
	err := i.at(r, "/containers/"+container+"/logs", query, &out)
	return out.Content, err
}

// Change begins a change of a resource. It does not wait for its end.
func (i Instance) Change(r Resource, v Verb) (*Change, error) { return i.change(r, "/"+string(v)) }

// RestartScaleSetVM begins restarting one machine of a scale set.
func (i Instance) RestartScaleSetVM(r Resource, vm string) (*Change, error) {
	if err := checkName("virtual machine", vm); err != nil {
		return nil, err
	}
	return i.change(r, "/virtualMachines/"+vm+"/restart")
}

// State reads the state of a change. With a wait of up to 20 s, the host asks Azure
// repeatedly and answers when the change has ended or the wait is over.
func (i Instance) State(id string, wait time.Duration) (*Change, error) {
	if id == "" {
		return nil, invalid("id is required")
	}
	var out Change
	query := url.Values{"id": {id}, "wait": {strconv.Itoa(int(wait.Seconds()))}}
	if err := i.get("/operations", query, &out); err != nil {
		return nil, err
	}
	if out.Status == "InProgress" {
		out.ID = id
	}
	return &out, nil
}

// CostQuery is a query of costs. Timeframe is MonthToDate, WeekToDate, BillingMonthToDate,
// TheLastMonth, TheLastBillingMonth, or Custom with From and To as YYYY-MM-DD. GroupBy is
// up to two of ResourceGroupName, ServiceName, ResourceLocation, ResourceType,
// MeterCategory. With Daily the result has a row for each day.
type CostQuery struct {
	Group     string // a resource group; empty: all that the user may see
	Timeframe string
	From, To  string
	GroupBy   []string
	Daily     bool
}

// CostTable has a row for each combination of the groupings.
type CostTable struct {
	Columns []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"columns"`
	Rows      [][]json.RawMessage `json:"rows"`
	Truncated bool                `json:"truncated"`
}

// Costs reads actual costs.
func (i Instance) Costs(q CostQuery) (*CostTable, error) {
	path := "/providers/Microsoft.CostManagement/query"
	if q.Group != "" {
		if err := checkGroup(q.Group); err != nil {
			return nil, err
		}
		path = "/resourceGroups/" + q.Group + path
	}
	query := url.Values{"timeframe": {q.Timeframe}, "groupBy": q.GroupBy}
	if q.From != "" || q.To != "" {
		query.Set("from", q.From)
		query.Set("to", q.To)
	}
	if q.Daily {
		query.Set("granularity", "Daily")
	}
	var out CostTable
	err := i.get(path, query, &out)
	return &out, err
}

// MetricQuery is a query of metrics. Aggregations are of Average, Count, Maximum, Minimum,
// Total; Interval is an ISO 8601 duration that Azure Monitor supports, such as PT1M.
type MetricQuery struct {
	Names        []string
	Aggregations []string
	From, To     time.Time
	Interval     string
	Top          int // number of series; 0: Azure's default
}

// Metrics reads values of a resource's metrics.
func (i Instance) Metrics(r Resource, q MetricQuery, out any) error {
	query := url.Values{
		"metricnames": q.Names, "aggregation": q.Aggregations,
		"timespan": {q.From.UTC().Format(time.RFC3339) + "/" + q.To.UTC().Format(time.RFC3339)},
	}
	if q.Interval != "" {
		query.Set("interval", q.Interval)
	}
	if q.Top > 0 {
		query.Set("top", strconv.Itoa(q.Top))
	}
	return i.at(r, "/providers/Microsoft.Insights/metrics", query, out)
}

// MetricDefinitions reads the metrics that a resource has.
func (i Instance) MetricDefinitions(r Resource, out any) error {
	return i.at(r, "/providers/Microsoft.Insights/metricDefinitions", nil, out)
}

func (i Instance) change(r Resource, verb string) (*Change, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	target, err := i.url(path+verb, nil)
	if err != nil {
		return nil, err
	}
	var out Change
	if err := rest.Do(fetch, "POST", target, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

func (i Instance) at(r Resource, below string, query url.Values, out any) error {
	path, err := r.path()
	if err != nil {
		return err
	}
	return i.get(path+below, query, out)
}

func (i Instance) get(path string, query url.Values, out any) error {
	target, err := i.url(path, query)
	if err != nil {
		return err
	}
	return rest.Do(fetch, "GET", target, nil, out)
}

func (i Instance) url(path string, query url.Values) (string, error) {
	if err := checkName("instance", string(i)); err != nil {
		return "", err
	}
	target := "azure://" + string(i) + path
	if q := query.Encode(); q != "" {
		target += "?" + q
	}
	return target, nil
}

func (t Type) path() (string, error) {
	for _, known := range Types {
		if strings.EqualFold(string(known), string(t)) {
			return "/" + string(known), nil
		}
	}
	return "", invalid("type " + strconv.Quote(clip(string(t))) + " is not supported by the host")
}

func (r Resource) path() (string, error) {
	path, err := r.Type.path()
	if err == nil {
		err = checkGroup(r.Group)
	}
	if err == nil {
		err = checkName("name", r.Name)
	}
	return "/resourceGroups/" + r.Group + "/providers" + path + "/" + r.Name, err
}

// checkGroup refuses names that could change a URL's structure. The host enforces Azure's
// own rule for the names of resource groups (letters and digits of any script).
func checkGroup(s string) error {
	if s == "" {
		return invalid("resourceGroup is required")
	}
	if len(s) > 270 || strings.HasSuffix(s, ".") || strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x80 && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.()", r)
	}) {
		return invalid("resourceGroup " + strconv.Quote(clip(s)) + " is not a name")
	}
	return nil
}

// checkName refuses names that could change a URL's structure.
func checkName(what, s string) error {
	if s == "" {
		return invalid(what + " is required")
	}
	if len(s) > 128 || s[0] == '.' || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	}) {
		return invalid(what + " " + strconv.Quote(clip(s)) + " is not a name")
	}
	return nil
}

func invalid(message string) error {
	return &abi.Error{Code: abi.CodeInvalid, Status: 400, Message: message}
}

func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
