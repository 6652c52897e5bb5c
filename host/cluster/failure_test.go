package cluster

import (
	"errors"
	"net/http"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// An API server under load says when to retry (API priority and fairness): in a
// header, and in the error that client-go returns to libraries such as helm.
func TestTheWaitThatAClusterAsksForIsPassedOn(t *testing.T) {
	c := &Client{endpoint: &endpoint{cluster: "dev"}}
	const status = `{"kind":"Status","apiVersion":"v1","code":429,"message":"too many","details":{"retryAfterSeconds":3}}`
	answer := func(code int, header, body string) error {
		return (&Response{Status: code, Header: http.Header{"Retry-After": {header}}, Body: []byte(body)}).Err()
	}
	for name, x := range map[string]struct {
		err  error
		want time.Duration
	}{
		"client-go's error":        {c.Failure("helm", "", apierrors.NewTooManyRequests("too many", 7)), 7 * time.Second},
		"another of its errors":    {c.Failure("helm", "", apierrors.NewBadRequest("y")), 0},
		"a header":                 {answer(429, "11", "busy"), 11 * time.Second},
		"the body":                 {answer(429, "", status), 3 * time.Second},
		"both":                     {answer(429, "11", status), 11 * time.Second},
		"503":                      {answer(503, "11", ""), 11 * time.Second},
		"neither":                  {answer(429, "", `{"kind":"Status"}`), 0},
		"a refusal without a wait": {answer(403, "", `{"kind":"Status","details":{"retryAfterSeconds":-4}}`), 0},
	} {
		e, ok := errors.AsType[*host.Error](x.err)
		if !ok || e.RetryAfter != x.want {
			t.Errorf("%s: %#v, want %v", name, x.err, x.want)
		}
	}
}

// Whom a server-side apply conflicts with is readable by people and programs.
func TestAnApplysConflictsAreTheDetail(t *testing.T) {
	body := `{"kind":"Status","code":409,"reason":"Conflict","message":"Apply failed with 2 conflicts","details":{"causes":[
		{"reason":"FieldManagerConflict","message":"conflict with \"kubectl\" using apps/v1","field":".spec.replicas"},
		{"reason":"FieldValueInvalid","message":"other","field":"x"},
		{"reason":"FieldManagerConflict","message":"conflict with \"helm\"","field":".data.a"}]}}`
	e, ok := errors.AsType[*host.Error]((&Response{Status: 409, Body: []byte(body)}).Err())
	if want := ".spec.replicas: conflict with \"kubectl\" using apps/v1\n.data.a: conflict with \"helm\""; !ok || e.Detail != want || e.Kind != host.Conflict {
		t.Errorf("got %#v", e)
	}
}
