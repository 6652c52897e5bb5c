package plane

import (
	"context"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// controllers are the controllers with which workloads, service accounts and deletion behave as on any cluster. Controllers that
// need a cloud, storage, metrics or real kubelets are omitted, in particular the node lifecycle controller, since nothing renews
// node leases here.
var controllers = commas(
	"clusterrole-aggregation-controller", "cronjob-controller", "daemonset-controller", "deployment-controller",
	"disruption-controller", "endpointslice-controller", "garbage-collector-controller", "job-controller",
	"namespace-controller", "pod-garbage-collector-controller", "replicaset-controller", "resourcequota-controller",
	"root-ca-certificate-publisher-controller", "serviceaccount-controller", "serviceaccount-token-controller",
	"statefulset-controller", "ttl-after-finished-controller",
)

// RunControllerManager runs the controllers until ctx ends.
func RunControllerManager(ctx context.Context, kubeconfig, ca, serviceAccountKey string) error {
	o, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	all, off, aliases := controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases()
	sets := o.Flags(all, off, aliases)
	o.ParsedFlags = &sets
	if err := parse("kube-controller-manager", sets, []string{
		"--kubeconfig=" + kubeconfig,
		"--controllers=" + controllers,
		"--root-ca-file=" + ca,
		"--service-account-private-key-file=" + serviceAccountKey,
		"--leader-elect=false",
		"--secure-port=0",
	}); err != nil {
		return err
	}
	cfg, err := o.Config(ctx, all, off, aliases)
	if err != nil {
		return err
	}
	return controllermanager.Run(ctx, cfg.Complete())
}

// RunScheduler places pods until ctx ends.
func RunScheduler(ctx context.Context, kubeconfig string) error {
	o := scheduleroptions.NewOptions()
	if err := parse("kube-scheduler", *o.Flags, []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
	}); err != nil {
		return err
	}
	cfg, s, err := scheduler.Setup(ctx, o)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, cfg, s)
}

// parse gives a component the flags that its command would have been started with.
func parse(name string, sets cliflag.NamedFlagSets, args []string) error {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		fs.AddFlagSet(set)
	}
	return fs.Parse(args)
}
