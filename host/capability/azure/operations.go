package azure

import (
	"net/http"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/azurename"
)

// shape is how an operation is asked and answered.
type shape uint8

const (
	one    shape = iota // one object
	pages               // a list, in pages
	action              // a change, which may take long
	costs               // a query of costs
	state               // the state of a change
)

// operation is something that can be asked of Azure: everything that is not
// listed here never reaches the wire. In path, {group} and {name}, {sub} stand
// for one segment each; the rest is literal, and the wire has it as it is
// written here.
type operation struct {
	method  string
	path    string
	kind    string
	verb    string
	shape   shape
	version string            // the pinned api-version
	fixed   map[string]string // of the query on the wire
	query   []string          // what a plugin may say besides
	repeat  []string          // of query: may occur more than once

	segments []string
}

// The pinned versions of each provider's API.
const (
	resourcesVersion  = "2021-04-01"
	instancesVersion  = "2023-05-01"
	kubernetesVersion = "2025-02-01"
	computeVersion    = "2024-11-01"
	costVersion       = "2022-10-01"
	insightsVersion   = "2024-02-01"
)

const (
	inGroup    = "resourceGroups/{group}/"
	instances  = "providers/Microsoft.ContainerInstance/containerGroups"
	kubernetes = "providers/Microsoft.ContainerService/managedClusters"
	sets       = "providers/Microsoft.Compute/virtualMachineScaleSets"
	machines   = "providers/Microsoft.Compute/virtualMachines"
	costQuery  = "providers/Microsoft.CostManagement/query"
	insights   = "/providers/Microsoft.Insights/"
)

var operations = compile(
	list(azurename.ResourceGroups, resourcesVersion, "resourcegroups"),
	list(azurename.ContainerInstances, instancesVersion, instances),
	list(azurename.ContainerInstances, instancesVersion, inGroup+instances),
	get(azurename.ContainerInstances, instancesVersion, inGroup+instances+"/{name}"),
	get(azurename.ContainerInstances, instancesVersion, inGroup+instances+"/{name}/containers/{sub}/logs", "tail", "timestamps"),
	change(azurename.ContainerInstances, instancesVersion, inGroup+instances+"/{name}/", azurename.Restart),
	change(azurename.ContainerInstances, instancesVersion, inGroup+instances+"/{name}/", azurename.Start),
	change(azurename.ContainerInstances, instancesVersion, inGroup+instances+"/{name}/", azurename.Stop),
	list(azurename.KubernetesServices, kubernetesVersion, kubernetes),
	list(azurename.KubernetesServices, kubernetesVersion, inGroup+kubernetes),
	get(azurename.KubernetesServices, kubernetesVersion, inGroup+kubernetes+"/{name}"),
	list(azurename.KubernetesServices, kubernetesVersion, inGroup+kubernetes+"/{name}/agentPools"),
	change(azurename.KubernetesServices, kubernetesVersion, inGroup+kubernetes+"/{name}/", azurename.Start),
	change(azurename.KubernetesServices, kubernetesVersion, inGroup+kubernetes+"/{name}/", azurename.Stop),
	list(azurename.ScaleSets, computeVersion, sets),
	list(azurename.ScaleSets, computeVersion, inGroup+sets),
	get(azurename.ScaleSets, computeVersion, inGroup+sets+"/{name}"),
	list(azurename.ScaleSets, computeVersion, inGroup+sets+"/{name}/virtualMachines").with("$expand", "instanceView"),
	change(azurename.ScaleSets, computeVersion, inGroup+sets+"/{name}/virtualmachines/{sub}/", azurename.Restart),
	list(azurename.VirtualMachines, computeVersion, machines),
	list(azurename.VirtualMachines, computeVersion, inGroup+machines),
	get(azurename.VirtualMachines, computeVersion, inGroup+machines+"/{name}").with("$expand", "instanceView"),
	cost(costQuery), cost(inGroup+costQuery),
	definitions(instances), definitions(kubernetes), definitions(sets), definitions(machines),
	metrics(instances), metrics(kubernetes), metrics(sets), metrics(machines),
	operation{method: http.MethodGet, path: "operations", verb: azurename.Get, shape: state, query: []string{"id", "wait"}},
)

func get(kind, version, path string, query ...string) operation {
	return operation{method: http.MethodGet, path: path, kind: kind, verb: azurename.Get, version: version, query: query}
}

// list is a list in pages. One that names no group may name several.
func list(kind, version, path string) operation {
	o := operation{method: http.MethodGet, path: path, kind: kind, verb: azurename.Get, shape: pages, version: version}
	if !strings.HasPrefix(path, inGroup) {
		o.query, o.repeat = []string{groupKey}, []string{groupKey}
	}
	return o
}

func change(kind, version, path, verb string) operation {
	return operation{method: http.MethodPost, path: path + verb, kind: kind, verb: verb, shape: action, version: version}
}

func cost(path string) operation {
	return operation{
		method: http.MethodGet, path: path, kind: azurename.CostManagement, verb: azurename.Get, shape: costs, version: costVersion,
		query: []string{"timeframe", "from", "to", "granularity", "groupBy"}, repeat: []string{"groupBy"},
	}
}

func definitions(resource string) operation {
	return list(azurename.Monitor, insightsVersion, inGroup+resource+"/{name}"+insights+"metricDefinitions")
}

func metrics(resource string) operation {
	o := get(azurename.Monitor, insightsVersion, inGroup+resource+"/{name}"+insights+"metrics", "metricnames", "aggregation", "timespan", "interval", "top")
	o.repeat = []string{"metricnames", "aggregation"}
	return o
}

func (o operation) with(key, value string) operation {
	o.fixed = map[string]string{key: value}
	return o
}

func compile(list ...operation) []operation {
	for i := range list {
		list[i].segments = strings.Split(list[i].path, "/")
	}
	return list
}

// match compares the segments of a URL, whose literals Azure reads without
// case, and returns what stands for {…}.
func (o *operation) match(method string, segments []string) (names map[string]string, ok bool) {
	if method != o.method || len(segments) != len(o.segments) {
		return nil, false
	}
	for i, want := range o.segments {
		if what, ok := strings.CutPrefix(want, "{"); ok {
			if names == nil {
				names = map[string]string{}
			}
			names[strings.TrimSuffix(what, "}")] = segments[i]
		} else if !strings.EqualFold(want, segments[i]) {
			return nil, false
		}
	}
	return names, true
}

// wire is the path on the wire below the subscription.
func (o *operation) wire(names map[string]string) string {
	out := make([]string, len(o.segments))
	for i, s := range o.segments {
		if what, ok := strings.CutPrefix(s, "{"); ok {
			s = names[strings.TrimSuffix(what, "}")]
		}
		out[i] = s
	}
	return strings.Join(out, "/")
}
