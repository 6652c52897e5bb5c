package git

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
)

// source is one source with its credentials. Changes of their files are followed. Safe
// for concurrent use.
type source struct {
	config *Config
	token  *follow.Value[string]     // https; empty: none
	http   *follow.Transport         // https
	key    func(address) string      // names the cache of a repository with the present credential
	login  *follow.Value[*sshAccess] // ssh
}

// openSource opens the files that c names. Its error names the field.
func openSource(c *Config, log *slog.Logger) (*source, error) {
	s := &source{config: c}
	if strings.HasPrefix(c.URL, "ssh:") {
		var err error
		if s.login, err = follow.Open(log, parseSSH(c), c.KeyFile, c.KnownHostsFile); err != nil {
			return nil, config.At("keyFile", err)
		}
		s.key = func(a address) string { return cacheKey(c, a, s.login.Get().identity) }
		return s, nil
	}
	var files []string
	if c.TokenFile != "" {
		files = []string{c.TokenFile}
	}
	var err error
	if s.token, err = follow.Open(log, func(contents [][]byte) (string, error) {
		if len(contents) == 0 {
			return "", nil
		}
		return parseToken(contents[0])
	}, files...); err != nil {
		return nil, config.At("tokenFile", err)
	}
	if s.http, err = follow.NewTransport(c.CAFile, log, func(t *http.Transport) { t.MaxIdleConns = maxCalls }); err != nil {
		return nil, config.At("caFile", err)
	}
	s.key = func(a address) string { return cacheKey(c, a, []byte(c.User+"\x00"+s.token.Get())) }
	return s, nil
}

func parseToken(text []byte) (string, error) {
	token := string(bytes.TrimSpace(text))
	if token == "" || strings.ContainsFunc(token, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", errors.New("the token is empty or has a control character")
	}
	return token, nil
}

// parseSSH parses the private key and the known hosts of a source.
func parseSSH(c *Config) func([][]byte) (*sshAccess, error) {
	return func(contents [][]byte) (*sshAccess, error) {
		signer, err := ssh.ParsePrivateKey(contents[0])
		if err != nil {
			// The library's text may be about a passphrase, never the key itself.
			return nil, fmt.Errorf("%s: is not a private key without a passphrase: %w", c.KeyFile, err)
		}
		return newSSHAccess(signer, c.KnownHostsFile)
	}
}

// cacheKey names the cache of a repository as it is seen with one credential, so that a
// new credential does not read what an old one could.
func cacheKey(c *Config, a address, credential []byte) string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(c.Name), []byte(a.user), []byte(a.String()), credential} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// connect begins a conversation with the server about one repository. Every read and
// write of it checks the authority.
func (s *source) connect(ctx context.Context, a address, auth host.Authority) (server, error) {
	if s.login != nil {
		return dialSSH(ctx, s.login.Get(), a, auth)
	}
	return &httpServer{ctx: ctx, source: s, at: a, client: &http.Client{
		Transport: &guard{auth, s.http}, CheckRedirect: follow.NoRedirects,
	}}, nil
}

func (s *source) close() {
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
}
