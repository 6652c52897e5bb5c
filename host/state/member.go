package state

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

const (
	// maxSocketPath leaves room below sockaddr_un's 104 bytes (108 on Linux).
	maxSocketPath = 100

	// quota is enough for some 10,000 logins of the largest size with their history
	// between two compactions, and for maxHeld of uploads.
	quota = 512 << 20

	// A single member elects itself; these values define how soon after its start.
	tickMillis     = 20
	electionMillis = 200

	startTimeout = 30 * time.Second
)

// member is an etcd of one member in this process.
type member struct {
	endpoint  string
	etcd      *embed.Etcd
	ending    atomic.Bool
	socketDir string // removed at the end; empty if the socket is in the state directory
}

func startMember(ctx context.Context, dir string, log *slog.Logger) (*member, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	m := &member{}
	socket, err := m.socketPath(dir)
	if err != nil {
		return nil, err
	}
	m.endpoint = "unix://" + socket
	if m.etcd, err = embed.StartEtcd(memberConfig(dir, socket, zapTo(log, &m.ending))); err != nil {
		return nil, errors.Join(err, m.close())
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-m.etcd.Server.ReadyNotify():
		return m, nil
	case err = <-m.etcd.Err():
		err = errors.Join(errors.New("it stopped while starting"), err)
	case <-m.etcd.Server.StopNotify():
		err = errors.New("it stopped while starting")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, m.close())
}

func memberConfig(dir, socket string, log *zap.Logger) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.ListenPeerUrls = nil // the advertised peer address is a name only
	cfg.TickMs = tickMillis
	cfg.ElectionMs = electionMillis
	cfg.QuotaBackendBytes = quota
	cfg.AutoCompactionMode = embed.CompactorModeRevision
	cfg.AutoCompactionRetention = "1000"
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	return cfg
}

func (m *member) socketPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if path := filepath.Join(abs, "client.sock"); len(path) <= maxSocketPath {
		return path, nil
	}
	m.socketDir, err = os.MkdirTemp("", "bulkhead-") // mode 0700
	return filepath.Join(m.socketDir, "client.sock"), err
}

func (m *member) close() error {
	m.ending.Store(true)
	if m.etcd != nil {
		m.etcd.Close()
	}
	if m.socketDir != "" {
		return os.RemoveAll(m.socketDir)
	}
	return nil
}

func (m *member) newClient(log *slog.Logger) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   []string{m.endpoint},
		DialTimeout: opTimeout,
		Logger:      zapTo(log, &m.ending),
	})
}
