// Package plane runs the Kubernetes control plane inside this process: etcd, the API server, the controller manager and
// the scheduler, each through the entry point that its own command uses, with the flags that command would be given.
//
// The three Kubernetes components share process-wide state (feature gates, metrics registries, klog, one permitted signal
// handler). Therefore their cobra commands are not used: those install the signal handler twice, which panics. Options are
// built and parsed here, and the components' exported Run functions are called with contexts that this process owns.
// For the same reason one process can run one control plane, once.
package plane
