// Azure is the console's Azure feature: container instances, Kubernetes
// services, virtual machines and scale sets, costs, metrics. It checks what was
// asked and shapes what Azure answers for a page; credentials, subscriptions and
// the person's rights are the host's.
package main

import (
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
)

func init() {
	sdk.OnStart(start)
	sdk.Handle("resource-groups", resourceGroups)
	sdk.Handle("container-groups", containerGroups)
	sdk.Handle("container-group", containerGroup)
	sdk.Handle("container-logs", containerLogs)
	sdk.Handle("container-group-restart", change(azure.ContainerGroups, "containerGroup", azure.Restart))
	sdk.Handle("container-group-start", change(azure.ContainerGroups, "containerGroup", azure.Start))
	sdk.Handle("container-group-stop", change(azure.ContainerGroups, "containerGroup", azure.Stop))
	sdk.Handle("managed-clusters", managedClusters)
	sdk.Handle("managed-cluster", managedCluster)
	sdk.Handle("node-pools", nodePools)
	sdk.Handle("managed-cluster-start", change(azure.KubernetesClusters, "managedCluster", azure.Start))
	sdk.Handle("managed-cluster-stop", change(azure.KubernetesClusters, "managedCluster", azure.Stop))
	sdk.Handle("scale-sets", scaleSets)
	sdk.Handle("scale-set", scaleSet)
	sdk.Handle("scale-set-vms", scaleSetVMs)
	sdk.Handle("scale-set-vm-restart", restartScaleSetVM)
	sdk.Handle("virtual-machines", virtualMachines)
	sdk.Handle("virtual-machine", virtualMachine)
	sdk.Handle("actual-cost", actualCost)
	sdk.Handle("metric-definitions", metricDefinitions)
	sdk.Handle("metrics", metrics)
	sdk.Handle("change", changeState)
}

func main() {}

// start takes no config. What encoding/json learns of the types here, requests
// need not learn again.
func start(s *sdk.Start) error {
	sdk.WarmJSON(
		azure.List[armGroup]{}, groupList{}, azure.List[armContainerGroup]{}, armContainerGroup{}, containerGroupList{},
		azure.List[armCluster]{}, armCluster{}, clusterList{}, azure.List[armPool]{}, poolList{},
		azure.List[armScaleSet]{}, armScaleSet{}, scaleSetList{}, azure.List[armMachine]{}, armMachine{}, machineList{},
		azure.CostTable{}, costAnswer{}, azure.List[armDefinition]{}, definitionList{}, armMetrics{}, metricsAnswer{},
		azure.Change{}, shownChange{},
	)
	return s.Config(new(struct{}))
}

func instanceOf(r *sdk.Request) azure.Instance { return azure.Instance(r.Param("instance")) }

// resourceOf is the resource that a query names under key.
func resourceOf(r *sdk.Request, t azure.Type, key string) azure.Resource {
	return azure.Resource{Group: r.Query("resourceGroup"), Type: t, Name: r.Query(key)}
}

// partial is what every list says besides its items.
type partial struct {
	Errors    []azure.GroupError `json:"errors,omitempty"` // groups that could not be read
	Truncated bool               `json:"truncated,omitempty"`
}

// resource is what all of Azure's resources have. It is both read from Azure
// and shown; the group is taken from the id.
type resource struct {
	ID            string            `json:"id"`
	Name          string            `json:"name"`
	ResourceGroup string            `json:"resourceGroup"`
	Location      string            `json:"location"`
	Zones         []string          `json:"zones,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
}

func (r resource) shown() resource {
	if parts := strings.Split(r.ID, "/"); len(parts) > 4 && strings.EqualFold(parts[3], "resourceGroups") {
		r.ResourceGroup = parts[4]
	}
	return r
}

// status is an entry of an instance view.
type status struct {
	Code          string `json:"code"`
	DisplayStatus string `json:"displayStatus"`
	Time          string `json:"time"`
}

// power reads the state from an instance view, such as running or deallocated.
func power(list []status) string {
	for _, s := range list {
		if state, ok := strings.CutPrefix(s.Code, "PowerState/"); ok {
			return state
		}
	}
	return ""
}

// each shapes a list; the result is never null in JSON.
func each[In, Out any](list []In, shape func(*In) Out) []Out {
	out := make([]Out, len(list))
	for i := range list {
		out[i] = shape(&list[i])
	}
	return out
}

type armGroup struct {
	resource
	Properties struct {
		State string `json:"provisioningState"`
	} `json:"properties"`
}

type shownGroup struct {
	Name     string            `json:"name"`
	ID       string            `json:"id"`
	Location string            `json:"location"`
	State    string            `json:"state"`
	Tags     map[string]string `json:"tags,omitempty"`
}

type groupList struct {
	Groups []shownGroup `json:"resourceGroups"`
	partial
}

func resourceGroups(r *sdk.Request) (*sdk.Response, error) {
	var list azure.List[armGroup]
	if err := instanceOf(r).ResourceGroups(&list); err != nil {
		return nil, err
	}
	return sdk.JSON(200, groupList{each(list.Value, func(g *armGroup) shownGroup {
		return shownGroup{g.Name, g.ID, g.Location, g.Properties.State, g.Tags}
	}), partial{list.Errors, list.Truncated}})
}
