package azure_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestAzuresRefusalsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	for _, c := range []struct {
		fault  azuretest.Fault
		status int
		kind   host.Kind
	}{
		{azuretest.Fault{Status: 401, Code: "InvalidAuthenticationToken"}, 502, host.Upstream},
		{azuretest.Fault{Status: 403, Code: "AuthorizationFailed", Message: "The client does not have authorization."}, 403, host.Forbidden},
		{azuretest.Fault{Status: 404, Code: "ResourceNotFound", Message: "Not there."}, 404, host.NotFound},
		{azuretest.Fault{Status: 409, Code: "ContainerGroupTransitioning", Message: "Busy."}, 409, host.Conflict},
		{azuretest.Fault{Status: 400, Code: "BadRequest"}, 400, host.Invalid},
		{azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "3600"}, 429, host.Limited},
		{azuretest.Fault{Status: 500, Code: "InternalServerError"}, 502, host.Upstream},
		{azuretest.Fault{Status: 503, Code: "ServerBusy", RetryAfter: "3600"}, 502, host.Upstream},
		{azuretest.Fault{Status: 307, Location: "https://example.com/"}, 502, host.Upstream},
		{azuretest.Fault{Status: 418, Body: "<html>"}, 418, host.Invalid},
	} {
		f.Fail(c.fault)
		f.Forget()
		_, err := p.do("GET", web)
		f.Heal()
		e, ok := errors.AsType[*host.Error](err)
		if !ok || e.HTTPStatus() != c.status || e.Kind != c.kind {
			t.Errorf("%+v: got %v", c.fault, err)
			continue
		}
		seen := f.Requests()
		if last := seen[len(seen)-1]; !strings.Contains(e.Detail, last.Correlation) || !strings.Contains(e.Detail, c.fault.Code) {
			t.Errorf("%+v: detail %q, want code and %s", c.fault, e.Detail, last.Correlation)
		}
		if c.fault.Message != "" && e.Message != c.fault.Message {
			t.Errorf("%+v: message %q", c.fault, e.Message)
		}
		if want := map[string]time.Duration{"3600": time.Hour}[c.fault.RetryAfter]; e.RetryAfter != want {
			t.Errorf("%+v: says to wait %v, want %v", c.fault, e.RetryAfter, want)
		}
	}
}

// A group that asks to wait says so beside the others, and of a change's state the
// plugin and the person learn what Azure said.
func TestHowLongToWaitIsHandedOn(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	p.obligations.ResourceGroups = []string{"rg1", "rg2"}
	f.Fail(azuretest.Fault{Path: "rg2", Status: 429, Code: "TooManyRequests", RetryAfter: "37"})
	var l struct {
		Errors []struct{ Status, RetryAfter int }
	}
	p.get("GET", groups, &l)
	if len(l.Errors) != 1 || l.Errors[0].Status != 429 || l.Errors[0].RetryAfter != 37 {
		t.Errorf("a group of several: %+v", l)
	}
	caller := &capability.Caller{Plugin: "azure", Principal: &host.Principal{User: "ann@example.com"}, Authority: p.authority}
	f.Heal()
	f.Fail(azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "37"})
	for _, url := range []string{web, groupsIn, groups} {
		if _, err := p.granted.Fetch(p.ctx, caller, "azure", &abi.Request{Method: "GET", URL: url}); err == nil || caller.RetryAfter(429) != 37*time.Second {
			t.Errorf("%s: %v, wait %v", url, err, caller.RetryAfter(429))
		}
	}
	if got := caller.RetryAfter(503); got != 0 {
		t.Errorf("another status: %v", got)
	}
}

func TestThrottlingIsWaitedForAndAChangeIsNotRepeated(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	f.Fail(azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "1", Times: 2})
	var l listing
	p.get("GET", groupsIn, &l)
	if n := len(f.Requests()); n != 4 || len(l.Value) != 3 {
		t.Errorf("%d requests gave %s", n, l.names())
	}
	for _, c := range []struct {
		fault azuretest.Fault
		sent  int
		fails bool
	}{
		{azuretest.Fault{Status: 429, RetryAfter: "1", Times: 1}, 2, false},
		{azuretest.Fault{Status: 500, Times: 1}, 1, true},
		{azuretest.Fault{Drop: true, Times: 1}, 1, true},
	} {
		f.Forget()
		f.Fail(c.fault)
		_, err := p.do("POST", web+"/restart")
		if n := len(f.Requests()); n != c.sent || (err != nil) != c.fails {
			t.Errorf("%+v: sent %d times, %v", c.fault, n, err)
		}
		f.Heal()
	}
}

func TestASubscriptionThatIsSlowOrDownGivesWhatThereIs(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	p.obligations.ResourceGroups = []string{"rg1", "rg2", "rg3"}
	f.Fail(azuretest.Fault{Path: "rg2", Status: 403, Code: "AuthorizationFailed", Message: "No role here."})
	f.Fail(azuretest.Fault{Path: "rg3", DelayMS: 60_000})
	var l listing
	p.get("GET", groups, &l)
	if l.names() != "rg1/web rg1/worker rg1/batch" || len(l.Errors) != 2 {
		t.Fatalf("got %+v", l)
	}
	for _, e := range l.Errors {
		want := map[string]int{"rg2": 403, "rg3": 504}[e.ResourceGroup]
		if e.Status != want || !strings.Contains(e.Detail, "correlation id") {
			t.Errorf("got %+v", e)
		}
	}
	f.Heal()
	f.Fail(azuretest.Fault{Path: "skiptoken", Status: 400, Code: "BadRequest"})
	if p.get("GET", groupsIn, &l); len(l.Value) != 2 || len(l.Errors) != 1 {
		t.Errorf("a page that fails: %+v", l)
	}
	f.Heal()
	f.Stop()
	if _, err := p.do("GET", groups); host.KindOf(err) != host.Unavailable {
		t.Errorf("down: %v", err)
	}
}
