package state

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// Options is the section "state" of the configuration: the etcd cluster that keeps the
// state. Without endpoints it is an etcd member inside this process.
type Options struct {
	// Endpoints are the members' client URLs: https, or http on loopback.
	Endpoints []string `json:"endpoints,omitempty"`
	// Prefix separates deployments that share a cluster; "bulkhead/" if empty. The
	// etcd user needs read and write access to this prefix and to nothing else.
	Prefix string `json:"prefix,omitempty"`
	// KeyFile contains the 32 random bytes that seal every record, the same on all
	// replicas. Required with Endpoints; data/host.key if empty.
	KeyFile string `json:"keyFile,omitempty"`

	// KeyRotation is the age at which a signing key is replaced; 30 days if absent.
	KeyRotation host.Duration `json:"keyRotation,omitempty"`

	User         string `json:"user,omitempty"`         // of etcd's own authentication
	PasswordFile string `json:"passwordFile,omitempty"` // of that user; read at the start, unlike certificates
	TLS          TLS    `json:"tls,omitzero"`
}

// TLS names PEM files. The host follows changes: a new connection uses their present
// content.
type TLS struct {
	CA   string `json:"ca,omitempty"`   // the system's if empty
	Cert string `json:"cert,omitempty"` // the client's, for mutual TLS
	Key  string `json:"key,omitempty"`  // of Cert
}

// Paths are the fields that name files.
func (o *Options) Paths() []*string {
	return []*string{&o.KeyFile, &o.PasswordFile, &o.TLS.CA, &o.TLS.Cert, &o.TLS.Key}
}

// Check adds every field that cannot be right to bad. It opens nothing.
func (o *Options) Check(bad *config.Problems) {
	secure := false
	for i, endpoint := range o.Endpoints {
		u, err := url.Parse(endpoint)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.User != nil:
			bad.Index("endpoints", i).Add("", "%q is not a URL like https://etcd-0:2379", endpoint)
		case u.Scheme == "http" && !netaddr.IsLoopback(u.Hostname()):
			bad.Index("endpoints", i).Add("", "%q must be https off loopback", endpoint)
		case i > 0 && secure != (u.Scheme == "https"):
			bad.Index("endpoints", i).Add("", "http and https cannot be mixed")
		}
		secure = err == nil && u.Scheme == "https"
	}
	if len(o.Endpoints) == 0 && (o.User != "" || o.PasswordFile != "" || o.TLS != TLS{} || o.Prefix != "") {
		bad.Add("endpoints", "are missing; user, passwordFile, tls and prefix have no effect without them")
	}
	if len(o.Endpoints) > 0 && o.KeyFile == "" {
		bad.Add("keyFile", "is required with endpoints, the same for all replicas; create one with: openssl rand -out state.key 32")
	}
	if o.Prefix != "" && (!strings.HasSuffix(o.Prefix, "/") || len(o.Prefix) > maxName) {
		bad.Add("prefix", "%q must end with / and have at most %d bytes", o.Prefix, maxName)
	}
	if (o.User == "") != (o.PasswordFile == "") {
		bad.Add("user", "user and passwordFile must be given together")
	}
	if (o.TLS.Cert == "") != (o.TLS.Key == "") {
		bad.Add("tls", "cert and key must be given together")
	}
	if len(o.Endpoints) > 0 && !secure && o.TLS != (TLS{}) {
		bad.Add("tls", "has no effect with http endpoints; remove it or use https")
	}
	if r := time.Duration(o.KeyRotation); r != 0 && r < minKeyAge {
		bad.Add("keyRotation", "%v must be at least %v", r, minKeyAge)
	}
}

func (o *Options) prefix() string {
	if o.Prefix == "" {
		return defaultPrefix
	}
	return o.Prefix
}

// newClient makes a client of the cluster. It returns before it has connected to a
// member, unless it has to sign in.
func (o *Options) newClient(log *slog.Logger) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints:   o.Endpoints,
		Username:    o.User,
		DialTimeout: firstAnswer,
		// A connection that stopped answering is replaced.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		Logger: zapTo(log, &atomic.Bool{}),
	}
	var err error
	if cfg.TLS, err = o.tls(); err != nil {
		return nil, err
	}
	if cfg.TLS != nil {
		renewed, err := o.renewedTLS(log)
		if err != nil {
			return nil, err
		}
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithTransportCredentials(renewed)) // instead of cfg.TLS
	}
	if o.PasswordFile != "" {
		password, err := os.ReadFile(o.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("state.passwordFile: %w", err)
		}
		cfg.Password = strings.TrimRight(string(password), "\r\n")
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, o.unreachable(err)
	}
	return client, nil
}

// renewedTLS is TLS with the content that the files have at each handshake.
type renewedTLS struct {
	credentials.TransportCredentials // from the files' initial content
	config                           *follow.Value[*tls.Config]
}

func (r *renewedTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(r.config.Get()).ClientHandshake(ctx, authority, conn)
}

func (r *renewedTLS) Clone() credentials.TransportCredentials {
	return &renewedTLS{r.TransportCredentials.Clone(), r.config}
}

func (o *Options) renewedTLS(log *slog.Logger) (*renewedTLS, error) {
	files := slices.DeleteFunc([]string{o.TLS.CA, o.TLS.Cert, o.TLS.Key}, func(f string) bool { return f == "" })
	config, err := follow.Open(log, func([][]byte) (*tls.Config, error) { return o.tls() }, files...)
	if err != nil {
		return nil, err
	}
	return &renewedTLS{credentials.NewTLS(config.Get()), config}, nil
}

func (o *Options) tls() (*tls.Config, error) {
	if !strings.HasPrefix(o.Endpoints[0], "https:") {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS.CA != "" {
		pem, err := os.ReadFile(o.TLS.CA)
		if err != nil {
			return nil, fmt.Errorf("state.tls.ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("state.tls.ca: %s contains no certificate", o.TLS.CA)
		}
	}
	if o.TLS.Cert != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.TLS.Cert, o.TLS.Key)
			return &pair, err
		}
		if _, err := load(nil); err != nil {
			return nil, fmt.Errorf("state.tls: %w", err)
		}
		cfg.GetClientCertificate = load
	}
	return cfg, nil
}

// unreachable returns an error with the problem of each endpoint. The client itself
// reports only a timeout.
func (o *Options) unreachable(err error) error {
	if host.KindOf(err) != host.Internal && host.KindOf(err) != host.Unavailable {
		return err
	}
	if !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "DeadlineExceeded") {
		return fmt.Errorf("state.endpoints %s: %w", strings.Join(o.Endpoints, ", "), err)
	}
	found := make(chan error, len(o.Endpoints))
	for _, endpoint := range o.Endpoints {
		go func() {
			cause := o.probe(endpoint)
			if cause == nil {
				cause = errors.New("it accepts connections but does not answer; perhaps it has no quorum")
			}
			found <- fmt.Errorf("%s: %w", endpoint, cause)
		}()
	}
	var all []error
	for range o.Endpoints {
		all = append(all, <-found)
	}
	return fmt.Errorf("state.endpoints: no etcd answers: %w", errors.Join(all...))
}

func (o *Options) probe(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	cfg, err := o.tls()
	if err != nil {
		return err
	}
	if cfg == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	// In TLS 1.3 a server refuses a certificate after the client's handshake.
	_ = conn.SetReadDeadline(time.Now().Add(probeTimeout / 4))
	_, err = conn.Read(make([]byte, 1))
	if timeout, ok := errors.AsType[net.Error](err); err == nil || ok && timeout.Timeout() {
		return nil
	}
	return err
}
