package azure

import (
	"net/http"
	"strings"
)

// shape is the form of an operation's request and answer.
type shape uint8

const (
	one    shape = iota // one object
	pages               // a list, in pages
	action              // a change, which may take long
	costs               // a query of costs
	state               // the state of a change
)

// operation is a request to Azure; a request that is not listed here is never sent. In
// path, {group}, {name} and {sub} are one segment each; the rest is literal and sent as
// it is written here.
type operation struct {
	method  string
	path    string
	kind    string
	verb    string
	shape   shape
	version string            // the pinned api-version
	fixed   map[string]string // of the query on the wire
	query   []string          // further keys that a plugin may give
	repeat  []string          // keys of query that may occur more than once

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
	list(resourceGroups, resourcesVersion, "resourcegroups"),
	list(containerInstances, instancesVersion, instances),
	list(containerInstances, instancesVersion, inGroup+instances),
	get(containerInstances, instancesVersion, inGroup+instances+"/{name}"),
	get(containerInstances, instancesVersion, inGroup+instances+"/{name}/containers/{sub}/logs", "tail", "timestamps"),
	change(containerInstances, instancesVersion, inGroup+instances+"/{name}/", verbRestart),
	change(containerInstances, instancesVersion, inGroup+instances+"/{name}/", verbStart),
	change(containerInstances, instancesVersion, inGroup+instances+"/{name}/", verbStop),
	list(kubernetesServices, kubernetesVersion, kubernetes),
	list(kubernetesServices, kubernetesVersion, inGroup+kubernetes),
	get(kubernetesServices, kubernetesVersion, inGroup+kubernetes+"/{name}"),
	list(kubernetesServices, kubernetesVersion, inGroup+kubernetes+"/{name}/agentPools"),
	change(kubernetesServices, kubernetesVersion, inGroup+kubernetes+"/{name}/", verbStart),
	change(kubernetesServices, kubernetesVersion, inGroup+kubernetes+"/{name}/", verbStop),
	list(scaleSets, computeVersion, sets),
	list(scaleSets, computeVersion, inGroup+sets),
	get(scaleSets, computeVersion, inGroup+sets+"/{name}"),
	list(scaleSets, computeVersion, inGroup+sets+"/{name}/virtualMachines").with("$expand", "instanceView"),
	change(scaleSets, computeVersion, inGroup+sets+"/{name}/virtualmachines/{sub}/", verbRestart),
	list(virtualMachines, computeVersion, machines),
	list(virtualMachines, computeVersion, inGroup+machines),
	get(virtualMachines, computeVersion, inGroup+machines+"/{name}").with("$expand", "instanceView"),
	cost(costQuery), cost(inGroup+costQuery),
	definitions(instances), definitions(kubernetes), definitions(sets), definitions(machines),
	metrics(instances), metrics(kubernetes), metrics(sets), metrics(machines),
	operation{method: http.MethodGet, path: "operations", verb: verbGet, shape: state, query: []string{"id", "wait"}},
)

func get(kind, version, path string, query ...string) operation {
	return operation{method: http.MethodGet, path: path, kind: kind, verb: verbGet, version: version, query: query}
}

// list returns a list in pages. A list without a group in its path may name several.
func list(kind, version, path string) operation {
	o := operation{method: http.MethodGet, path: path, kind: kind, verb: verbGet, shape: pages, version: version}
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
		method: http.MethodGet, path: path, kind: costManagement, verb: verbGet, shape: costs, version: costVersion,
		query: []string{"timeframe", "from", "to", "granularity", "groupBy"}, repeat: []string{"groupBy"},
	}
}

func definitions(resource string) operation {
	return list(monitor, insightsVersion, inGroup+resource+"/{name}"+insights+"metricDefinitions")
}

func metrics(resource string) operation {
	o := get(monitor, insightsVersion, inGroup+resource+"/{name}"+insights+"metrics", "metricnames", "aggregation", "timespan", "interval", "top")
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

// match compares the segments of a URL, whose literals are not case-sensitive in Azure,
// and returns the values of the segments in braces.
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

// wire returns the path that is sent, below the subscription.
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
