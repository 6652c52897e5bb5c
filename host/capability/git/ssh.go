package git

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// sshAccess is the credential of a source and the host keys that it accepts.
type sshAccess struct {
	signer   ssh.Signer
	known    ssh.HostKeyCallback
	identity []byte // of the credential, for the cache
}

func newSSHAccess(signer ssh.Signer, knownHosts string) (*sshAccess, error) {
	known, err := knownhosts.New(knownHosts)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(signer.PublicKey().Marshal())
	return &sshAccess{signer, known, sum[:]}, nil
}

// algorithms returns the algorithms of the host keys that are known for the server. Without
// them, a server that has keys of several types might prove another one.
func (a *sshAccess) algorithms(addr string, remote net.Addr) ([]string, error) {
	var e *knownhosts.KeyError
	if err := a.known(addr, remote, noKey{}); !errors.As(err, &e) || len(e.Want) == 0 {
		return nil, host.E(host.Upstream, name, "the server's host key is not in knownHostsFile")
	}
	var list []string
	for _, k := range e.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			list = append(list, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256) // not SHA-1
		} else {
			list = append(list, t)
		}
	}
	return list, nil
}

// noKey is a public key that is no server's.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

// sshServer runs git-upload-pack on the server.
type sshServer struct {
	client  *ssh.Client
	session *ssh.Session
	in      io.WriteCloser
	out     io.Reader
	asked   bool
	stop    func() bool
}

const dialTimeout = 15 * time.Second

// dialSSH connects and authenticates. The connection ends with ctx.
func dialSSH(ctx context.Context, access *sshAccess, a address, auth host.Authority) (_ server, err error) {
	addr := a.host
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "22")
	}
	if !auth.Alive() {
		return nil, lost(auth)
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if err != nil {
			stop()
			_ = conn.Close()
		}
	}()
	algorithms, err := access.algorithms(addr, conn.RemoteAddr())
	if err != nil {
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(&guardedConn{conn, auth}, addr, &ssh.ClientConfig{
		User: a.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(access.signer)},
		HostKeyCallback: access.known, HostKeyAlgorithms: algorithms,
	})
	if err != nil {
		return nil, handshake(err)
	}
	s := &sshServer{client: ssh.NewClient(c, channels, requests), stop: stop}
	if s.session, err = s.client.NewSession(); err != nil {
		return nil, err
	}
	if s.in, err = s.session.StdinPipe(); err != nil {
		return nil, err
	}
	if s.out, err = s.session.StdoutPipe(); err != nil {
		return nil, err
	}
	// The path has no quote; see segmentRE.
	return s, s.session.Start(service + " '" + a.path + "'")
}

// handshake returns the error of a handshake that failed.
func handshake(err error) error {
	var key *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &key), errors.As(err, &revoked), strings.Contains(err.Error(), "no common algorithm for host key"):
		return &host.Error{Kind: host.Upstream, Op: name, Message: "the server's host key is not the one in knownHostsFile", Err: err}
	case strings.Contains(err.Error(), "unable to authenticate"):
		return &host.Error{Kind: host.Upstream, Op: name, Message: "the repository's server refuses the host's credentials", Err: err}
	}
	return fmt.Errorf("handshake: %w", err)
}

func (s *sshServer) advertisement() (io.Reader, error) { return s.out, nil }

func (s *sshServer) ask(send func(io.Writer) error) (io.ReadCloser, error) {
	s.asked = true
	if err := send(s.in); err != nil {
		return nil, err
	}
	return io.NopCloser(s.out), s.in.Close()
}

func (s *sshServer) close() {
	if !s.asked {
		_, _ = io.WriteString(s.in, "0000") // nothing is asked for; the connection ends anyway
	}
	_ = s.session.Close()
	_ = s.client.Close()
	s.stop()
}
