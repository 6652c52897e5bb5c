package main

import (
	"context"
	"fmt"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aci "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
)

const groupType = "Microsoft.ContainerInstance/containerGroups"

var containerGroups = []string{"web", "worker", "batch"}

func (i *inventory) containerGroup(group, name string) *aci.ContainerGroup {
	id := idOf(group, groupType, name)
	state := "Running"
	if i.isStopped(id) {
		state = "Stopped"
	}
	return &aci.ContainerGroup{
		ID: to.Ptr(id), Name: to.Ptr(name), Type: to.Ptr(groupType), Location: to.Ptr("westeurope"),
		Tags: map[string]*string{"app": to.Ptr(name)},
		Properties: &aci.ContainerGroupPropertiesProperties{
			OSType: to.Ptr(aci.OperatingSystemTypesLinux), RestartPolicy: to.Ptr(aci.ContainerGroupRestartPolicyAlways),
			ProvisioningState: to.Ptr("Succeeded"),
			IPAddress: &aci.IPAddress{
				IP: to.Ptr("20.0.0.1"), Fqdn: to.Ptr(name + ".westeurope.azurecontainer.io"), Type: to.Ptr(aci.ContainerGroupIPAddressTypePublic),
				Ports: []*aci.Port{{Port: to.Ptr[int32](443), Protocol: to.Ptr(aci.ContainerGroupNetworkProtocolTCP)}},
			},
			InstanceView: &aci.ContainerGroupPropertiesInstanceView{State: to.Ptr(state), Events: []*aci.Event{{
				Count: to.Ptr[int32](1), Name: to.Ptr("Pulled"), Type: to.Ptr("Normal"), Message: to.Ptr("Successfully pulled image"),
				FirstTimestamp: to.Ptr(created), LastTimestamp: to.Ptr(created),
			}}},
			Containers: []*aci.Container{{Name: to.Ptr(name), Properties: &aci.ContainerProperties{
				Image: to.Ptr("registry.example.com/" + name + ":1.2.3"),
				Resources: &aci.ResourceRequirements{
					Requests: &aci.ResourceRequests{CPU: to.Ptr(0.5), MemoryInGB: to.Ptr(1.5)},
				},
				Ports: []*aci.ContainerPort{{Port: to.Ptr[int32](443)}},
				EnvironmentVariables: []*aci.EnvironmentVariable{
					{Name: to.Ptr("DATABASE_PASSWORD"), Value: to.Ptr("plain-text-by-mistake")},
					{Name: to.Ptr("API_KEY"), SecureValue: to.Ptr("")},
				},
				InstanceView: &aci.ContainerPropertiesInstanceView{
					RestartCount: to.Ptr(i.restartsOf(id)),
					CurrentState: &aci.ContainerState{State: to.Ptr(state), StartTime: to.Ptr(created)},
				},
			}}},
		},
	}
}

func (i *inventory) listContainerGroups(*aci.ContainerGroupsClientListOptions) (p azfake.PagerResponder[aci.ContainerGroupsClientListResponse]) {
	paged(&p, all("", containerGroups, i.listed), func(l []*aci.ContainerGroup) aci.ContainerGroupsClientListResponse {
		return aci.ContainerGroupsClientListResponse{ContainerGroupListResult: aci.ContainerGroupListResult{Value: l}}
	})
	return p
}

// listed returns a container group as in lists, without its instance view.
func (i *inventory) listed(group, name string) *aci.ContainerGroup {
	g := i.containerGroup(group, name)
	g.Properties.InstanceView = nil
	return g
}

func (i *inventory) listContainerGroupsIn(group string, _ *aci.ContainerGroupsClientListByResourceGroupOptions) (p azfake.PagerResponder[aci.ContainerGroupsClientListByResourceGroupResponse]) {
	pagedIn(&p, group, containerGroups, i.listed, func(l []*aci.ContainerGroup) aci.ContainerGroupsClientListByResourceGroupResponse {
		return aci.ContainerGroupsClientListByResourceGroupResponse{ContainerGroupListResult: aci.ContainerGroupListResult{Value: l}}
	})
	return p
}

func (i *inventory) getContainerGroup(_ context.Context, group, name string, _ *aci.ContainerGroupsClientGetOptions) (r azfake.Responder[aci.ContainerGroupsClientGetResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, groupType, name, containerGroups, &e); ok {
		r.SetResponse(200, aci.ContainerGroupsClientGetResponse{ContainerGroup: *i.containerGroup(groupOfID(id), lastOf(id))}, nil)
	}
	return r, e
}

func lastOf(id string) string { return id[strings.LastIndex(id, "/")+1:] }

func (i *inventory) restartContainerGroup(_ context.Context, group, name string, _ *aci.ContainerGroupsClientBeginRestartOptions) (p azfake.PollerResponder[aci.ContainerGroupsClientRestartResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, groupType, name, containerGroups, &e); ok {
		i.restart(id)
		begun(i, &p, 204, aci.ContainerGroupsClientRestartResponse{})
	}
	return p, e
}

func (i *inventory) startContainerGroup(_ context.Context, group, name string, _ *aci.ContainerGroupsClientBeginStartOptions) (p azfake.PollerResponder[aci.ContainerGroupsClientStartResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, groupType, name, containerGroups, &e); ok {
		i.set(id, false)
		begun(i, &p, 202, aci.ContainerGroupsClientStartResponse{})
	}
	return p, e
}

func (i *inventory) stopContainerGroup(_ context.Context, group, name string, _ *aci.ContainerGroupsClientStopOptions) (r azfake.Responder[aci.ContainerGroupsClientStopResponse], e azfake.ErrorResponder) {
	if id, ok := locate(group, groupType, name, containerGroups, &e); ok {
		i.set(id, true)
		r.SetResponse(204, aci.ContainerGroupsClientStopResponse{}, nil)
	}
	return r, e
}

func (i *inventory) containerLogs(_ context.Context, group, name, container string, o *aci.ContainersClientListLogsOptions) (r azfake.Responder[aci.ContainersClientListLogsResponse], e azfake.ErrorResponder) {
	if _, ok := locate(group, groupType, name, containerGroups, &e); !ok {
		return r, e
	}
	if container != name {
		e.SetResponseError(404, "ContainerNotFound")
		return r, e
	}
	lines := 20
	if o != nil && o.Tail != nil {
		lines = min(lines, int(*o.Tail))
	}
	var text strings.Builder
	for n := 20 - lines + 1; n <= 20; n++ {
		fmt.Fprintf(&text, "line %d of %s\n", n, name)
	}
	r.SetResponse(200, aci.ContainersClientListLogsResponse{Logs: aci.Logs{Content: to.Ptr(text.String())}}, nil)
	return r, e
}
