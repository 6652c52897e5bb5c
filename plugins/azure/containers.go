package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
)

const (
	logLines    = 1000 // of a container, unless a request says otherwise
	maxLogLines = 10_000
)

// armContainerGroup is a container group as Azure has it.
type armContainerGroup struct {
	resource
	Properties struct {
		State         string         `json:"provisioningState"`
		OSType        string         `json:"osType"`
		RestartPolicy string         `json:"restartPolicy"`
		SKU           string         `json:"sku"`
		Containers    []armContainer `json:"containers"`
		IPAddress     *struct {
			IP    string `json:"ip"`
			FQDN  string `json:"fqdn"`
			Type  string `json:"type"`
			Ports []port `json:"ports"`
		} `json:"ipAddress"`
		InstanceView struct {
			State  string  `json:"state"`
			Events []event `json:"events"`
		} `json:"instanceView"`
	} `json:"properties"`
}

type armContainer struct {
	Name       string `json:"name"`
	Properties struct {
		Image     string   `json:"image"`
		Command   []string `json:"command"`
		Ports     []port   `json:"ports"`
		Resources struct {
			Requests amounts `json:"requests"`
			Limits   amounts `json:"limits"`
		} `json:"resources"`
		EnvironmentVariables []struct {
			Name string `json:"name"`
		} `json:"environmentVariables"`
		InstanceView struct {
			RestartCount  int             `json:"restartCount"`
			CurrentState  *containerState `json:"currentState"`
			PreviousState *containerState `json:"previousState"`
			Events        []event         `json:"events"`
		} `json:"instanceView"`
	} `json:"properties"`
}

type port struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol,omitempty"`
}

type amounts struct {
	CPU      float64 `json:"cpu"` // cores
	MemoryGB float64 `json:"memoryInGB"`
}

type event struct {
	Count          int    `json:"count"`
	FirstTimestamp string `json:"firstTimestamp"`
	LastTimestamp  string `json:"lastTimestamp"`
	Name           string `json:"name"`
	Message        string `json:"message"`
	Type           string `json:"type"`
}

type containerState struct {
	State        string `json:"state"`
	StartTime    string `json:"startTime,omitempty"`
	FinishTime   string `json:"finishTime,omitempty"`
	ExitCode     *int   `json:"exitCode,omitempty"`
	DetailStatus string `json:"detailStatus,omitempty"`
}

// shownContainerGroup is one on a page. State is what runs (Running, Stopped,
// …), which Azure tells in details only.
type shownContainerGroup struct {
	resource
	State             string           `json:"state,omitempty"`
	ProvisioningState string           `json:"provisioningState"`
	OSType            string           `json:"osType"`
	RestartPolicy     string           `json:"restartPolicy,omitempty"`
	SKU               string           `json:"sku,omitempty"`
	IP                string           `json:"ip,omitempty"`
	FQDN              string           `json:"fqdn,omitempty"`
	Visibility        string           `json:"visibility,omitempty"` // Public or Private
	Ports             []port           `json:"ports,omitempty"`
	Containers        []shownContainer `json:"containers"`
	Events            []event          `json:"events,omitempty"`
}

type shownContainer struct {
	Name     string   `json:"name"`
	Image    string   `json:"image"`
	Command  []string `json:"command,omitempty"`
	Ports    []port   `json:"ports,omitempty"`
	CPU      float64  `json:"cpu"`      // cores
	MemoryGB float64  `json:"memoryGB"` // requested
	// Environment is names alone: values are often secrets.
	Environment   []string        `json:"environment,omitempty"`
	RestartCount  int             `json:"restartCount"`
	State         *containerState `json:"state,omitempty"`
	PreviousState *containerState `json:"previousState,omitempty"`
	Events        []event         `json:"events,omitempty"`
}

func (g *armContainerGroup) shown() shownContainerGroup {
	p := &g.Properties
	out := shownContainerGroup{
		resource: g.resource.shown(), State: p.InstanceView.State, ProvisioningState: p.State, OSType: p.OSType,
		RestartPolicy: p.RestartPolicy, SKU: p.SKU, Containers: each(p.Containers, (*armContainer).shown), Events: p.InstanceView.Events,
	}
	if a := p.IPAddress; a != nil {
		out.IP, out.FQDN, out.Visibility, out.Ports = a.IP, a.FQDN, a.Type, a.Ports
	}
	return out
}

func (c *armContainer) shown() shownContainer {
	p := &c.Properties
	out := shownContainer{
		Name: c.Name, Image: p.Image, Command: p.Command, Ports: p.Ports, CPU: p.Resources.Requests.CPU, MemoryGB: p.Resources.Requests.MemoryGB,
		RestartCount: p.InstanceView.RestartCount, State: p.InstanceView.CurrentState, PreviousState: p.InstanceView.PreviousState, Events: p.InstanceView.Events,
	}
	for _, v := range p.EnvironmentVariables {
		out.Environment = append(out.Environment, v.Name)
	}
	return out
}

type containerGroupList struct {
	Groups []shownContainerGroup `json:"containerGroups"`
	partial
}

func containerGroups(r *sdk.Request) (*sdk.Response, error) {
	var list azure.List[armContainerGroup]
	if err := instanceOf(r).List(azure.ContainerGroups, r.Values()["resourceGroup"], &list); err != nil {
		return nil, err
	}
	return sdk.JSON(200, containerGroupList{each(list.Value, (*armContainerGroup).shown), partial{list.Errors, list.Truncated}})
}

func containerGroup(r *sdk.Request) (*sdk.Response, error) {
	var g armContainerGroup
	if err := instanceOf(r).Get(resourceOf(r, azure.ContainerGroups, "containerGroup"), &g); err != nil {
		return nil, err
	}
	return sdk.JSON(200, g.shown())
}

func containerLogs(r *sdk.Request) (*sdk.Response, error) {
	container := r.Query("container")
	if container == "" {
		return nil, sdk.Errorf(400, "container is required")
	}
	tail, err := r.Int("tail", logLines, 1, maxLogLines)
	if err != nil {
		return nil, err
	}
	timestamps, err := r.Bool("timestamps")
	if err != nil {
		return nil, err
	}
	text, err := instanceOf(r).Logs(resourceOf(r, azure.ContainerGroups, "containerGroup"), container, tail, timestamps)
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, map[string]string{"container": container, "logs": text})
}
