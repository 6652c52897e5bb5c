package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/tools/remotecommand"
)

const (
	pollInterval = 50 * time.Millisecond
	// How long the host's token is good for. Every start makes a new one.
	tokenLife = 30 * 24 * time.Hour
)

// ready is the line on stdout that says so.
type ready struct {
	Ready          bool   `json:"ready"`
	Kubeconfig     string `json:"kubeconfig"`
	HostKubeconfig string `json:"hostKubeconfig"`
	AuditLog       string `json:"auditLog"`
	Server         string `json:"server"`
}

func (c *cluster) ready() ready {
	return ready{Ready: true, Kubeconfig: c.kubeconfig, HostKubeconfig: c.hostKubeconfig, AuditLog: c.auditLog(), Server: c.server()}
}

func (c *cluster) kubernetes() (*rest.Config, *kubernetes.Clientset, error) {
	config, err := c.admin.client()
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	return config, client, err
}

// waitForAPI waits until the API server has done what it does after start, such as storing the default roles.
func (c *cluster) waitForAPI(ctx context.Context) error {
	_, client, err := c.kubernetes()
	if err != nil {
		return err
	}
	return poll(ctx, func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// forgetNodes marks all nodes as not ready, because what an earlier process stored about them names its kubelet port.
// kwok then brings them up again.
func (c *cluster) forgetNodes(ctx context.Context) error {
	_, client, err := c.kubernetes()
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		patch := []byte(`{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"Restart"}]}}`)
		if _, err := client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) writeKubeconfigs(ctx context.Context) error {
	_, client, err := c.kubernetes()
	if err != nil {
		return err
	}
	seconds := int64(tokenLife.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	token, err := client.CoreV1().ServiceAccounts("bulkhead-system").CreateToken(ctx, "bulkhead", request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	host := access{server: c.server(), ca: c.ca.CertPEM, auth: api.AuthInfo{Token: token.Status.Token}}
	return errors.Join(c.admin.write(c.kubeconfig), host.write(c.hostKubeconfig))
}

// waitForPods waits until every Deployment and StatefulSet has the pods it asks for and a command ran in one of them.
func (c *cluster) waitForPods(ctx context.Context) error {
	if c.options.wait != "pods" {
		return nil
	}
	config, client, err := c.kubernetes()
	if err != nil {
		return err
	}
	err = poll(ctx, func(ctx context.Context) error { return workloadsAvailable(ctx, client) })
	if err != nil {
		return err
	}
	return poll(ctx, func(ctx context.Context) error { return execWorks(ctx, config, client) })
}

func workloadsAvailable(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range list.Items {
		if d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas < *d.Spec.Replicas {
			return fmt.Errorf("deployment %s/%s: %d of %d pods", d.Namespace, d.Name, d.Status.AvailableReplicas, *d.Spec.Replicas)
		}
	}
	sets, err := client.AppsV1().StatefulSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range sets.Items {
		if s.Status.ObservedGeneration < s.Generation || s.Status.AvailableReplicas < *s.Spec.Replicas {
			return fmt.Errorf("statefulset %s/%s: %d of %d pods", s.Namespace, s.Name, s.Status.AvailableReplicas, *s.Spec.Replicas)
		}
	}
	return nil
}

func execWorks(ctx context.Context, config *rest.Config, client kubernetes.Interface) error {
	pods, err := client.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return err
	}
	if len(pods.Items) == 0 {
		return nil // someone removed it from the stored cluster
	}
	request := client.CoreV1().RESTClient().Post().Resource("pods").Namespace("shop").Name(pods.Items[0].Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"echo", "ok"}, Stdout: true}, scheme.ParameterCodec)
	exec, err := remotecommand.NewWebSocketExecutor(config, "GET", request.URL().String())
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out}); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	if strings.TrimSpace(out.String()) != "ok" {
		return fmt.Errorf("exec said %q", out.String())
	}
	return nil
}

// poll tries until it succeeds or ctx ends, and then returns the last error, which says more than that time ran out.
func poll(ctx context.Context, try func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		last = try(ctx)
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), last)
	}
	return err
}
