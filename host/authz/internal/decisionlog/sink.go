package decisionlog

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"
)

// A Sink takes records. Its methods are called by one goroutine.
type Sink interface {
	// Write keeps all of the records or returns why none or not all are kept; it
	// may then be called with the same records again.
	Write(ctx context.Context, records [][]byte) error
	Close() error
}

// Open opens every destination of c.
func (c *Config) Open() (sinks []Sink, err error) {
	defer func() {
		if err != nil {
			for _, s := range sinks {
				err = errors.Join(err, s.Close())
			}
		}
	}()
	if c.File != nil {
		f, err := openFile(c.File)
		if err != nil {
			return sinks, fmt.Errorf("file: %w", err)
		}
		sinks = append(sinks, f)
	}
	if c.HTTP != nil {
		h, err := openHTTP(c.HTTP)
		if err != nil {
			return sinks, fmt.Errorf("http: %w", err)
		}
		sinks = append(sinks, h)
	}
	return sinks, nil
}

// file appends lines. It renames the file when it is full.
type file struct {
	path string
	max  int64
	keep int
	f    *os.File
	size int64
}

func openFile(c *File) (*file, error) {
	s := &file{path: c.Path, max: int64(cmp.Or(c.MaxMiB, defaultMaxMiB)) << 20, keep: cmp.Or(c.Keep, defaultKeep)}
	return s, s.open()
}

func (s *file) open() error {
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.size = f, info.Size()
	return nil
}

func (s *file) Write(_ context.Context, records [][]byte) error {
	var lines bytes.Buffer
	for _, r := range records {
		lines.Write(r)
		lines.WriteByte('\n')
	}
	if s.f != nil && s.size > 0 && s.size+int64(lines.Len()) > s.max {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	if s.f == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	n, err := s.f.Write(lines.Bytes())
	s.size += int64(n)
	if err != nil && n > 0 {
		// Half a line is no record; the whole batch comes again.
		s.size -= int64(n)
		err = errors.Join(err, s.f.Truncate(s.size))
	}
	return err
}

// rotate makes the file PATH.1, and PATH.n PATH.n+1.
func (s *file) rotate() error {
	err := s.f.Close()
	s.f = nil
	for n := s.keep; n > 0; n-- {
		from, to := s.numbered(n-1), s.numbered(n)
		if e := os.Rename(from, to); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (s *file) numbered(n int) string {
	if n == 0 {
		return s.path
	}
	return fmt.Sprintf("%s.%d", s.path, n)
}

func (s *file) Close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}

// uploadTimeout bounds one request.
const uploadTimeout = 20 * time.Second

// server sends each batch as one request.
type server struct {
	url, tokenFile string
	client         *http.Client
}

func openHTTP(c *HTTP) (*server, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 1
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caFile: %s holds no certificate", c.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	client := &http.Client{
		Transport: transport, Timeout: uploadTimeout,
		// Decisions and the token go where they were meant to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &server{c.URL, c.TokenFile, client}, nil
}

func (s *server) Write(ctx context.Context, records [][]byte) error {
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	_, _ = z.Write([]byte("["))
	_, _ = z.Write(bytes.Join(records, []byte(",")))
	_, _ = z.Write([]byte("]"))
	if err := z.Close(); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, &body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	if s.tokenFile != "" {
		token, err := os.ReadFile(s.tokenFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

func (s *server) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
