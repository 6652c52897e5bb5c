package azure

// The types of resources, as written in permissions, grants and questions.
const (
	resourceGroups     = "resourcegroups"
	containerInstances = "containerinstances"
	kubernetesServices = "kubernetesservices"
	scaleSets          = "virtualmachinescalesets"
	virtualMachines    = "virtualmachines"
	costManagement     = "costmanagement"
	monitor            = "monitor"
)

// The verbs.
const (
	verbGet     = "get"
	verbRestart = "restart"
	verbStart   = "start"
	verbStop    = "stop"
)

// All of the above. Read-only.
var (
	resourceTypes = []string{resourceGroups, containerInstances, kubernetesServices, scaleSets, virtualMachines, costManagement, monitor}
	verbs         = []string{verbGet, verbRestart, verbStart, verbStop}
)
