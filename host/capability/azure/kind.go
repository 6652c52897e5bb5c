package azure

import (
	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// NewKind describes the capability for the subscriptions of a configuration. A
// grant has instances, resources, resource groups and verbs. Without a sealer,
// which may be nil, Classify refuses to ask for the state of a change.
func NewKind(list []Config, sealer Sealer) *capability.Kind {
	k := &kind{subscriptions: map[string]string{}, sealer: sealer}
	for i := range list {
		k.subscriptions[list[i].Name] = list[i].Subscription
	}
	return &capability.Kind{
		Name: name,
		Dimensions: []capability.Dimension{
			{Name: capability.Instances, Values: names(list), Noun: "instance of Azure"},
			{Name: capability.Resources, Values: resourceTypes},
			{Name: capability.ResourceGroups, Fold: true}, // Azure does not tell cases apart
			{Name: capability.Verbs, Values: verbs},
		},
		Classify: k.classify,
		// Lists and costs over all resource groups are narrowed; nothing else goes
		// without a group.
		Spans: func(*host.CapabilityCall) string { return capability.ResourceGroups },
	}
}

// kind is what reading a request takes.
type kind struct {
	subscriptions map[string]string // their ids by the instances' names
	sealer        Sealer
}

func (k *kind) classify(r *abi.Request) (capability.Prepared, error) {
	q, err := k.parse(r)
	if err != nil {
		return capability.Prepared{}, err
	}
	return capability.Prepared{Call: q.call(), Payload: q}, nil
}
