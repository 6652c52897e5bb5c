package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// Apply applies YAML documents as the cluster's administrator, like kubectl apply
// --server-side with strict validation. It returns the API server's error, and waits
// for kinds that the same documents define.
func (c *Cluster) Apply(t testing.TB, manifests []byte) error {
	t.Helper()
	return c.each(t, manifests, func(ctx context.Context, r dynamic.ResourceInterface, o *unstructured.Unstructured) error {
		_, err := r.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "clustertest", Force: true})
		return err
	})
}

// Delete deletes the objects that Apply made.
func (c *Cluster) Delete(t testing.TB, manifests []byte) error {
	t.Helper()
	return c.each(t, manifests, func(ctx context.Context, r dynamic.ResourceInterface, o *unstructured.Unstructured) error {
		err := r.Delete(ctx, o.GetName(), metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

func (c *Cluster) each(t testing.TB, manifests []byte, do func(context.Context, dynamic.ResourceInterface, *unstructured.Unstructured) error) error {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer utilnet.CloseIdleConnectionsFor(web.Transport)
	client, err := dynamic.NewForConfigAndClient(config, web)
	if err != nil {
		t.Fatal(err)
	}
	found, err := discovery.NewDiscoveryClientForConfigAndClient(config, web)
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // t's own has ended when Delete cleans up
	defer cancel()
	for docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096); ; {
		o := new(unstructured.Unstructured)
		if err := docs.Decode(&o.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) == 0 {
			continue
		}
		resource, err := resourceOf(ctx, mapper, client, o)
		if err == nil {
			err = do(ctx, resource, o)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
}

// resourceOf waits for a kind that was just defined.
func resourceOf(ctx context.Context, mapper *restmapper.DeferredDiscoveryRESTMapper, client dynamic.Interface, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err == nil {
			if ns := o.GetNamespace(); ns != "" {
				return client.Resource(m.Resource).Namespace(ns), nil
			}
			return client.Resource(m.Resource), nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, err
		}
		mapper.Reset()
	}
}
