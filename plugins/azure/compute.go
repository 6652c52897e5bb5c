package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
)

type armScaleSet struct {
	resource
	SKU struct {
		Name     string `json:"name"`
		Capacity int    `json:"capacity"`
	} `json:"sku"`
	Properties struct {
		State         string `json:"provisioningState"`
		Created       string `json:"timeCreated"`
		Orchestration string `json:"orchestrationMode"`
		Upgrade       struct {
			Mode string `json:"mode"`
		} `json:"upgradePolicy"`
		VM struct {
			Priority string `json:"priority"`
			Storage  struct {
				OSDisk struct {
					OSType string `json:"osType"`
				} `json:"osDisk"`
			} `json:"storageProfile"`
		} `json:"virtualMachineProfile"`
	} `json:"properties"`
}

type shownScaleSet struct {
	resource
	ProvisioningState string `json:"provisioningState"`
	Size              string `json:"size"` // of each machine
	Capacity          int    `json:"capacity"`
	OSType            string `json:"osType,omitempty"`
	Priority          string `json:"priority,omitempty"`
	OrchestrationMode string `json:"orchestrationMode,omitempty"`
	UpgradeMode       string `json:"upgradeMode,omitempty"`
	Created           string `json:"created,omitempty"`
}

func (s *armScaleSet) shown() shownScaleSet {
	p := &s.Properties
	return shownScaleSet{
		resource: s.resource.shown(), ProvisioningState: p.State, Size: s.SKU.Name, Capacity: s.SKU.Capacity, OSType: p.VM.Storage.OSDisk.OSType,
		Priority: p.VM.Priority, OrchestrationMode: p.Orchestration, UpgradeMode: p.Upgrade.Mode, Created: p.Created,
	}
}

type scaleSetList struct {
	Sets []shownScaleSet `json:"virtualMachineScaleSets"`
	partial
}

func scaleSets(r *sdk.Request) (*sdk.Response, error) {
	var list azure.List[armScaleSet]
	if err := instanceOf(r).List(azure.ScaleSets, r.Values()["resourceGroup"], &list); err != nil {
		return nil, err
	}
	return sdk.JSON(200, scaleSetList{each(list.Value, (*armScaleSet).shown), partial{list.Errors, list.Truncated}})
}

func scaleSet(r *sdk.Request) (*sdk.Response, error) {
	var s armScaleSet
	if err := instanceOf(r).Get(resourceOf(r, azure.ScaleSets, "virtualMachineScaleSet"), &s); err != nil {
		return nil, err
	}
	return sdk.JSON(200, s.shown())
}

// instanceView is what runs of a machine.
type instanceView struct {
	OSName    string   `json:"osName"`
	OSVersion string   `json:"osVersion"`
	Statuses  []status `json:"statuses"`
}

type armMachine struct {
	resource
	InstanceID string `json:"instanceId"` // in a scale set
	SKU        struct {
		Name string `json:"name"`
	} `json:"sku"`
	Properties struct {
		State       string `json:"provisioningState"`
		Created     string `json:"timeCreated"`
		LatestModel *bool  `json:"latestModelApplied"`
		Priority    string `json:"priority"`
		Hardware    struct {
			Size string `json:"vmSize"`
		} `json:"hardwareProfile"`
		OS struct {
			ComputerName string `json:"computerName"`
		} `json:"osProfile"`
		Storage struct {
			OSDisk struct {
				OSType string `json:"osType"`
				SizeGB int    `json:"diskSizeGB"`
			} `json:"osDisk"`
		} `json:"storageProfile"`
		InstanceView instanceView `json:"instanceView"`
	} `json:"properties"`
}

// shownMachine is a virtual machine, alone or of a scale set. Azure tells the
// power state in details, and in the list of a scale set's machines.
type shownMachine struct {
	resource
	InstanceID        string   `json:"instanceId,omitempty"`
	PowerState        string   `json:"powerState,omitempty"` // running, stopped, deallocated, …
	ProvisioningState string   `json:"provisioningState"`
	Size              string   `json:"size"`
	ComputerName      string   `json:"computerName,omitempty"`
	OSType            string   `json:"osType,omitempty"`
	OS                string   `json:"os,omitempty"`
	OSDiskGB          int      `json:"osDiskGB,omitempty"`
	Priority          string   `json:"priority,omitempty"`
	LatestModel       *bool    `json:"latestModel,omitempty"`
	Created           string   `json:"created,omitempty"`
	Statuses          []status `json:"statuses,omitempty"`
}

func (m *armMachine) shown() shownMachine {
	p := &m.Properties
	out := shownMachine{
		resource: m.resource.shown(), InstanceID: m.InstanceID, PowerState: power(p.InstanceView.Statuses), ProvisioningState: p.State,
		Size: p.Hardware.Size, ComputerName: p.OS.ComputerName, OSType: p.Storage.OSDisk.OSType, OSDiskGB: p.Storage.OSDisk.SizeGB,
		Priority: p.Priority, LatestModel: p.LatestModel, Created: p.Created, Statuses: p.InstanceView.Statuses, OS: p.InstanceView.OSName,
	}
	if out.Size == "" {
		out.Size = m.SKU.Name
	}
	if v := p.InstanceView.OSVersion; v != "" {
		out.OS += " " + v
	}
	return out
}

type machineList struct {
	Machines []shownMachine `json:"virtualMachines"`
	partial
}

func scaleSetVMs(r *sdk.Request) (*sdk.Response, error) {
	var list azure.List[armMachine]
	if err := instanceOf(r).ScaleSetVMs(resourceOf(r, azure.ScaleSets, "virtualMachineScaleSet"), &list); err != nil {
		return nil, err
	}
	return shownMachines(&list)
}

func virtualMachines(r *sdk.Request) (*sdk.Response, error) {
	var list azure.List[armMachine]
	if err := instanceOf(r).List(azure.VirtualMachines, r.Values()["resourceGroup"], &list); err != nil {
		return nil, err
	}
	return shownMachines(&list)
}

func shownMachines(list *azure.List[armMachine]) (*sdk.Response, error) {
	return sdk.JSON(200, machineList{each(list.Value, (*armMachine).shown), partial{list.Errors, list.Truncated}})
}

func virtualMachine(r *sdk.Request) (*sdk.Response, error) {
	var m armMachine
	if err := instanceOf(r).Get(resourceOf(r, azure.VirtualMachines, "virtualMachine"), &m); err != nil {
		return nil, err
	}
	return sdk.JSON(200, m.shown())
}
