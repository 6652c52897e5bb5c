package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/retryafter"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

const (
	uploadTimeout = 20 * time.Second // of one request
	maxAnswer     = 64 << 10         // of one answer, in bytes, and of its head; more is not read
	maxQuoted     = 200              // of an answer in an error, in bytes
	maxLater      = time.Minute      // the longest wait that a server may ask for
)

// server sends each batch as one request.
type server struct {
	url, tokenFile string
	client         *http.Client
}

func openServer(c *Server) (*server, error) {
	followed, err := follow.NewTransport(c.CAFile, nil, func(t *http.Transport) {
		t.MaxIdleConns, t.MaxResponseHeaderBytes = 1, maxAnswer
	})
	if err != nil {
		return nil, config.At("caFile", err)
	}
	client := &http.Client{
		Transport: followed, Timeout: uploadTimeout,
		// Records and the token go to the configured server alone.
		CheckRedirect: follow.NoRedirects,
	}
	return &server{c.URL, c.TokenFile, client}, nil
}

// send posts a gzipped body with the given number of records. On success it returns up to
// maxAnswer bytes of the answer.
func (s *server) send(ctx context.Context, contentType string, body []byte, records int) (header http.Header, answer []byte, err error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(body) // writing to a buffer does not fail
	_ = z.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, &packed)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("User-Agent", "bulkhead")
	if s.tokenFile != "" {
		token, err := os.ReadFile(s.tokenFile)
		if err != nil {
			return nil, nil, err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(strictyaml.TrimBOM(token))))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // without the URL, whose query may contain a secret
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		return nil, nil, failed(resp, records)
	}
	return resp.Header, answer, err
}

// failed returns the error for an answer other than success. Only an answer about the
// records themselves is final: a wrong token or address can be corrected, and until then
// the records are kept.
func failed(resp *http.Response, records int) error {
	err := fmt.Errorf("the server answers %s", text.Line(resp.Status, maxQuoted))
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return &refused{records: records, whole: true, err: err}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if after := min(retryafter.Parse(resp.Header.Get("Retry-After"), time.Now()), maxLater); after > 0 {
			return &later{after, err}
		}
	}
	return err
}

func (s *server) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// opa sends records as OPA does.
type opa struct{ *server }

func (s opa) Write(ctx context.Context, records []map[string]any) error {
	body, err := json.Marshal(records)
	if err != nil {
		return &refused{records: len(records), whole: true, err: err}
	}
	_, _, err = s.send(ctx, "application/json", body, len(records))
	return err
}
