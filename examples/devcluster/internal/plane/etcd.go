package plane

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// A Unix socket's path must fit into sockaddr_un; deep temporary directories do not.
const maxSocketPath = 100

// Etcd is the store behind the API server.
type Etcd struct {
	// Endpoint is a Unix socket in a private directory. No TCP port means no other user of the machine can reach the
	// store and no authentication is needed.
	Endpoint string

	server    *embed.Etcd
	socketDir string // to remove, if it had to be outside dir
}

// StartEtcd opens the store in dir and returns when it serves.
func StartEtcd(ctx context.Context, dir, logFile string) (*Etcd, error) {
	e := &Etcd{}
	socket, err := e.socketPath(dir)
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	cfg.ListenPeerUrls = nil // a single member has no peers to listen to
	cfg.LogLevel = "warn"
	cfg.WarningUnaryRequestDuration = time.Second // zero, its value here, would log every request
	cfg.LogOutputs = []string{logFile}
	cfg.UnsafeNoFsync = true // a power cut may cost the development cluster; a crash of the process does not
	if e.server, err = embed.StartEtcd(cfg); err != nil {
		e.Stop()
		return nil, err
	}
	e.Endpoint = "unix://" + socket
	select {
	case <-e.server.Server.ReadyNotify():
		return e, nil
	case err = <-e.server.Err():
	case <-e.server.Server.StopNotify():
		err = errors.New("etcd stopped while starting")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	e.Stop()
	return nil, err
}

// Stop closes the store and what StartEtcd created outside of it.
func (e *Etcd) Stop() {
	if e.server != nil {
		e.server.Close()
	}
	if e.socketDir != "" {
		_ = os.RemoveAll(e.socketDir)
	}
}

func (e *Etcd) socketPath(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	socket := filepath.Join(dir, "client.sock")
	if len(socket) <= maxSocketPath {
		return socket, nil
	}
	var err error
	e.socketDir, err = os.MkdirTemp("", "devcluster-etcd-")
	return filepath.Join(e.socketDir, "client.sock"), err
}
