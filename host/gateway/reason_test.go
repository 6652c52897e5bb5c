package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestAReasonIsStatedOnceAndNoPluginSeesIt(t *testing.T) {
	for _, c := range []struct {
		query  string
		header []string
		reason string
		left   string
	}{
		{"", nil, "", ""},
		{"a=1&b=%20", nil, "", "a=1&b=%20"},
		{"", []string{" INC-1: shop is down "}, "INC-1: shop is down", ""},
		{"a=1", []string{"größer"}, "größer", "a=1"},
		{"", []string{"St\xf6rung: \xdcbertragung"}, "Störung: Übertragung", ""}, // as browsers send it
		{"a=1&bulkhead-refusal=close", nil, "", "a=1"},
		{"bulkhead-refusal=close&bulkhead-reason=x", nil, "x", ""},
		{"a=1&bulkhead-reason=INC-1%3A+why&b=2", nil, "INC-1: why", "a=1&b=2"},
		{"bulkhead%2Dreason=x&reason=y", nil, "x", "reason=y"},
		{"bulkhead-reasons=x&%zz=1", nil, "", "bulkhead-reasons=x&%zz=1"},
	} {
		r := httptest.NewRequest("GET", "/ws/exec?"+c.query, nil)
		r.Header[http.CanonicalHeaderKey(reasonHeader)] = c.header
		if reason, left, err := statedReason(r); err != nil || reason != c.reason || left != c.left {
			t.Errorf("%q %q: %q, %q, %v", c.query, c.header, reason, left, err)
		}
	}
}

func TestAMalformedReasonIsABadRequest(t *testing.T) {
	for _, c := range []struct {
		query  string
		header []string
	}{
		{"", []string{""}}, {"", []string{"  "}}, {"", []string{"a", "b"}}, {"bulkhead-reason=a", []string{"a"}},
		{"bulkhead-reason=a&bulkhead-reason=b", nil}, {"bulkhead-reason", nil}, {"bulkhead-reason=%zz", nil},
		{"bulkhead-reason=a%0Ab", nil}, {"bulkhead-reason=%1b%5B0m", nil}, {"bulkhead-reason=%ff", nil}, {"bulkhead-refusal=no", nil}, {"bulkhead-refusal", nil},
		{"", []string{"C1: \x9f"}}, {"", []string{strings.Repeat("\xf6", host.MaxReason/2+1)}}, {"bulkhead-reason=%E2%80%AE", nil},
		{"", []string{strings.Repeat("x", host.MaxReason+1)}},
	} {
		r := httptest.NewRequest("GET", "/ws/exec?"+c.query, nil)
		r.Header[http.CanonicalHeaderKey(reasonHeader)] = c.header
		if reason, _, err := statedReason(r); host.KindOf(err) != host.Invalid || reason != "" {
			t.Errorf("%q %q: %q, %v", c.query, c.header, reason, err)
		}
	}
}
