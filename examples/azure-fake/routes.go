package main

import (
	"net/http"
	"regexp"

	computefake "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6/fake"
	instancefake "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2/fake"
	servicefake "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6/fake"
	costfake "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/costmanagement/armcostmanagement/v2/fake"
	monitorfake "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/monitor/armmonitor/fake"
	resourcesfake "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/fake"
)

type transporter interface {
	Do(*http.Request) (*http.Response, error)
}

// route maps a request to an API of the SDK. path is below the subscription.
type route struct {
	method   string
	path     *regexp.Regexp
	api      string // the value of runtime.CtxAPINameKey
	version  string
	provider string
	server   func(*inventory) transporter
}

const (
	groupOf = `/resourceGroups/[^/]+`
	groups  = groupOf + `/providers/Microsoft\.ContainerInstance/containerGroups`
	cluster = groupOf + `/providers/Microsoft\.ContainerService/managedClusters`
	machine = groupOf + `/providers/Microsoft\.Compute/virtualMachines`
	scale   = groupOf + `/providers/Microsoft\.Compute/virtualMachineScaleSets`
	one     = `/[^/]+`
)

var routes = []route{
	resourcesAt("GET", `/resourcegroups`, "ResourceGroupsClient.NewListPager"),

	instanceAt("GET", `/providers/Microsoft\.ContainerInstance/containerGroups`, "ContainerGroupsClient.NewListPager"),
	instanceAt("GET", groups, "ContainerGroupsClient.NewListByResourceGroupPager"),
	instanceAt("GET", groups+one, "ContainerGroupsClient.Get"),
	instanceAt("POST", groups+one+`/restart`, "ContainerGroupsClient.BeginRestart"),
	instanceAt("POST", groups+one+`/start`, "ContainerGroupsClient.BeginStart"),
	instanceAt("POST", groups+one+`/stop`, "ContainerGroupsClient.Stop"),
	instanceAt("GET", groups+one+`/containers`+one+`/logs`, "ContainersClient.ListLogs"),

	serviceAt("GET", `/providers/Microsoft\.ContainerService/managedClusters`, "ManagedClustersClient.NewListPager"),
	serviceAt("GET", cluster, "ManagedClustersClient.NewListByResourceGroupPager"),
	serviceAt("GET", cluster+one, "ManagedClustersClient.Get"),
	serviceAt("GET", cluster+one+`/agentPools`, "AgentPoolsClient.NewListPager"),
	serviceAt("POST", cluster+one+`/start`, "ManagedClustersClient.BeginStart"),
	serviceAt("POST", cluster+one+`/stop`, "ManagedClustersClient.BeginStop"),

	computeAt("GET", `/providers/Microsoft\.Compute/virtualMachines`, "VirtualMachinesClient.NewListAllPager"),
	computeAt("GET", machine, "VirtualMachinesClient.NewListPager"),
	computeAt("GET", machine+one, "VirtualMachinesClient.Get"),
	computeAt("GET", `/providers/Microsoft\.Compute/virtualMachineScaleSets`, "VirtualMachineScaleSetsClient.NewListAllPager"),
	computeAt("GET", scale, "VirtualMachineScaleSetsClient.NewListPager"),
	computeAt("GET", scale+one, "VirtualMachineScaleSetsClient.Get"),
	computeAt("GET", scale+one+`/virtualMachines`, "VirtualMachineScaleSetVMsClient.NewListPager"),
	computeAt("POST", scale+one+`/virtualmachines`+one+`/restart`, "VirtualMachineScaleSetVMsClient.BeginRestart"),

	costAt("POST", `(`+groupOf+`)?/providers/Microsoft\.CostManagement/query`, "QueryClient.Usage"),

	monitorAt("GET", groupOf+`/providers/.+/providers/Microsoft\.Insights/metricDefinitions`, "MetricDefinitionsClient.NewListPager"),
	monitorAt("GET", groupOf+`/providers/.+/providers/Microsoft\.Insights/metrics`, "MetricsClient.List"),
}

func at(method, path, api, version, provider string, server func(*inventory) transporter) route {
	return route{method, regexp.MustCompile("^" + path + "$"), api, version, provider, server}
}

func resourcesAt(method, path, api string) route {
	return at(method, path, api, "2021-04-01", "Microsoft.Resources", func(i *inventory) transporter {
		return resourcesfake.NewServerFactoryTransport(&resourcesfake.ServerFactory{
			ResourceGroupsServer: resourcesfake.ResourceGroupsServer{NewListPager: i.listGroups},
		})
	})
}

func instanceAt(method, path, api string) route {
	return at(method, path, api, "2023-05-01", "Microsoft.ContainerInstance", func(i *inventory) transporter {
		return instancefake.NewServerFactoryTransport(&instancefake.ServerFactory{
			ContainerGroupsServer: instancefake.ContainerGroupsServer{
				NewListPager: i.listContainerGroups, NewListByResourceGroupPager: i.listContainerGroupsIn, Get: i.getContainerGroup,
				BeginRestart: i.restartContainerGroup, BeginStart: i.startContainerGroup, Stop: i.stopContainerGroup,
			},
			ContainersServer: instancefake.ContainersServer{ListLogs: i.containerLogs},
		})
	})
}

func serviceAt(method, path, api string) route {
	return at(method, path, api, "2025-02-01", "Microsoft.ContainerService", func(i *inventory) transporter {
		return servicefake.NewServerFactoryTransport(&servicefake.ServerFactory{
			ManagedClustersServer: servicefake.ManagedClustersServer{
				NewListPager: i.listClusters, NewListByResourceGroupPager: i.listClustersIn, Get: i.getCluster,
				BeginStart: i.startCluster, BeginStop: i.stopCluster,
			},
			AgentPoolsServer: servicefake.AgentPoolsServer{NewListPager: i.listPools},
		})
	})
}

func computeAt(method, path, api string) route {
	return at(method, path, api, "2024-11-01", "Microsoft.Compute", func(i *inventory) transporter {
		return computefake.NewServerFactoryTransport(&computefake.ServerFactory{
			VirtualMachinesServer: computefake.VirtualMachinesServer{
				NewListAllPager: i.listMachines, NewListPager: i.listMachinesIn, Get: i.getMachine,
			},
			VirtualMachineScaleSetsServer: computefake.VirtualMachineScaleSetsServer{
				NewListAllPager: i.listScaleSets, NewListPager: i.listScaleSetsIn, Get: i.getScaleSet,
			},
			VirtualMachineScaleSetVMsServer: computefake.VirtualMachineScaleSetVMsServer{
				NewListPager: i.listScaleSetVMs, BeginRestart: i.restartScaleSetVM,
			},
		})
	})
}

func costAt(method, path, api string) route {
	return at(method, path, api, "2022-10-01", "Microsoft.CostManagement", func(i *inventory) transporter {
		return costfake.NewServerFactoryTransport(&costfake.ServerFactory{QueryServer: costfake.QueryServer{Usage: i.usage}})
	})
}

func monitorAt(method, path, api string) route {
	return at(method, path, api, "2024-02-01", "Microsoft.Insights", func(i *inventory) transporter {
		return monitorfake.NewServerFactoryTransport(&monitorfake.ServerFactory{
			MetricDefinitionsServer: monitorfake.MetricDefinitionsServer{NewListPager: i.listDefinitions},
			MetricsServer:           monitorfake.MetricsServer{List: i.metrics},
		})
	})
}
