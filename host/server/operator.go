package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
)

// The admin socket is for tools of the operator on the host's machine: a Unix socket
// in a directory of the host's user alone. Its peers are that user and root, by the
// kernel's word; what they ask is decided by policy as the user operator@local.

// adminDir holds the socket, below the data directory.
const (
	adminDir    = "admin"
	adminSocket = "socket"
)

// errNoPeer is the error of systems whose kernel does not name a socket's peer.
var errNoPeer = errors.New("this system does not say which user is at the other end of a Unix socket")

// peer is the process at the other end of a Unix socket.
type peer struct {
	uid uint32
	pid int32
}

func (p peer) String() string { return fmt.Sprintf("local uid %d process %d", p.uid, p.pid) }

// trusted reports whether p may use the admin socket of a host that runs as owner.
func (p peer) trusted(owner int) bool { return p.uid == 0 || int64(p.uid) == int64(owner) }

// peerConn is a connection whose peer was checked. Its remote address is the peer.
type peerConn struct {
	*net.UnixConn
	peer peer
}

func (c *peerConn) RemoteAddr() net.Addr { return peerAddr{c.peer} }

type peerAddr struct{ peer }

func (peerAddr) Network() string { return "unix" }

// peerListener accepts connections of the host's own user and of root.
type peerListener struct {
	*net.UnixListener
	owner int
	log   *slog.Logger
}

func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err == nil && p.trusted(l.owner) {
			return &peerConn{c, p}, nil
		}
		l.log.Warn("the admin socket refuses a connection", "peer", p.String(), "error", err)
		_ = c.Close()
	}
}

// openOperator serves the admin socket until Close. The data directory is this
// process's own by then, so a socket that is there was left behind.
func (s *Server) openOperator(ctx context.Context) error {
	l, err := listenOperator(s.first.Data, s.log)
	if errors.Is(err, errNoPeer) {
		s.log.Warn("there is no admin socket", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	srv := s.newServer(operatorRoutes(s))
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return authn.AsOperator(ctx, c.RemoteAddr().String())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the admin socket failed", "error", err)
		}
	}()
	s.closing(func(ctx context.Context) error {
		err := srv.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, srv.Close())
		}
		<-done
		return err
	})
	return nil
}

// operatorRoutes leaves of the surface what the admin socket serves: administration,
// and how the host does.
func operatorRoutes(surface http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p := r.URL.Path; {
		case strings.HasPrefix(p, "/api/admin/"), p == "/healthz", p == "/readyz", p == "/health":
			surface.ServeHTTP(w, r)
		default:
			gateway.WriteJSON(w, http.StatusNotFound, gateway.ErrorBody{Error: "the admin socket serves /api/admin/…, /healthz, /readyz and /health"})
		}
	})
}

// listenOperator makes the socket below data, in a directory that only the host's
// user may enter.
func listenOperator(data string, log *slog.Logger) (net.Listener, error) {
	if !knowsPeers {
		return nil, errNoPeer
	}
	dir := filepath.Join(data, adminDir)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := ownDir(dir); err != nil {
		return nil, err
	}
	var l net.Listener
	err := inDir(dir, func(dir string) (err error) {
		path := filepath.Join(dir, adminSocket)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if l, err = bind(path, 0o077); err == nil {
			err = os.Chmod(path, 0o600)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the admin socket in %s: %w", dir, err)
	}
	unix := l.(*net.UnixListener)
	unix.SetUnlinkOnClose(false) // by a path that may be longer than a socket's; openOperator removes it
	return &peerListener{unix, os.Geteuid(), log}, nil
}

// ownDir makes sure that dir is a directory which only this process's user may enter.
func ownDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := ownerOf(info)
	if !info.IsDir() || !ok || owner != os.Geteuid() {
		return fmt.Errorf("%s must be a directory of the user that the host runs as; remove it, and the host makes it", dir)
	}
	if info.Mode().Perm() != 0o700 {
		return os.Chmod(dir, 0o700)
	}
	return nil
}

func ownerOf(info os.FileInfo) (uid int, ok bool) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(sys.Uid), true
}

// ErrNoHost is the error of DialOperator if no host serves the socket.
var ErrNoHost = errors.New("no host runs here")

// DialOperator connects to the admin socket of the host whose data directory this
// is. It fails with ErrNoHost if none serves it, and if a process of another user
// does: neither this process's user nor root, nor, for root, the owner of data.
func DialOperator(ctx context.Context, data string) (net.Conn, error) {
	dir := filepath.Join(data, adminDir)
	var c net.Conn
	err := inDir(dir, func(dir string) (err error) {
		c, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", filepath.Join(dir, adminSocket))
		return err
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: nothing listens in %s", ErrNoHost, dir)
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%s is for the user that the host runs as, and root: %w", dir, err)
	}
	if err != nil {
		return nil, err
	}
	p, err := peerOf(c.(*net.UnixConn))
	if err == nil && !serves(p, data) {
		err = fmt.Errorf("the socket in %s is served by another user: %s", dir, p)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func serves(p peer, data string) bool {
	me := os.Geteuid()
	if p.trusted(me) {
		return true
	}
	info, err := os.Stat(data)
	if err != nil || me != 0 {
		return false
	}
	owner, ok := ownerOf(info)
	return ok && int64(p.uid) == int64(owner)
}

// inDir calls f with a name of dir that is short enough for the path of a Unix
// socket (108 bytes on Linux).
func inDir(dir string, f func(short string) error) error {
	if len(dir)+len(adminSocket)+1 <= maxSocketPath {
		return f(dir)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
}

const maxSocketPath = 100
