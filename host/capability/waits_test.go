package capability

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Whether a capability returns an upstream's refusal as an error or as an answer.
func TestAnUpstreamsWaitIsKeptForTheCaller(t *testing.T) {
	s := newScene(t, all(), allow)
	answers := func(resp *abi.Response, err error) {
		s.box.answer = func() (*abi.Response, error) { return resp, err }
		_, _ = s.fetch("GET", "box://dev/shop/a")
	}
	expect := func(status int, want time.Duration) {
		t.Helper()
		if got := s.caller.RetryAfter(status); got != want {
			t.Errorf("after %d: %v, want %v", status, got, want)
		}
	}
	expect(429, 0)
	answers(nil, &host.Error{Kind: host.Limited, Status: 429, RetryAfter: 37 * time.Second})
	expect(429, 37*time.Second)
	expect(503, 0)
	answers(&abi.Response{Status: 503, Header: []abi.Pair{{Name: "Retry-After", Value: "12"}}}, nil)
	expect(503, 12*time.Second)
	expect(429, 37*time.Second)
	answers(&abi.Response{Status: 202, Header: []abi.Pair{{Name: "Retry-After", Value: "5"}}}, nil)
	expect(202, 0) // no refusal
	answers(nil, &host.Error{Kind: host.Upstream, RetryAfter: time.Minute})
	expect(502, time.Minute)
	answers(nil, &host.Error{Kind: host.Limited, Status: 429})
	expect(429, 0)
}

// A guest can repeat a call that fails for as long as its session lives.
func TestFailuresDoNotFillTheLog(t *testing.T) {
	s := newScene(t, all(), allow)
	s.box.answer = fails(errors.New("boom"))
	for range 3 * maxFailures {
		if _, err := s.fetch("GET", "box://dev/shop/a"); err == nil {
			t.Fatal("it did not fail")
		}
	}
	if n := strings.Count(s.log.String(), "boom"); n != maxFailures {
		t.Errorf("%d failures are logged, want %d", n, maxFailures)
	}
}
