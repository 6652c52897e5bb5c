package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Lines sends r, whose answer is a stream of lines such as a watch's, and calls each with
// every line until that returns false or the answer ends. The line is valid during the call
// only; one over Request.Limit bytes is an error of kind host.Upstream. An answer of status
// 400 or above is the error of Response.Err. The error of an answer that was interrupted,
// also by the end of ctx, is that of Failure; the lines before it were whole.
func (c *Client) Lines(ctx context.Context, r *Request, each func(line []byte) bool) error {
	u := c.endpoint.url + (&url.URL{Path: r.Path, RawQuery: r.Query.Encode()}).String()
	req, err := http.NewRequestWithContext(ctx, r.Method, u, http.NoBody)
	if err != nil {
		return &host.Error{Kind: host.Invalid, Op: op, Message: "the request is invalid", Err: err}
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.Failure(op, "the request failed", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		const longest = 1 << 20 // of a Status
		body, err := io.ReadAll(io.LimitReader(resp.Body, longest))
		if err != nil {
			return c.Failure(op, "the answer was interrupted", err)
		}
		return (&Response{Status: resp.StatusCode, Header: resp.Header, Body: body}).Err()
	}
	in := bufio.NewReader(resp.Body)
	for {
		line, err := readLine(in, r.Limit)
		if errors.Is(err, io.EOF) {
			return nil // what precedes it is not a whole line
		}
		if errors.Is(err, ErrTooLarge) {
			return &host.Error{Kind: host.Upstream, Op: op, Err: err, Message: "an object of the cluster's answer is too large"}
		}
		if err != nil {
			return c.Failure(op, "the answer was interrupted", err)
		}
		if !each(line) {
			return nil
		}
	}
}

// readLine reads a line of at most limit bytes, without its end.
func readLine(in *bufio.Reader, limit int) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, ErrTooLarge
		}
		if err == nil && line == nil {
			return bytes.TrimSuffix(part, []byte("\n")), nil
		}
		line = append(line, part...)
		if err == nil {
			return bytes.TrimSuffix(line, []byte("\n")), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}
