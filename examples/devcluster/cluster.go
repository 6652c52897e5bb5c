package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/examples/devcluster/internal/kubelet"
	"github.com/seed-a3fb47d6/bulkhead/examples/devcluster/internal/nodes"
	"github.com/seed-a3fb47d6/bulkhead/examples/devcluster/internal/pki"
	"github.com/seed-a3fb47d6/bulkhead/examples/devcluster/internal/plane"
	"github.com/seed-a3fb47d6/bulkhead/examples/devcluster/manifests"
)

// partTimeout is how long a part that is no longer needed may take to end before the next part is stopped. Parts that have
// not ended by then end with the process.
const partTimeout = time.Second

// cluster is all running parts. It is started once and stopped once.
type cluster struct {
	options
	progress
	lock     *os.File
	logs     *os.File
	listener net.Listener // of the API server, until the API server owns it
	address  string       // of the API server
	kubelets net.Listener

	ca    *pki.Authority
	admin access
	etcd  *plane.Etcd

	broken  chan error // the first part that ended by itself
	clients *group     // the clients of the API server: controllers, scheduler, kwok
	kubelet *group
	api     *group
}

// newCluster acquires the exclusive resources: the data directory and the ports.
func newCluster(o options, p progress) (_ *cluster, err error) {
	c := &cluster{options: o, progress: p, broken: make(chan error, 1)}
	c.clients, c.kubelet, c.api = newGroup(c.broken), newGroup(c.broken), newGroup(c.broken)
	defer func() {
		if err != nil {
			c.release()
		}
	}()
	if c.lock, err = lockFile(filepath.Join(o.data, "lock")); err != nil {
		return nil, usagef("--data %s: %w", o.data, err)
	}
	if c.listener, err = net.Listen("tcp", o.listen); err != nil {
		return nil, usagef("--listen %s: %w", o.listen, err)
	}
	c.address = c.listener.Addr().String()
	if c.kubelets, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	c.logs, err = os.OpenFile(c.path("devcluster.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return c, err
}

func (c *cluster) path(name string) string { return filepath.Join(c.data, name) }

// start starts the parts one by one and returns when the cluster can be used.
func (c *cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("not ready after %v", c.timeout))
	defer cancel()
	plane.LogTo(c.logs, func() {
		// A component called klog.Fatal and must not go on. Report as for any other part, and stop this goroutine.
		c.clients.report(errors.New("a Kubernetes component failed"))
		select {}
	})
	for _, s := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"starting etcd", c.startEtcd},
		{"starting API server on " + c.server(), c.startAPI},
		{"applying namespaces, roles, custom resources, workloads", c.apply},
		{"starting controllers, scheduler and nodes", c.startClients},
		{"writing kubeconfigs", c.writeKubeconfigs},
		{"waiting for pods", c.waitForPods},
	} {
		c.step("%s", s.name)
		if err := c.unlessBroken(ctx, s.run); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	c.step("ready: KUBECONFIG=%s", c.kubeconfig)
	return nil
}

// unlessBroken runs one step, but stops waiting for it when a part has ended.
func (c *cluster) unlessBroken(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- step(ctx) }()
	select {
	case err := <-done:
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx) // the reason; the step itself only reports that it was cancelled
		}
		return err
	case err := <-c.broken:
		cancel(err)
	case <-ctx.Done():
	}
	// Wait, so that stop finds what the step is starting.
	within(partTimeout, func() { <-done })
	return context.Cause(ctx)
}

func (c *cluster) startEtcd(ctx context.Context) (err error) {
	c.etcd, err = plane.StartEtcd(ctx, c.path("etcd"), c.logs.Name())
	return err
}

func (c *cluster) startAPI(ctx context.Context) error {
	var errs [5]error
	c.ca, errs[0] = pki.Open(c.path("pki"))
	if errs[0] != nil {
		return errs[0]
	}
	config := plane.APIServer{
		Listener: c.listener, EtcdEndpoint: c.etcd.Endpoint, CA: c.ca.CertFile,
		AuditPolicy: c.path("audit-policy.yaml"), AuditLog: c.auditLog(),
	}
	config.Serving, errs[0] = c.ca.Serving("apiserver", "127.0.0.1", "localhost", "kubernetes.default.svc")
	config.KubeletClient, errs[1] = c.ca.Client("kubelet-client", kubeletClient)
	config.ServiceAccountKey, errs[2] = c.ca.SigningKey()
	errs[3] = os.WriteFile(config.AuditPolicy, manifests.AuditPolicy, 0o600)
	admin, err := c.ca.Client("admin", "admin", "system:masters")
	errs[4] = err
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	c.admin = access{server: c.server(), ca: c.ca.CertPEM, auth: certificate(admin)}
	c.listener = nil // the API server panics if its listener is closed elsewhere
	c.api.run("API server", func(ctx context.Context) error { return plane.RunAPIServer(ctx, config) })
	return c.waitForAPI(ctx)
}

// kubeletClient is the name of the API server for kubelets.
const kubeletClient = "system:devcluster:apiserver"

func (c *cluster) apply(ctx context.Context) error {
	config, err := c.admin.client()
	if err != nil {
		return err
	}
	if err := manifests.Apply(ctx, config); err != nil {
		return err
	}
	return c.forgetNodes(ctx)
}

// startClients starts the clients of the API server. The controllers run as members of system:masters: with their own
// service accounts, as on a real cluster, they would start a few seconds later without any benefit.
func (c *cluster) startClients(context.Context) error {
	files := map[string]string{}
	for name, user := range map[string]string{
		"controller-manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler", "kwok": "system:devcluster:kwok",
	} {
		pair, err := c.ca.Client(name, user, "system:masters")
		if err != nil {
			return err
		}
		files[name] = c.path(filepath.Join("pki", name+".kubeconfig"))
		a := access{server: c.server(), ca: c.ca.CertPEM, auth: certificate(pair)}
		if err := a.write(files[name]); err != nil {
			return err
		}
	}
	serviceAccountKey, err := c.ca.SigningKey()
	if err != nil {
		return err
	}
	c.clients.run("controller manager", func(ctx context.Context) error {
		return plane.RunControllerManager(ctx, files["controller-manager"], c.ca.CertFile, serviceAccountKey)
	})
	c.clients.run("scheduler", func(ctx context.Context) error { return plane.RunScheduler(ctx, files["scheduler"]) })
	c.clients.run("kwok", func(ctx context.Context) error {
		if err := nodes.Start(ctx, files["kwok"], c.kubelets.Addr().(*net.TCPAddr).Port, c.logs); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	return c.startKubelet()
}

func (c *cluster) startKubelet() error {
	pair, err := c.ca.Serving("kubelet", "127.0.0.1")
	if err != nil {
		return err
	}
	serving, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		return err
	}
	k := kubelet.New(c.path("pods"), kubeletClient)
	c.kubelet.run("kubelet", func(ctx context.Context) error { return k.Serve(ctx, c.kubelets, serving, c.ca.Pool()) })
	return nil
}

// wait returns nil when shutdown was requested, or the reason for which a part ended by itself.
func (c *cluster) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-c.broken:
		return err
	}
}

// stop stops all parts, most important first: the commands that exec started, then the clients of the API server, then the
// API server, then the store.
func (c *cluster) stop() {
	c.step("stopping")
	c.kubelet.stop(2 * partTimeout)
	c.clients.stop(partTimeout)
	c.api.stop(partTimeout)
	c.release()
}

func (c *cluster) release() {
	if c.etcd != nil {
		within(partTimeout, c.etcd.Stop)
	}
	for _, closer := range []io.Closer{c.listener, c.kubelets} {
		if closer != nil {
			_ = closer.Close()
		}
	}
	c.removeTemporary()
}

// removeTemporary tries several times, because a part that has not ended in time may create a file meanwhile.
func (c *cluster) removeTemporary() {
	if !c.temporary {
		return
	}
	for range 20 {
		_ = os.RemoveAll(c.data)
		time.Sleep(20 * time.Millisecond)
		if _, err := os.Stat(c.data); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

// failed prints an error in one line, unless it is a consequence of a requested shutdown.
func (c *cluster) failed(ctx context.Context, stderr io.Writer, err error) int {
	if ctx.Err() != nil {
		return exitOK
	}
	if !c.temporary {
		err = fmt.Errorf("%w (details in %s)", err, c.logs.Name())
	}
	return fail(stderr, err)
}

func (c *cluster) server() string   { return "https://" + c.address }
func (c *cluster) auditLog() string { return c.path("audit.log") }

// group is a set of parts that are stopped together.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	broken chan<- error
	wg     sync.WaitGroup
}

func newGroup(broken chan<- error) *group {
	g := &group{broken: broken}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// run starts a part that should last until the group is stopped.
func (g *group) run(name string, part func(context.Context) error) {
	g.wg.Go(func() {
		err := part(g.ctx)
		if g.ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		g.report(fmt.Errorf("%s: %w", name, err))
	})
}

// report keeps the first error only, since later ones are consequences.
func (g *group) report(err error) {
	select {
	case g.broken <- err:
	default:
	}
}

func (g *group) stop(timeout time.Duration) {
	g.cancel()
	within(timeout, g.wg.Wait)
}

// within waits for f, but not longer than the timeout.
func within(timeout time.Duration, f func()) {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(timeout):
	}
}
