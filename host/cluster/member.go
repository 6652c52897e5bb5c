package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/connrotation"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

const (
	startInterval = 200 * time.Millisecond // between probes of a cluster that is starting
	probeInterval = 5 * time.Second        // between probes of a cluster that has answered
	probeTimeout  = 3 * time.Second
	dialTimeout   = 10 * time.Second
	maxKubeconfig = 4 << 20
)

var kubeconfigLimits = strictyaml.Limits{Bytes: maxKubeconfig, Nodes: strictyaml.Small.Nodes, Depth: strictyaml.Small.Depth}

// member is one configured cluster.
type member struct {
	config  Config
	logger  *slog.Logger
	digest  [sha256.Size]byte // of the present kubeconfig and its certificates; used by watch only
	current atomic.Pointer[endpoint]
	started atomic.Bool            // current may be used
	problem atomic.Pointer[string] // of the last probe; nil if none

	feeds  feeds
	rights rights

	sets    atomic.Int32 // that have the member
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	renewed chan struct{}
}

// endpoint is the API server of a kubeconfig with the host's own credentials.
type endpoint struct {
	cluster   string
	url       string
	rest      *rest.Config
	transport http.RoundTripper // authenticated as the host; never leaves the package
	dialer    *connrotation.Dialer
}

func newMember(c Config, at string, logger *slog.Logger) (*member, error) {
	m := &member{config: c, logger: logger.With("cluster", c.Name), renewed: make(chan struct{})}
	field, err := m.load()
	if err == nil {
		m.started.Store(!c.WaitForKubeconfig)
		return m, nil
	}
	if c.WaitForKubeconfig {
		m.record(err)
		return m, nil
	}
	return nil, config.At(at+"."+field, err)
}

// start watches the cluster until ctx ends or the member is closed.
func (m *member) start(ctx context.Context) {
	ctx, m.stop = context.WithCancel(ctx)
	m.running.Go(func() { m.watch(ctx) })
}

// close ends what start began, and all connections.
func (m *member) close() {
	if m.stop != nil {
		m.stop()
	}
	m.running.Wait()
	m.feeds.close()
	if e := m.current.Load(); e != nil {
		e.close()
	}
}

// load reads the kubeconfig and the certificates that it names, and replaces the
// endpoint if one of them changed. With an error it returns the invalid field.
func (m *member) load() (field string, err error) {
	text, err := readFile(m.config.Kubeconfig)
	if err != nil {
		return "kubeconfig", err
	}
	config, field, err := parse(m.config, text)
	if err != nil {
		return field, err
	}
	digest := digestOf(text, config)
	if m.current.Load() != nil && digest == m.digest {
		return "", nil
	}
	e, err := newEndpoint(m.config.Name, config)
	if err != nil {
		return "kubeconfig", err
	}
	m.digest = digest
	if old := m.current.Swap(e); old != nil {
		m.logger.Info("kubeconfig changed", "file", m.config.Kubeconfig)
		closeIdle(old.transport) // requests in progress finish
		m.renew()
	}
	return "", nil
}

// renewal returns a channel that is closed when the cluster has a new endpoint or
// answers again.
func (m *member) renewal() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.renewed
}

func (m *member) renew() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.renewed)
	m.renewed = make(chan struct{})
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKubeconfig+1))
	if err == nil && len(text) > maxKubeconfig {
		err = fmt.Errorf("%s is over %d bytes", name, maxKubeconfig)
	}
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = fmt.Errorf("%s is empty", name)
	}
	return text, err
}

func parse(c Config, text []byte) (config *rest.Config, field string, err error) {
	if _, err := strictyaml.Parse(text, kubeconfigLimits); err != nil {
		return nil, "kubeconfig", fmt.Errorf("%s: %w", c.Kubeconfig, err)
	}
	file, err := clientcmd.Load(strictyaml.TrimBOM(text))
	if err != nil {
		return nil, "kubeconfig", fmt.Errorf("%s: %w", c.Kubeconfig, err)
	}
	for _, x := range file.Clusters {
		x.LocationOfOrigin = c.Kubeconfig
	}
	for _, x := range file.AuthInfos {
		x.LocationOfOrigin = c.Kubeconfig
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return nil, "kubeconfig", fmt.Errorf("%s: %w", c.Kubeconfig, err)
	}
	if c.Context != "" && file.Contexts[c.Context] == nil {
		return nil, "context", fmt.Errorf("%s has no context %q", c.Kubeconfig, c.Context)
	}
	name := c.Context
	if name == "" {
		name = file.CurrentContext
	}
	if file.Contexts[name] == nil {
		return nil, "context", fmt.Errorf("%s has no current context; set context", c.Kubeconfig)
	}
	config, err = clientcmd.NewNonInteractiveClientConfig(*file, name, nil, nil).ClientConfig()
	if err != nil {
		return nil, "kubeconfig", fmt.Errorf("%s: %w", c.Kubeconfig, err)
	}
	if config.Impersonate.UserName != "" {
		return nil, "kubeconfig", fmt.Errorf("%s: context %q impersonates a user; use a context without impersonation, whose own identity may impersonate the host's users", c.Kubeconfig, name)
	}
	// With file names, client-go reloads certificates and then closes every connection,
	// terminals included, and never reloads authorities. So it gets their content.
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, "kubeconfig", fmt.Errorf("%s: %w", c.Kubeconfig, err)
	}
	config.CAFile, config.CertFile, config.KeyFile = "", "", ""
	return config, "", nil
}

func digestOf(text []byte, config *rest.Config) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{text, config.CAData, config.CertData, config.KeyData} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func newEndpoint(name string, config *rest.Config) (*endpoint, error) {
	config.UserAgent = "bulkhead"
	config.QPS = -1 // the API server's own fairness limits requests, per user
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext)
	config.Dial = dialer.DialContext
	url, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	return &endpoint{cluster: name, url: strings.TrimSuffix(url.String(), "/"), rest: config, transport: transport, dialer: dialer}, nil
}

// close closes all connections, also those of requests in progress.
func (e *endpoint) close() {
	closeIdle(e.transport)
	e.dialer.CloseAll()
}

// endpoint returns the present endpoint.
func (m *member) endpoint() (*endpoint, error) {
	if e := m.current.Load(); e != nil && m.started.Load() {
		return e, nil
	}
	return nil, host.E(host.Unavailable, op, "cluster %q is starting; try again", m.config.Name)
}

func (m *member) status() Status {
	s := Status{Name: m.config.Name, Ready: m.started.Load()}
	if p := m.problem.Load(); p != nil {
		s.Ready, s.Detail = false, *p
	}
	if !m.started.Load() {
		s.Detail = strings.TrimSuffix("starting: "+s.Detail, ": ")
	}
	return s
}

// watch follows the file and probes the API server until ctx ends.
func (m *member) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		_, err := m.load()
		if err == nil {
			err = m.current.Load().probe(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		m.record(err)
		next := probeInterval
		if !m.started.Load() {
			next = startInterval
		}
		timer.Reset(next)
	}
}

// record stores and logs the result of a probe.
func (m *member) record(err error) {
	before := m.problem.Load()
	if err == nil {
		returned := m.started.CompareAndSwap(false, true) || before != nil
		m.problem.Store(nil)
		if returned {
			m.logger.Info("cluster answers")
			m.renew()
		}
		return
	}
	text := err.Error()
	if before == nil || *before != text {
		level := slog.LevelWarn
		if !m.started.Load() {
			level = slog.LevelDebug
		}
		m.logger.Log(context.Background(), level, "cluster does not answer", "error", text)
	}
	m.problem.Store(&text)
}

// probe requests /readyz of the API server.
func (e *endpoint) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	// Any other answer comes from a running server that does not serve /readyz.
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("the API server answers /readyz with %s", resp.Status)
	}
	return nil
}
