package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

const (
	idleTimeout = 4 * time.Hour // as the kubelet's own default
	stopTimeout = 2 * time.Second
)

// Server answers for the pods of all nodes.
type Server struct {
	dir     string // one directory per pod below it
	client  string // the only client's name
	started time.Time
	running sync.WaitGroup // exec'd commands
}

// New returns a server whose pods keep their files below dir, for the API server that shows a certificate of this name.
func New(dir, client string) *Server { return &Server{dir: dir, client: client, started: time.Now()} }

// Serve answers on the listener until ctx ends, then kills every command that is still running and returns when all of
// them are gone. The client's certificate must come from the given authority.
func (s *Server) Serve(ctx context.Context, l net.Listener, serving tls.Certificate, clients *x509.CertPool) error {
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.Default(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withConn,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{serving},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    clients,
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"http/1.1"}, // streams upgrade, which HTTP/2 cannot
			VerifyConnection: func(state tls.ConnectionState) error {
				if name := state.PeerCertificates[0].Subject.CommonName; name != s.client {
					return fmt.Errorf("%q is not the API server", name)
				}
				return nil
			},
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.ServeTLS(l, "", "") }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	_ = srv.Close()
	s.waitForCommands()
	return err
}

// waitForCommands is bounded, because a process in an uninterruptible state must not hold up the shutdown.
func (s *Server) waitForCommands() {
	gone := make(chan struct{})
	go func() { s.running.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(stopTimeout):
	}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", s.exec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", s.portForward)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.logs)
	mux.HandleFunc("/attach/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "devcluster: attach is not supported, use exec", http.StatusNotImplemented)
	})
	return mux
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		http.Error(w, "no command", http.StatusBadRequest)
		return
	}
	ctx, cancel := whileConnected(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	e := executor{server: s, pod: podOf(r)}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		execWebSocket(w, r, e, command, opts)
		return
	}
	remotecommand.ServeExec(w, r, e, "", "", e.pod.container, command, opts, idleTimeout,
		remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := whileConnected(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	serve := func(w http.ResponseWriter, r *http.Request) {
		portforward.ServePortForward(w, r, forwarder{podOf(r)}, "", "", &portforward.V4Options{}, idleTimeout,
			remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
	}
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		proxy.NewTunnelingHandler(http.HandlerFunc(serve)).ServeHTTP(w, r)
		return
	}
	serve(w, r)
}

// pod is the address of a container within the cluster.
type pod struct{ namespace, name, container string }

func podOf(r *http.Request) pod {
	return pod{r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")}
}

// home is the working directory of the pod's commands.
func (s *Server) home(p pod) string { return filepath.Join(s.dir, p.namespace, p.name) }
