package main

import (
	"context"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	aks "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
)

const (
	clusterType = "Microsoft.ContainerService/managedClusters"
	machineType = "Microsoft.Compute/virtualMachines"
	scaleType   = "Microsoft.Compute/virtualMachineScaleSets"
)

var (
	clusters  = []string{"aks-a", "aks-b"}
	pools     = []string{"system", "user", "spot"}
	machines  = []string{"vm-1", "vm-2", "vm-3"}
	scaleSets = []string{"pool"}
	vms       = []string{"0", "1", "2"}
)

func (i *inventory) cluster(group, name string) *aks.ManagedCluster {
	id := idOf(group, clusterType, name)
	power := aks.CodeRunning
	if i.isStopped(id) {
		power = aks.CodeStopped
	}
	return &aks.ManagedCluster{
		ID: to.Ptr(id), Name: to.Ptr(name), Type: to.Ptr(clusterType), Location: to.Ptr("westeurope"),
		SKU: &aks.ManagedClusterSKU{Name: to.Ptr(aks.ManagedClusterSKUNameBase), Tier: to.Ptr(aks.ManagedClusterSKUTierStandard)},
		Properties: &aks.ManagedClusterProperties{
			KubernetesVersion: to.Ptr("1.33"), CurrentKubernetesVersion: to.Ptr("1.33.2"), Fqdn: to.Ptr(name + ".hcp.westeurope.azmk8s.io"),
			PowerState: &aks.PowerState{Code: &power}, ProvisioningState: to.Ptr("Succeeded"), NodeResourceGroup: to.Ptr("MC_" + group + "_" + name),
			NetworkProfile:    &aks.NetworkProfile{NetworkPlugin: to.Ptr(aks.NetworkPluginAzure), ServiceCidr: to.Ptr("10.0.0.0/16")},
			AgentPoolProfiles: []*aks.ManagedClusterAgentPoolProfile{{Name: to.Ptr("system"), Count: to.Ptr[int32](3)}},
		},
	}
}

func (i *inventory) listClusters(*aks.ManagedClustersClientListOptions) (p azfake.PagerResponder[aks.ManagedClustersClientListResponse]) {
	paged(&p, all("", clusters, i.cluster), func(l []*aks.ManagedCluster) aks.ManagedClustersClientListResponse {
		return aks.ManagedClustersClientListResponse{ManagedClusterListResult: aks.ManagedClusterListResult{Value: l}}
	})
	return p
}

func (i *inventory) listClustersIn(group string, _ *aks.ManagedClustersClientListByResourceGroupOptions) (p azfake.PagerResponder[aks.ManagedClustersClientListByResourceGroupResponse]) {
	pagedIn(&p, group, clusters, i.cluster, func(l []*aks.ManagedCluster) aks.ManagedClustersClientListByResourceGroupResponse {
		return aks.ManagedClustersClientListByResourceGroupResponse{ManagedClusterListResult: aks.ManagedClusterListResult{Value: l}}
	})
	return p
}

func (i *inventory) getCluster(_ context.Context, group, name string, _ *aks.ManagedClustersClientGetOptions) (r azfake.Responder[aks.ManagedClustersClientGetResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, clusterType, name, clusters, &e); ok {
		r.SetResponse(200, aks.ManagedClustersClientGetResponse{ManagedCluster: *i.cluster(groupOfID(id), lastOf(id))}, nil)
	}
	return r, e
}

func (i *inventory) startCluster(_ context.Context, group, name string, _ *aks.ManagedClustersClientBeginStartOptions) (p azfake.PollerResponder[aks.ManagedClustersClientStartResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, clusterType, name, clusters, &e); ok {
		i.set(id, false)
		begun(i, &p, 204, aks.ManagedClustersClientStartResponse{})
	}
	return p, e
}

func (i *inventory) stopCluster(_ context.Context, group, name string, _ *aks.ManagedClustersClientBeginStopOptions) (p azfake.PollerResponder[aks.ManagedClustersClientStopResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, clusterType, name, clusters, &e); ok {
		i.set(id, true)
		begun(i, &p, 204, aks.ManagedClustersClientStopResponse{})
	}
	return p, e
}

func (i *inventory) listPools(group, name string, _ *aks.AgentPoolsClientListOptions) (p azfake.PagerResponder[aks.AgentPoolsClientListResponse]) {
	var e azfake.ErrorResponder
	id, ok := locate(group, clusterType, name, clusters, &e)
	if !ok {
		p.AddResponseError(404, "ResourceNotFound")
		return p
	}
	var list []*aks.AgentPool
	for _, n := range pools {
		list = append(list, &aks.AgentPool{
			ID: to.Ptr(id + "/agentPools/" + n), Name: to.Ptr(n), Type: to.Ptr(clusterType + "/agentPools"),
			Properties: &aks.ManagedClusterAgentPoolProfileProperties{
				Count: to.Ptr[int32](3), MinCount: to.Ptr[int32](1), MaxCount: to.Ptr[int32](5), EnableAutoScaling: to.Ptr(true),
				VMSize: to.Ptr("Standard_D4s_v5"), OSType: to.Ptr(aks.OSTypeLinux), Mode: to.Ptr(aks.AgentPoolModeSystem),
				OrchestratorVersion: to.Ptr("1.33.2"), CurrentOrchestratorVersion: to.Ptr("1.33.2"), NodeImageVersion: to.Ptr("AKSUbuntu-2204gen2containerd-202601.05.0"),
				PowerState: &aks.PowerState{Code: to.Ptr(aks.CodeRunning)}, ProvisioningState: to.Ptr("Succeeded"),
			},
		})
	}
	paged(&p, list, func(l []*aks.AgentPool) aks.AgentPoolsClientListResponse {
		return aks.AgentPoolsClientListResponse{AgentPoolListResult: aks.AgentPoolListResult{Value: l}}
	})
	return p
}

func running() []*armcompute.InstanceViewStatus {
	return []*armcompute.InstanceViewStatus{
		{Code: to.Ptr("ProvisioningState/succeeded"), DisplayStatus: to.Ptr("Provisioning succeeded"), Time: to.Ptr(created)},
		{Code: to.Ptr("PowerState/running"), DisplayStatus: to.Ptr("VM running")},
	}
}

func machineOf(group, name string) *armcompute.VirtualMachine {
	return &armcompute.VirtualMachine{
		ID: to.Ptr(idOf(group, machineType, name)), Name: to.Ptr(name), Type: to.Ptr(machineType), Location: to.Ptr("westeurope"),
		Zones: []*string{to.Ptr("1")},
		Properties: &armcompute.VirtualMachineProperties{
			HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypesStandardD4SV3)},
			OSProfile:       &armcompute.OSProfile{ComputerName: to.Ptr(name), AdminUsername: to.Ptr("azureuser")},
			StorageProfile: &armcompute.StorageProfile{OSDisk: &armcompute.OSDisk{
				OSType: to.Ptr(armcompute.OperatingSystemTypesLinux), DiskSizeGB: to.Ptr[int32](128),
			}},
			ProvisioningState: to.Ptr("Succeeded"), TimeCreated: to.Ptr(created), VMID: to.Ptr("0b1d9cbe-0000-4000-8000-000000000001"),
		},
	}
}

func (i *inventory) listMachines(*armcompute.VirtualMachinesClientListAllOptions) (p azfake.PagerResponder[armcompute.VirtualMachinesClientListAllResponse]) {
	paged(&p, all("", machines, machineOf), func(l []*armcompute.VirtualMachine) armcompute.VirtualMachinesClientListAllResponse {
		return armcompute.VirtualMachinesClientListAllResponse{VirtualMachineListResult: armcompute.VirtualMachineListResult{Value: l}}
	})
	return p
}

func (i *inventory) listMachinesIn(group string, _ *armcompute.VirtualMachinesClientListOptions) (p azfake.PagerResponder[armcompute.VirtualMachinesClientListResponse]) {
	pagedIn(&p, group, machines, machineOf, func(l []*armcompute.VirtualMachine) armcompute.VirtualMachinesClientListResponse {
		return armcompute.VirtualMachinesClientListResponse{VirtualMachineListResult: armcompute.VirtualMachineListResult{Value: l}}
	})
	return p
}

func (i *inventory) getMachine(_ context.Context, group, name string, o *armcompute.VirtualMachinesClientGetOptions) (r azfake.Responder[armcompute.VirtualMachinesClientGetResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, machineType, name, machines, &e); ok {
		vm := machineOf(groupOfID(id), lastOf(id))
		if o != nil && o.Expand != nil {
			vm.Properties.InstanceView = &armcompute.VirtualMachineInstanceView{
				ComputerName: to.Ptr(name), OSName: to.Ptr("ubuntu"), OSVersion: to.Ptr("24.04"), Statuses: running(),
			}
		}
		r.SetResponse(200, armcompute.VirtualMachinesClientGetResponse{VirtualMachine: *vm}, nil)
	}
	return r, e
}

func scaleSetOf(group, name string) *armcompute.VirtualMachineScaleSet {
	return &armcompute.VirtualMachineScaleSet{
		ID: to.Ptr(idOf(group, scaleType, name)), Name: to.Ptr(name), Type: to.Ptr(scaleType), Location: to.Ptr("westeurope"),
		SKU: &armcompute.SKU{Name: to.Ptr("Standard_D4s_v5"), Tier: to.Ptr("Standard"), Capacity: to.Ptr[int64](3)},
		Properties: &armcompute.VirtualMachineScaleSetProperties{
			OrchestrationMode: to.Ptr(armcompute.OrchestrationModeUniform), ProvisioningState: to.Ptr("Succeeded"), TimeCreated: to.Ptr(created),
			UpgradePolicy: &armcompute.UpgradePolicy{Mode: to.Ptr(armcompute.UpgradeModeManual)},
			VirtualMachineProfile: &armcompute.VirtualMachineScaleSetVMProfile{StorageProfile: &armcompute.VirtualMachineScaleSetStorageProfile{
				OSDisk: &armcompute.VirtualMachineScaleSetOSDisk{OSType: to.Ptr(armcompute.OperatingSystemTypesLinux)},
			}},
		},
	}
}

func (i *inventory) listScaleSets(*armcompute.VirtualMachineScaleSetsClientListAllOptions) (p azfake.PagerResponder[armcompute.VirtualMachineScaleSetsClientListAllResponse]) {
	paged(&p, all("", scaleSets, scaleSetOf), func(l []*armcompute.VirtualMachineScaleSet) armcompute.VirtualMachineScaleSetsClientListAllResponse {
		return armcompute.VirtualMachineScaleSetsClientListAllResponse{VirtualMachineScaleSetListWithLinkResult: armcompute.VirtualMachineScaleSetListWithLinkResult{Value: l}}
	})
	return p
}

func (i *inventory) listScaleSetsIn(group string, _ *armcompute.VirtualMachineScaleSetsClientListOptions) (p azfake.PagerResponder[armcompute.VirtualMachineScaleSetsClientListResponse]) {
	pagedIn(&p, group, scaleSets, scaleSetOf, func(l []*armcompute.VirtualMachineScaleSet) armcompute.VirtualMachineScaleSetsClientListResponse {
		return armcompute.VirtualMachineScaleSetsClientListResponse{VirtualMachineScaleSetListResult: armcompute.VirtualMachineScaleSetListResult{Value: l}}
	})
	return p
}

func (i *inventory) getScaleSet(_ context.Context, group, name string, _ *armcompute.VirtualMachineScaleSetsClientGetOptions) (r azfake.Responder[armcompute.VirtualMachineScaleSetsClientGetResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, scaleType, name, scaleSets, &e); ok {
		r.SetResponse(200, armcompute.VirtualMachineScaleSetsClientGetResponse{VirtualMachineScaleSet: *scaleSetOf(groupOfID(id), lastOf(id))}, nil)
	}
	return r, e
}

func (i *inventory) listScaleSetVMs(group, name string, _ *armcompute.VirtualMachineScaleSetVMsClientListOptions) (p azfake.PagerResponder[armcompute.VirtualMachineScaleSetVMsClientListResponse]) {
	var e azfake.ErrorResponder
	id, ok := locate(group, scaleType, name, scaleSets, &e)
	if !ok {
		p.AddResponseError(404, "ResourceNotFound")
		return p
	}
	var list []*armcompute.VirtualMachineScaleSetVM
	for _, n := range vms {
		list = append(list, &armcompute.VirtualMachineScaleSetVM{
			ID: to.Ptr(id + "/virtualMachines/" + n), InstanceID: to.Ptr(n), Name: to.Ptr(name + "_" + n), Location: to.Ptr("westeurope"),
			SKU: &armcompute.SKU{Name: to.Ptr("Standard_D4s_v5")}, Zones: []*string{to.Ptr("1")},
			Properties: &armcompute.VirtualMachineScaleSetVMProperties{
				OSProfile: &armcompute.OSProfile{ComputerName: to.Ptr(name + "00000" + n)}, LatestModelApplied: to.Ptr(true),
				InstanceView:      &armcompute.VirtualMachineScaleSetVMInstanceView{Statuses: running()},
				ProvisioningState: to.Ptr("Succeeded"), TimeCreated: to.Ptr(created),
			},
		})
	}
	paged(&p, list, func(l []*armcompute.VirtualMachineScaleSetVM) armcompute.VirtualMachineScaleSetVMsClientListResponse {
		return armcompute.VirtualMachineScaleSetVMsClientListResponse{VirtualMachineScaleSetVMListResult: armcompute.VirtualMachineScaleSetVMListResult{Value: l}}
	})
	return p
}

func (i *inventory) restartScaleSetVM(_ context.Context, group, name, vm string, _ *armcompute.VirtualMachineScaleSetVMsClientBeginRestartOptions) (p azfake.PollerResponder[armcompute.VirtualMachineScaleSetVMsClientRestartResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, scaleType, name, scaleSets, &e); ok {
		if _, ok := locate(group, scaleType, vm, vms, &e); ok {
			i.restart(id)
			begun(i, &p, 200, armcompute.VirtualMachineScaleSetVMsClientRestartResponse{})
		}
	}
	return p, e
}
