package git

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/git/gittest"
)

// sshHost is an SSH server on loopback that runs git's own upload-pack for one key.
type sshHost struct {
	addr string
	keys []ssh.Signer
	hang chan struct{} // if not nil, commands wait for it
	ran  chan string
}

func key(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}

func serveSSH(t *testing.T, root string, accepted ssh.PublicKey) *sshHost {
	t.Helper()
	ed, _ := key(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	h := &sshHost{keys: []ssh.Signer{rsaKey, ed}, ran: make(chan string, 100)}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(k.Marshal()) != string(accepted.Marshal()) {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	for _, k := range h.keys {
		config.AddHostKey(k)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { h.serve(ctx, conn, config, root) })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	return h
}

func (h *sshHost) serve(ctx context.Context, conn net.Conn, config *ssh.ServerConfig, root string) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			var command struct{ Text string }
			if r.Type != "exec" || ssh.Unmarshal(r.Payload, &command) != nil {
				_ = r.Reply(false, nil)
				continue
			}
			_ = r.Reply(true, nil)
			h.ran <- command.Text
			if h.hang != nil {
				<-h.hang
			}
			path := strings.Trim(strings.TrimPrefix(command.Text, "git-upload-pack "), "'")
			cmd := exec.CommandContext(ctx, "git", "upload-pack", filepath.Join(root, path))
			cmd.Env = []string{"HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
			cmd.Stdout = channel
			if in, err := cmd.StdinPipe(); err == nil && cmd.Start() == nil {
				go func() { _, _ = io.Copy(in, channel); _ = in.Close() }()
				_ = cmd.Wait()
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
			_ = channel.Close()
		}
	}
}

func (h *sshHost) source(t *testing.T, private string, known ...ssh.PublicKey) Config {
	t.Helper()
	var lines []string
	for _, k := range known {
		lines = append(lines, knownhosts.Line([]string{h.addr}, k))
	}
	return Config{Name: "shop", URL: "ssh://git@" + h.addr + "/shop.git", KeyFile: gittest.Put(t, "id", private), KnownHostsFile: gittest.Put(t, "known_hosts", strings.Join(lines, "\n")+"\n")}
}

func TestARepositoryIsReadOverSSH(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	commit := repo.Commit(map[string]string{"a": "1"})
	signer, private := key(t)
	h := serveSSH(t, repo.Root, signer.PublicKey())
	for _, known := range h.keys { // one type of key is enough, whichever the server prefers
		r := open(t, h.source(t, private, known.PublicKey()))
		for range 2 { // the second time the commit is kept
			if got := get[gotFiles](r, "git://url?url=ssh://git@"+h.addr+"/shop.git"); got.Commit != commit || string(got.Files[0].Content) != "1" {
				t.Errorf("got %+v", got)
			}
			if command := <-h.ran; command != "git-upload-pack '/shop.git'" {
				t.Errorf("ran %q", command)
			}
		}
		r.refused("git://url?url=ssh://root@"+h.addr+"/shop.git", host.Invalid, "does not belong to a source")
	}
}

func TestTheHostKeyIsPinned(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{"a": "1"})
	signer, private := key(t)
	stranger, strangersPrivate := key(t)
	h := serveSSH(t, repo.Root, signer.PublicKey())
	open(t, h.source(t, private)).refused("git://shop", host.Upstream, "is not in knownHostsFile")
	open(t, h.source(t, private, stranger.PublicKey())).refused("git://shop", host.Upstream, "is not the one in knownHostsFile")
	open(t, h.source(t, strangersPrivate, h.keys[0].PublicKey())).refused("git://shop", host.Upstream, "refuses the host's credentials")
	if len(h.ran) != 0 {
		t.Errorf("ran %q", <-h.ran)
	}
	config := h.source(t, private, h.keys[0].PublicKey())
	config.URL = strings.Replace(config.URL, "shop.git", "gone.git", 1)
	open(t, config).refused("git://shop", host.NotFound, "does not exist")
}

func TestALogoutEndsACallOverSSH(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{"a": "1"})
	signer, private := key(t)
	h := serveSSH(t, repo.Root, signer.PublicKey())
	h.hang = make(chan struct{})
	t.Cleanup(func() { close(h.hang) })
	r := open(t, h.source(t, private, h.keys[0].PublicKey()))
	ctx, end := context.WithCancelCause(t.Context())
	r.ctx = ctx
	go func() {
		<-h.ran
		r.auth.lose(host.ErrLoggedOut)
		end(host.ErrLoggedOut)
	}()
	if _, err := r.fetch("git://shop"); err == nil || !strings.Contains(err.Error(), host.ErrLoggedOut.Error()) {
		t.Errorf("got %v", err)
	}
}

func TestKeysThatCannotBeUsedAreRefusedAtTheStart(t *testing.T) {
	_, private := key(t)
	good := Config{Name: "shop", URL: "ssh://git@example.com/shop.git", KeyFile: gittest.Put(t, "id", private), KnownHostsFile: gittest.Put(t, "known", "")}
	for name, spoil := range map[string]func(*Config){
		"is not a private key": func(c *Config) { c.KeyFile = gittest.Put(t, "id", "secret text") },
		"no such file":         func(c *Config) { c.KnownHostsFile = filepath.Join(t.TempDir(), "gone") },
	} {
		c := good
		spoil(&c)
		_, err := New([]Config{c}, t.TempDir(), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), name) || !strings.HasPrefix(err.Error(), "git[0].") || strings.Contains(err.Error(), "secret text") {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}
