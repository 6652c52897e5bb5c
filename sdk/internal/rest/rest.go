// Package rest is the common part of the typed capability clients: URLs made of names that
// may come from a client, JSON requests and answers, and one error type for failures.
package rest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/jsonscan"
)

// URL joins scheme, target and path segments. An empty name or segment, or one that would
// change the URL's structure, is an error with status 400 that names it; anything else is
// escaped. segments alternate between the noun for a segment and its value.
func URL(scheme, target string, segments ...string) (string, error) {
	if !plain(target) {
		return "", invalid("cluster", target)
	}
	var b strings.Builder
	b.WriteString(scheme + "://" + target)
	for i := 0; i+1 < len(segments); i += 2 {
		what, value := segments[i], segments[i+1]
		if value == "" || value == "." || value == ".." || strings.ContainsAny(value, "/\x00") {
			return "", invalid(what, value)
		}
		b.WriteByte('/')
		b.WriteString(url.PathEscape(value))
	}
	return b.String(), nil
}

// plain reports whether s needs no escaping as the host of a URL.
func plain(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	})
}

func invalid(what, value string) error {
	if value == "" {
		return &abi.Error{Code: abi.CodeInvalid, Status: 400, Message: what + " is required"}
	}
	return &abi.Error{Code: abi.CodeInvalid, Status: 400, Message: fmt.Sprintf("%s %.80q is not a name", what, value)}
}

// Do makes one call with in as its JSON body, unless it is nil, and decodes the
// answer into out, unless that is nil.
func Do(f guest.Func, method, target string, in, out any) error {
	r := &abi.Request{Method: method, URL: target}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.Body = body
		r.Header = []abi.Pair{{Name: "Content-Type", Value: "application/json"}}
	}
	return Send(f, r, out)
}

// Send is Do for a complete request.
func Send(f guest.Func, r *abi.Request, out any) error {
	resp, err := guest.Call(f, r)
	if err != nil {
		return err
	}
	if err := Failure(resp); err != nil {
		return err
	}
	if out == nil || len(resp.Body) == 0 {
		return nil
	}
	if err := jsonscan.Decode(resp.Body, out); err != nil {
		return fmt.Errorf("answer of %s %s: %w", r.Method, r.URL, err)
	}
	return nil
}

// Failure converts an answer of 400 and above to an error of the upstream, with the text of
// the host's own errors or of Kubernetes' Status. It returns nil for any other answer.
func Failure(resp *abi.Response) error {
	if resp.Status < 400 {
		return nil
	}
	var text struct {
		Error   string `json:"error"`
		Detail  string `json:"detail"`
		Message string `json:"message"`
	}
	// If the body is not JSON, the text is empty and only the status counts.
	_ = json.Unmarshal(resp.Body, &text)
	x := &abi.Error{
		Code: abi.CodeOf(resp.Status), Origin: abi.OriginUpstream, Status: resp.Status,
		Message: text.Error, Detail: text.Detail,
	}
	if x.Message == "" {
		x.Message = text.Message
	}
	if x.Message == "" {
		x.Message = fmt.Sprintf("answered with status %d", resp.Status)
	}
	return x
}
