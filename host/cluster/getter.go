package cluster

import (
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Getter implements the RESTClientGetter of kubectl's libraries, which helm uses.
// Its configuration holds no credentials: its transport sends requests as the
// client's user only.
//
// Each Getter has its own discovery cache. A shared cache would show one user
// another user's resources.
type Getter struct {
	client    *Client
	namespace string
	discovery func() (discovery.CachedDiscoveryInterface, error)
	mapper    func() (meta.RESTMapper, error)
}

// Getter returns a Getter with a default namespace.
func (c *Client) Getter(namespace string) *Getter {
	g := &Getter{client: c, namespace: namespace}
	g.discovery = sync.OnceValues(func() (discovery.CachedDiscoveryInterface, error) {
		d, err := discovery.NewDiscoveryClientForConfig(c.config())
		if err != nil {
			return nil, err
		}
		return memory.NewMemCacheClient(d), nil
	})
	g.mapper = sync.OnceValues(func() (meta.RESTMapper, error) {
		d, err := g.discovery()
		if err != nil {
			return nil, err
		}
		return restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(d), d, nil), nil
	})
	return g
}

func (c *Client) config() *rest.Config {
	return &rest.Config{Host: c.endpoint.url, Transport: c.http.Transport, QPS: -1, UserAgent: "bulkhead"}
}

func (g *Getter) ToRESTConfig() (*rest.Config, error) { return g.client.config(), nil }

func (g *Getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.discovery()
}

func (g *Getter) ToRESTMapper() (meta.RESTMapper, error) { return g.mapper() }

func (g *Getter) ToRawKubeConfigLoader() clientcmd.ClientConfig { return loader{g} }

// loader implements a kubeconfig loader without a kubeconfig.
type loader struct{ g *Getter }

func (l loader) ClientConfig() (*rest.Config, error) { return l.g.ToRESTConfig() }
func (l loader) Namespace() (string, bool, error)    { return l.g.namespace, true, nil }
func (l loader) ConfigAccess() clientcmd.ConfigAccess {
	return &clientcmd.ClientConfigLoadingRules{}
}
func (l loader) RawConfig() (api.Config, error) {
	return api.Config{}, errors.New("the client has no kubeconfig")
}
