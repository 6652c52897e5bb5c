// Package azurename has the words for what the capability "azure" does, as
// permissions, grants and questions write them.
package azurename

// The kinds of resources.
const (
	ResourceGroups     = "resourcegroups"
	ContainerInstances = "containerinstances"
	KubernetesServices = "kubernetesservices"
	ScaleSets          = "virtualmachinescalesets"
	VirtualMachines    = "virtualmachines"
	CostManagement     = "costmanagement"
	Monitor            = "monitor"
)

// What is done to them.
const (
	Get     = "get"
	Restart = "restart"
	Start   = "start"
	Stop    = "stop"
)

// All of the above. Read-only.
var (
	Kinds = []string{ResourceGroups, ContainerInstances, KubernetesServices, ScaleSets, VirtualMachines, CostManagement, Monitor}
	Verbs = []string{Get, Restart, Start, Stop}
)
