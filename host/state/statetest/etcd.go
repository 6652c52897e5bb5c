// Package statetest gives tests a real etcd cluster whose members are processes
// of their own, and connections to it that can be cut or held, in one direction
// too.
//
// A member is the test binary started again, so TestMain calls Member first. It
// ends when its standard input does, and so with the test process however that
// ends.
package statetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

const memberEnv = "BULKHEAD_TEST_ETCD_MEMBER"

// spec is what a member process is told.
type spec struct {
	Name, Dir, Client, Peer, Cluster string

	Unsafe bool // does not wait for the disk: processes crash in tests, the machine does not

	Cert, Key, CA string // TLS towards clients, who need a certificate too
}

// Member does not return in a process that Start started.
func Member() {
	text := os.Getenv(memberEnv)
	if text == "" {
		return
	}
	if err := runMember(text); err != nil {
		fmt.Fprintln(os.Stderr, "etcd member:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runMember(text string) error {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.InitialCluster = s.Name, s.Dir, s.Cluster
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = urls(s.Client), urls(s.Client)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = urls(s.Peer), urls(s.Peer)
	cfg.TickMs, cfg.ElectionMs = 50, 500
	cfg.UnsafeNoFsync = true // the machine does not crash in these tests, processes do
	cfg.BcryptCost = 4       // passwords are slow to check on purpose
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	if s.Cert != "" {
		cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = s.Cert, s.Key
		cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = s.CA, true
	}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	<-e.Server.ReadyNotify()
	fmt.Println("ready")
	return <-e.Err()
}

func urls(s string) []url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return []url.URL{*u}
}

// Cluster is a running etcd cluster.
type Cluster struct {
	Endpoints []string

	t       testing.TB
	members []*member
}

type member struct {
	spec spec
	cmd  *exec.Cmd
	hold io.Closer
}

// TLS names the files of a cluster that wants certificates; see Start.
type TLS struct{ Cert, Key, CA string }

// Start starts a cluster of n members and ends it with the test. For a benchmark
// it writes to the disk as it would for an operator. With tls, clients need a certificate of the same authority.
func Start(t testing.TB, n int, tls ...TLS) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	ports := freePorts(t, 2*n)
	dir := t.TempDir()
	_, measured := t.(*testing.B)
	scheme := "http"
	if len(tls) > 0 {
		scheme = "https"
	}
	var initial []string
	for i := range n {
		s := spec{
			Unsafe: !measured,
			Name:   fmt.Sprint("m", i), Dir: filepath.Join(dir, fmt.Sprint("m", i)),
			Client: fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[2*i]), Peer: fmt.Sprintf("http://127.0.0.1:%d", ports[2*i+1]),
		}
		if len(tls) > 0 {
			s.Cert, s.Key, s.CA = tls[0].Cert, tls[0].Key, tls[0].CA
		}
		initial = append(initial, s.Name+"="+s.Peer)
		c.members = append(c.members, &member{spec: s})
		c.Endpoints = append(c.Endpoints, s.Client)
	}
	for _, m := range c.members {
		m.spec.Cluster = strings.Join(initial, ",")
	}
	t.Cleanup(c.Stop)
	c.Restart()
	return c
}

func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// Stop kills every member that runs, as a loss of power would.
func (c *Cluster) Stop() {
	for i := range c.members {
		c.Kill(i)
	}
}

// Kill ends one member without warning.
func (c *Cluster) Kill(i int) {
	m := c.members[i]
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	_ = m.hold.Close()
	m.cmd = nil
}

// Restart starts the members that do not run and waits until each serves.
func (c *Cluster) Restart() {
	c.t.Helper()
	program, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	var outs []io.Reader
	for _, m := range c.members {
		if m.cmd != nil {
			continue
		}
		text, err := json.Marshal(m.spec)
		if err != nil {
			c.t.Fatal(err)
		}
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), memberEnv+"="+string(text))
		cmd.Stderr = os.Stderr
		hold, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2); err != nil {
			c.t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		m.cmd, m.hold = cmd, hold
		outs = append(outs, out)
	}
	for _, out := range outs {
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			c.t.Fatalf("a member did not start: %q, %v", line, err)
		}
	}
}

// Backup stops the cluster, copies what it holds, and starts it again. Restore
// does the same the other way round: the cluster has forgotten everything since.
func (c *Cluster) Backup() (restore func()) {
	c.t.Helper()
	copyTo := c.t.TempDir()
	c.Stop()
	for _, m := range c.members {
		c.copyDir(filepath.Join(copyTo, m.spec.Name), m.spec.Dir)
	}
	c.Restart()
	return func() {
		c.t.Helper()
		c.Stop()
		for _, m := range c.members {
			if err := os.RemoveAll(m.spec.Dir); err != nil {
				c.t.Fatal(err)
			}
			c.copyDir(m.spec.Dir, filepath.Join(copyTo, m.spec.Name))
		}
		c.Restart()
	}
}

func (c *Cluster) copyDir(to, from string) {
	c.t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		c.t.Fatal(err)
	}
}

// Client is a client of the cluster beside the hosts under test.
func (c *Cluster) Client() *clientv3.Client {
	c.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Compact drops the history up to now.
func (c *Cluster) Compact(ctx context.Context) {
	c.t.Helper()
	client := c.Client()
	resp, err := client.Get(ctx, "now")
	if err == nil {
		_, err = client.Compact(ctx, resp.Header.Revision)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// Key writes a host key that replicas can share.
func Key(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.key")
	if err := os.WriteFile(path, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Log is a logger into the test's output.
func Log(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }
