package plane

import (
	"context"
	"net"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/seed-a3fb47d6/bulkhead/examples/devcluster/internal/pki"
)

// APIServer is the configuration of the API server.
type APIServer struct {
	// Listener is opened by the caller, so that a port in use is the caller's clear error and no other process can take
	// the port between choosing and binding it.
	Listener net.Listener

	EtcdEndpoint          string
	CA                    string // verifies client certificates and kubelets
	Serving               pki.Pair
	KubeletClient         pki.Pair // how the API server shows itself to kubelets
	ServiceAccountKey     string
	AuditPolicy, AuditLog string
}

func (a APIServer) flags() []string {
	return []string{
		"--etcd-servers=" + a.EtcdEndpoint,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		// The service "kubernetes" must not point to a loopback address, and nothing uses it here.
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + a.Serving.CertFile,
		"--tls-private-key-file=" + a.Serving.KeyFile,
		"--client-ca-file=" + a.CA,
		"--anonymous-auth=false",
		"--authorization-mode=RBAC",
		"--kubelet-certificate-authority=" + a.CA,
		"--kubelet-client-certificate=" + a.KubeletClient.CertFile,
		"--kubelet-client-key=" + a.KubeletClient.KeyFile,
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://devcluster.invalid",
		"--service-account-signing-key-file=" + a.ServiceAccountKey,
		"--service-account-key-file=" + a.ServiceAccountKey,
		"--service-cluster-ip-range=10.96.0.0/16",
		"--audit-policy-file=" + a.AuditPolicy,
		"--audit-log-path=" + a.AuditLog,
		"--audit-log-mode=blocking", // lines appear as requests end, not in batches
		// It taints new nodes until the node lifecycle controller says that they are ready; that one does not run here.
		"--disable-admission-plugins=TaintNodesByCondition",
		"--profiling=false",
	}
}

// RunAPIServer serves until ctx ends. It never returns nil before that.
func RunAPIServer(ctx context.Context, a APIServer) error {
	o := apiserveroptions.NewServerRunOptions()
	if err := parse("kube-apiserver", o.Flags(), a.flags()); err != nil {
		return err
	}
	o.SecureServing.Listener = a.Listener
	o.SecureServing.BindPort = a.Listener.Addr().(*net.TCPAddr).Port
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	return apiserver.Run(ctx, completed)
}

// commas is for flags that take a list.
func commas(items ...string) string { return strings.Join(items, ",") }
