package main

import (
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/seed-a3fb47d6/bulkhead/examples/devcluster/internal/pki"
)

// access is what a client needs to reach the API server: its address, its authority, and the client's credentials.
type access struct {
	server string
	ca     []byte
	auth   api.AuthInfo
}

func certificate(p pki.Pair) api.AuthInfo {
	return api.AuthInfo{ClientCertificateData: p.CertPEM, ClientKeyData: p.KeyPEM}
}

// write writes a self-contained kubeconfig to the file atomically: a reader sees the old or the new one.
func (a access) write(file string) error {
	text, err := clientcmd.Write(a.config())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(file), ".kubeconfig-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(next.Name()) }() // fails once it was renamed
	if _, err = next.Write(text); err != nil {
		_ = next.Close()
		return err
	}
	if err := next.Close(); err != nil {
		return err
	}
	return os.Rename(next.Name(), file)
}

func (a access) config() api.Config {
	const name = "dev"
	c := *api.NewConfig()
	c.Clusters[name] = &api.Cluster{Server: a.server, CertificateAuthorityData: a.ca}
	c.AuthInfos[name] = &a.auth
	c.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	c.CurrentContext = name
	return c
}

// client returns the access for clients in this process.
func (a access) client() (*rest.Config, error) {
	config, err := clientcmd.NewDefaultClientConfig(a.config(), nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // no limit: the API server is ours
	return config, nil
}
