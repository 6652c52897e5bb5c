// Package remote talks to a host's administration: to one on this machine over its
// admin socket, to another with a token of bulkhead login or of a file.
package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/server"
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 16 << 20

// Client is a connection to one host. It is safe for concurrent use.
type Client struct {
	// Where names the host for messages.
	Where string

	base  string
	http  *http.Client
	token func(context.Context) (string, error) // nil: the connection is the credential
}

// Error is a host's refusal.
type Error struct {
	Status    int    `json:"-"`
	Message   string `json:"error"`
	Detail    string `json:"detail"`
	RequestID string `json:"requestId"`
}

func (e *Error) Error() string {
	s := e.Message
	if s == "" {
		s = fmt.Sprintf("the host answers %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Detail != "" && !strings.Contains(s, e.Detail) {
		s += " (" + e.Detail + ")"
	}
	if e.Status >= 500 && e.RequestID != "" {
		s += "; request " + e.RequestID
	}
	return s
}

// Local is the host whose data directory this is, as its operator.
func Local(data string) *Client {
	return &Client{Where: "the host in " + data, base: "http://localhost", http: client(&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return server.DialOperator(ctx, data) },
	})}
}

func client(t *http.Transport) *http.Client {
	t.ResponseHeaderTimeout = 5 * time.Minute // a plugin is compiled meanwhile
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		return fmt.Errorf("the host redirects to %s; a proxy in front of it may ask for a sign-in of its own", r.URL.Redacted())
	}}
}

// parseURL returns the base of a host's URL: https, or http on loopback.
func parseURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q is not a URL", text)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return "", fmt.Errorf("%q is not an http or https URL", text)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("%q must be scheme and host alone", u.Redacted())
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", fmt.Errorf("%q must be https off loopback: a token is sent there", text)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func loopback(name string) bool {
	addr, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && addr.IsLoopback()
}

// maxTokenFile bounds a file with a token.
const maxTokenFile = 16 << 10

// WithTokenFile is the host at a URL, with the bearer token that the file holds. The
// file is read for each request, so that it may be replaced.
func WithTokenFile(text, file string) (*Client, error) {
	base, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	return &Client{Where: base, base: base, http: client(&http.Transport{Proxy: http.ProxyFromEnvironment}), token: func(context.Context) (string, error) {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
		token := strings.TrimSpace(string(text))
		if err != nil || token == "" || len(text) > maxTokenFile || strings.ContainsAny(token, " \t\r\n") {
			return "", fmt.Errorf("--token-file: %s does not hold one token", file)
		}
		return token, nil
	}}, nil
}

// Stream gets path and calls f with each line of the answer as it arrives, until the answer
// ends, ctx ends or f returns an error. A refusal is a *Error.
func (c *Client) Stream(ctx context.Context, path string, f func(line []byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		if err := f(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", c.Where, err)
	}
	return nil
}

// send sends req with the credential. A refusal is a *Error.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	if c.token != nil {
		token, err := c.token(req.Context())
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return nil, fmt.Errorf("%s: %w", c.Where, err)
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &Error{}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil {
		_ = json.Unmarshal(text, e) // a proxy's answer is no JSON
	}
	e.Status = resp.StatusCode
	return nil, e
}

// Do sends in as JSON, or as it is if it is an io.Reader, and decodes the answer into
// out unless that is nil. A refusal is a *Error.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	kind := "application/json"
	switch v := in.(type) {
	case nil:
	case io.Reader:
		body, kind = v, "application/octet-stream"
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if f, ok := body.(*os.File); ok { // so that the host knows at once whether it has room
		if info, err := f.Stat(); err == nil {
			req.ContentLength = info.Size()
		}
	}
	req.Header.Set("Content-Type", kind)
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Where, err)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s: the answer cannot be read: %w", c.Where, err)
	}
	return nil
}
