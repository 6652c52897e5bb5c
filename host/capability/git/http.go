package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// httpServer speaks the smart protocol of gitprotocol-http(5), version 0.
type httpServer struct {
	ctx    context.Context
	source *source
	at     address
	client *http.Client
	body   io.Closer // of the advertisement
}

const service = "git-upload-pack"

func (s *httpServer) advertisement() (io.Reader, error) {
	body, err := s.send(http.MethodGet, "/info/refs?service="+service, nil, "application/x-"+service+"-advertisement")
	if err != nil {
		return nil, err
	}
	s.body = body
	return body, nil
}

func (s *httpServer) ask(send func(io.Writer) error) (io.ReadCloser, error) {
	s.close()
	var text bytes.Buffer
	if err := send(&text); err != nil {
		return nil, err
	}
	return s.send(http.MethodPost, "/"+service, &text, "application/x-"+service+"-result")
}

func (s *httpServer) close() {
	if s.body != nil {
		_ = s.body.Close()
		s.body = nil
	}
}

// send sends a request below the repository's address and checks the answer's status and
// type.
func (s *httpServer) send(method, below string, body io.Reader, want string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(s.ctx, method, s.at.String()+below, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "git/bulkhead") // some servers choose the protocol by it
	if body != nil {
		req.Header.Set("Content-Type", "application/x-"+service+"-request")
	}
	switch token := s.source.token.Get(); {
	case token == "":
	case s.source.config.User != "":
		req.SetBasicAuth(s.source.config.User, token)
	default:
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, err
	}
	if err := refusal(resp); err == nil && resp.Header.Get("Content-Type") != want {
		err = &host.Error{Kind: host.Upstream, Op: name, Message: "the address is not one of a git server", Detail: "its smart protocol is required"}
		_ = resp.Body.Close()
		return nil, err
	} else if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// refusal returns the error for the answer's status, or nil for 200.
func refusal(resp *http.Response) error {
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		return nil
	case status == http.StatusNotFound:
		return notFound()
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return host.E(host.Upstream, name, "the repository's server refuses the host's credentials")
	case status >= 300 && status < 400:
		return host.E(host.Upstream, name, "the repository has moved; the operator must change its url")
	case status == http.StatusTooManyRequests:
		return &host.Error{Kind: host.Limited, Op: name, Status: status, Message: "the repository's server refuses more requests for now"}
	default:
		return &host.Error{Kind: host.Upstream, Op: name, Message: "the repository's server failed", Err: fmt.Errorf("status %d", status)}
	}
}
