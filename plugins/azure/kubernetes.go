package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
)

type powerState struct {
	Code string `json:"code"` // Running or Stopped
}

type armCluster struct {
	resource
	SKU struct {
		Tier string `json:"tier"`
	} `json:"sku"`
	Properties struct {
		State          string     `json:"provisioningState"`
		Power          powerState `json:"powerState"`
		Version        string     `json:"kubernetesVersion"`
		CurrentVersion string     `json:"currentKubernetesVersion"`
		FQDN           string     `json:"fqdn"`
		PrivateFQDN    string     `json:"privateFQDN"`
		DNSPrefix      string     `json:"dnsPrefix"`
		NodeGroup      string     `json:"nodeResourceGroup"`
		EnableRBAC     bool       `json:"enableRBAC"`
		Network        struct {
			Plugin      string `json:"networkPlugin"`
			Policy      string `json:"networkPolicy"`
			ServiceCIDR string `json:"serviceCidr"`
			PodCIDR     string `json:"podCidr"`
		} `json:"networkProfile"`
		Pools []struct {
			Name  string `json:"name"`
			Count int    `json:"count"`
		} `json:"agentPoolProfiles"`
	} `json:"properties"`
}

type shownCluster struct {
	resource
	PowerState        string        `json:"powerState"` // Running or Stopped
	ProvisioningState string        `json:"provisioningState"`
	Version           string        `json:"version"`          // what runs
	RequestedVersion  string        `json:"requestedVersion"` // what is asked for
	Tier              string        `json:"tier,omitempty"`
	FQDN              string        `json:"fqdn,omitempty"`
	NodeResourceGroup string        `json:"nodeResourceGroup,omitempty"`
	NodePools         int           `json:"nodePools"`
	Nodes             int           `json:"nodes"`
	RBAC              bool          `json:"rbac"`
	Network           *shownNetwork `json:"network,omitempty"`
}

type shownNetwork struct {
	Plugin      string `json:"plugin"`
	Policy      string `json:"policy,omitempty"`
	ServiceCIDR string `json:"serviceCIDR,omitempty"`
	PodCIDR     string `json:"podCIDR,omitempty"`
}

func (c *armCluster) shown() shownCluster {
	p := &c.Properties
	out := shownCluster{
		resource: c.resource.shown(), PowerState: p.Power.Code, ProvisioningState: p.State, Version: p.CurrentVersion,
		RequestedVersion: p.Version, Tier: c.SKU.Tier, FQDN: p.FQDN, NodeResourceGroup: p.NodeGroup, NodePools: len(p.Pools), RBAC: p.EnableRBAC,
	}
	if out.FQDN == "" {
		out.FQDN = p.PrivateFQDN
	}
	if out.Version == "" {
		out.Version = p.Version
	}
	for _, pool := range p.Pools {
		out.Nodes += pool.Count
	}
	if n := p.Network; n.Plugin != "" {
		out.Network = &shownNetwork{n.Plugin, n.Policy, n.ServiceCIDR, n.PodCIDR}
	}
	return out
}

type clusterList struct {
	Clusters []shownCluster `json:"managedClusters"`
	partial
}

func managedClusters(r *sdk.Request) (*sdk.Response, error) {
	var list azure.List[armCluster]
	if err := instanceOf(r).List(azure.KubernetesClusters, r.Values()["resourceGroup"], &list); err != nil {
		return nil, err
	}
	return sdk.JSON(200, clusterList{each(list.Value, (*armCluster).shown), partial{list.Errors, list.Truncated}})
}

func managedCluster(r *sdk.Request) (*sdk.Response, error) {
	var c armCluster
	if err := instanceOf(r).Get(resourceOf(r, azure.KubernetesClusters, "managedCluster"), &c); err != nil {
		return nil, err
	}
	return sdk.JSON(200, c.shown())
}

type armPool struct {
	Name       string `json:"name"`
	Properties struct {
		State        string            `json:"provisioningState"`
		Power        powerState        `json:"powerState"`
		Mode         string            `json:"mode"`
		Count        int               `json:"count"`
		MinCount     *int              `json:"minCount"`
		MaxCount     *int              `json:"maxCount"`
		AutoScaling  bool              `json:"enableAutoScaling"`
		VMSize       string            `json:"vmSize"`
		OSType       string            `json:"osType"`
		OSSKU        string            `json:"osSKU"`
		DiskGB       int               `json:"osDiskSizeGB"`
		MaxPods      int               `json:"maxPods"`
		Version      string            `json:"currentOrchestratorVersion"`
		Requested    string            `json:"orchestratorVersion"`
		ImageVersion string            `json:"nodeImageVersion"`
		Zones        []string          `json:"availabilityZones"`
		Labels       map[string]string `json:"nodeLabels"`
		Taints       []string          `json:"nodeTaints"`
	} `json:"properties"`
}

type shownPool struct {
	Name              string            `json:"name"`
	Mode              string            `json:"mode"` // System or User
	PowerState        string            `json:"powerState"`
	ProvisioningState string            `json:"provisioningState"`
	Count             int               `json:"count"`
	MinCount          *int              `json:"minCount,omitempty"` // with autoscaling
	MaxCount          *int              `json:"maxCount,omitempty"`
	AutoScaling       bool              `json:"autoScaling"`
	VMSize            string            `json:"vmSize"`
	OSType            string            `json:"osType"`
	OSSKU             string            `json:"osSKU,omitempty"`
	OSDiskGB          int               `json:"osDiskGB,omitempty"`
	MaxPods           int               `json:"maxPods,omitempty"`
	Version           string            `json:"version"`
	RequestedVersion  string            `json:"requestedVersion"`
	NodeImageVersion  string            `json:"nodeImageVersion,omitempty"`
	Zones             []string          `json:"zones,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	Taints            []string          `json:"taints,omitempty"`
}

func (a *armPool) shown() shownPool {
	p := &a.Properties
	return shownPool{
		Name: a.Name, Mode: p.Mode, PowerState: p.Power.Code, ProvisioningState: p.State, Count: p.Count, MinCount: p.MinCount, MaxCount: p.MaxCount,
		AutoScaling: p.AutoScaling, VMSize: p.VMSize, OSType: p.OSType, OSSKU: p.OSSKU, OSDiskGB: p.DiskGB, MaxPods: p.MaxPods,
		Version: p.Version, RequestedVersion: p.Requested, NodeImageVersion: p.ImageVersion, Zones: p.Zones, Labels: p.Labels, Taints: p.Taints,
	}
}

type poolList struct {
	Pools []shownPool `json:"nodePools"`
	partial
}

func nodePools(r *sdk.Request) (*sdk.Response, error) {
	var list azure.List[armPool]
	if err := instanceOf(r).NodePools(resourceOf(r, azure.KubernetesClusters, "managedCluster"), &list); err != nil {
		return nil, err
	}
	return sdk.JSON(200, poolList{each(list.Value, (*armPool).shown), partial{list.Errors, list.Truncated}})
}
