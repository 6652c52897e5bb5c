package sdktest

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// failures counts what a harness reports instead of failing the test.
type failures struct {
	testing.TB
	texts []string
}

func (f *failures) Helper() {}
func (f *failures) Errorf(format string, args ...any) {
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}

// What the host would leave out or refuse fails the author's test, so that it is
// not found in production.
func TestWhatDoesNotCrossFailsTheTest(t *testing.T) {
	f := &failures{TB: t}
	h := &Harness{t: f}
	for _, bad := range []Response{
		{Status: 302, Header: []abi.Pair{{Name: "Location", Value: "https://example.com"}}},
		{Status: 200, Header: []abi.Pair{{Name: "Set-Cookie", Value: "a=b"}}},
		{Status: 204, Body: []byte("x")},
	} {
		before := len(f.texts)
		h.checkResponse(&bad)
		if len(f.texts) != before+1 {
			t.Errorf("%+v: %q", bad, f.texts[before:])
		}
	}
	h.checkHeader(&Request{Header: []abi.Pair{{Name: "Cookie", Value: "a=b"}}})
	h.checkHeader(&Request{Header: []abi.Pair{{Name: "accept", Value: "text/plain"}, {Name: "Last-Event-ID", Value: "7"}}})
	h.checkResponse(&Response{Status: 302, Header: []abi.Pair{{Name: "Location", Value: "/api/x"}, {Name: "X-Total-Count", Value: "1"}}})
	if len(f.texts) != 4 {
		t.Errorf("%q", f.texts)
	}
	if time.Local != time.UTC {
		t.Error("the local time zone is not the sandbox's")
	}
}
