package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

func init() {
	sdk.Handle("operators", operators)
	sdk.Handle("operator-subscriptions", operatorSubscriptions)
}

// olmPath is the API of the Operator Lifecycle Manager.
// https://olm.operatorframework.io/docs/concepts/crds/
const olmPath = "/apis/operators.coreos.com/v1alpha1"

type operator struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName,omitempty"`
	Namespace   string `json:"namespace"`
	Cluster     string `json:"cluster"`
	Version     string `json:"version,omitempty"`
	Phase       string `json:"phase"` // as OLM says, such as Succeeded, Installing or Failed
	Reason      string `json:"reason,omitempty"`
	Message     string `json:"message,omitempty"`
	Provider    string `json:"provider,omitempty"`
	Replaces    string `json:"replaces,omitempty"`
}

// serviceVersion is what is read of a ClusterServiceVersion.
type serviceVersion struct {
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		DisplayName, Version, Replaces string
		Provider                       struct{ Name string }
	}
	Status struct{ Phase, Reason, Message string }
}

func (c *serviceVersion) copied() bool {
	_, copied := c.Metadata.Labels["olm.copiedFrom"]
	return copied
}

func (c *serviceVersion) shown(cluster string) operator {
	return operator{
		c.Metadata.Name, c.Spec.DisplayName, c.Metadata.Namespace, cluster, c.Spec.Version,
		c.Status.Phase, c.Status.Reason, c.Status.Message, c.Spec.Provider.Name, c.Spec.Replaces,
	}
}

// operators answers the installed operators, which are ClusterServiceVersions. OLM copies
// one into every namespace that its operator watches; copies are left out.
func operators(r *sdk.Request) (*sdk.Response, error) {
	var answer struct {
		Operators []operator  `json:"operators"`
		Truncated bool        `json:"truncated,omitempty"`
		Errors    []listError `json:"errors,omitempty"`
	}
	answer.Operators = []operator{}
	var err error
	answer.Errors, err = eachCluster(r, func(cluster kube.Cluster) error {
		return listObjects(r, cluster, olmPath, "clusterserviceversions", &answer.Truncated, func(c *serviceVersion) {
			if !c.copied() {
				answer.Operators = append(answer.Operators, c.shown(string(cluster)))
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, answer)
}

type subscription struct {
	Name         string `json:"name"`
	Namespace    string `json:"namespace"`
	Cluster      string `json:"cluster"`
	Package      string `json:"package"`
	Channel      string `json:"channel,omitempty"`
	Source       string `json:"source"`
	SourceNS     string `json:"sourceNamespace"`
	Approval     string `json:"installPlanApproval,omitempty"` // Automatic or Manual
	InstalledCSV string `json:"installedCSV,omitempty"`
	CurrentCSV   string `json:"currentCSV,omitempty"`
	State        string `json:"state,omitempty"` // as OLM says, such as AtLatestKnown or UpgradePending
	Pending      string `json:"pendingUpgrade,omitempty"`
}

// olmSubscription is what is read of a Subscription.
type olmSubscription struct {
	Metadata objectMeta
	Spec     struct{ Name, Channel, Source, SourceNamespace, InstallPlanApproval string }
	Status   struct{ InstalledCSV, CurrentCSV, State string }
}

func (s *olmSubscription) shown(cluster string) subscription {
	shown := subscription{
		Name: s.Metadata.Name, Namespace: s.Metadata.Namespace, Cluster: cluster, Package: s.Spec.Name, Channel: s.Spec.Channel,
		Source: s.Spec.Source, SourceNS: s.Spec.SourceNamespace, Approval: s.Spec.InstallPlanApproval,
		InstalledCSV: s.Status.InstalledCSV, CurrentCSV: s.Status.CurrentCSV, State: s.Status.State,
	}
	if shown.CurrentCSV != shown.InstalledCSV {
		shown.Pending = shown.CurrentCSV
	}
	return shown
}

// operatorSubscriptions answers OLM's Subscriptions, with the upgrade that waits for
// each.
func operatorSubscriptions(r *sdk.Request) (*sdk.Response, error) {
	var answer struct {
		Subscriptions []subscription `json:"subscriptions"`
		Truncated     bool           `json:"truncated,omitempty"`
		Errors        []listError    `json:"errors,omitempty"`
	}
	answer.Subscriptions = []subscription{}
	var err error
	answer.Errors, err = eachCluster(r, func(cluster kube.Cluster) error {
		return listObjects(r, cluster, olmPath, "subscriptions", &answer.Truncated, func(s *olmSubscription) {
			answer.Subscriptions = append(answer.Subscriptions, s.shown(string(cluster)))
		})
	})
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, answer)
}
