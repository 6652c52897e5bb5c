package capability

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestARouteThatIsDeclaredToReadMakesNoChange(t *testing.T) {
	for _, c := range []struct {
		request string
		mutates bool
		allowed bool
	}{
		{"GET box://dev/shop/a", false, true},
		{"GET box://dev", false, true},
		{"PUT box://dev/shop/a", false, false},
		{"PUT box://dev/shop/a?dry=yes", false, true},
		{"PUT box://dev/shop/a", true, true},
	} {
		s := newScene(t, all(), allow)
		s.caller.Route.Mutates = c.mutates
		method, url, _ := strings.Cut(c.request, " ")
		_, err := s.fetch(method, url)
		if (err == nil) != c.allowed || len(s.box.effects) == 1 != c.allowed {
			t.Errorf("%s, mutates %v: %v, effects %v", c.request, c.mutates, err, s.box.effects)
		}
		if x := ErrorFrame(err); err != nil && (x.Status != 403 || x.Detail != "read_route" || len(s.asked) > 0 || !strings.Contains(x.Message, `route "r"`)) {
			t.Errorf("%s: refused as %+v, policy asked %d times", c.request, x, len(s.asked))
		}
	}
	s := newScene(t, all(), allow)
	s.caller.Route.Mutates = false
	if stream, err := s.granted.Open(t.Context(), s.caller, "box", &abi.Request{Method: "PUT", URL: "box://dev/shop/a"}); stream != nil || host.KindOf(err) != host.Forbidden {
		t.Errorf("a stream that changes something: %v, %v", stream, err)
	}
}

func TestPolicyCanTellADryRun(t *testing.T) {
	s := newScene(t, all(), allow)
	for url, want := range map[string]host.Effect{"box://dev/shop/a": host.EffectChange, "box://dev/shop/a?dry=yes": host.EffectDryRun} {
		if _, err := s.fetch("PUT", url); err != nil {
			t.Fatal(err)
		}
		if got := s.asked[len(s.asked)-1].Capability.Effect.Normal(); got != want {
			t.Errorf("%s: policy is asked for %q", url, got)
		}
	}
}

// also has the box's call put another call to policy.
func (s *scene) also(t *testing.T, call host.CapabilityCall) (o host.Obligations, err error) {
	t.Helper()
	s.box.during = func() { o, err = s.box.permit.Also(t.Context(), call) }
	_, _ = s.fetch("PUT", "box://dev/shop/a")
	return o, err
}

func TestWhatACallTakesIsPutToPolicyAsWell(t *testing.T) {
	pods := host.CapabilityCall{Name: "kube", Verb: "create", Cluster: "dev", Namespace: "shop", Resource: "pods", Via: "box"}
	with := func(f func(*host.CapabilityCall)) host.CapabilityCall { c := pods; f(&c); return c }
	elsewhere := with(func(c *host.CapabilityCall) { c.Namespace = "kube-system" })
	shop := []Grant{{Clusters: []string{"dev"}, Namespaces: []string{"shop"}, Actions: []string{"put"}}}
	for name, c := range map[string]struct {
		grants []Grant
		call   host.CapabilityCall
		route  []string // namespaces of the route's decision
		answer host.Decision
		detail string // "": allowed
	}{
		"allowed":                    {shop, pods, nil, host.Decision{Allow: true}, ""},
		"denied":                     {shop, pods, nil, host.Decision{Reason: host.Reason{Code: "prohibited"}}, "prohibited"},
		"denied without a reason":    {shop, pods, nil, host.Decision{}, "denied"},
		"outside of the grant":       {shop, elsewhere, nil, host.Decision{Allow: true}, "grants.box"},
		"cluster-wide":               {shop, with(func(c *host.CapabilityCall) { c.Namespace = "" }), nil, host.Decision{Allow: true}, "grants.box"},
		"another cluster":            {shop, with(func(c *host.CapabilityCall) { c.Cluster = "prod" }), nil, host.Decision{Allow: true}, "grants.box"},
		"outside of the route's":     {all(), elsewhere, []string{"shop"}, host.Decision{Allow: true}, "other_namespace"},
		"outside of its own":         {all(), elsewhere, nil, host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: []string{"shop"}}}, "other_namespace"},
		"what nothing here can meet": {all(), pods, nil, host.Decision{Allow: true, Obligations: host.Obligations{Record: host.RecordAll}}, unmet},
		"groups of Azure":            {all(), pods, nil, host.Decision{Allow: true, Obligations: host.Obligations{ResourceGroups: []string{"*"}}}, unmet},
		"its own kind, not granted":  {shop, host.CapabilityCall{Name: "box", Verb: "get", Cluster: "dev", Namespace: "shop"}, nil, host.Decision{Allow: true}, "actions: [get]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, c.grants, func(q *host.Question) host.Decision {
				if q.Capability.Object == "a" { // the box's own
					return host.Decision{Allow: true}
				}
				return c.answer
			})
			s.caller.Obligations.Namespaces = c.route
			s.caller.Reason = "INC-1"
			_, err := s.also(t, c.call)
			x := ErrorFrame(err)
			if (err == nil) != (c.detail == "") || err != nil && (x.Status != 403 || !strings.Contains(x.Detail, c.detail)) {
				t.Errorf("got %v, %+v", err, x)
			}
			if err != nil && !strings.Contains(x.Message, c.call.String()) {
				t.Errorf("%q does not name the call", x.Message)
			}
			if last := s.asked[len(s.asked)-1]; err == nil && (*last.Capability != c.call || last.Principal.User != "ann" || last.Route.Name != "r" || last.Reason != "INC-1") {
				t.Errorf("policy was asked %+v", last)
			}
		})
	}
}

func TestWhatACallTakesNeedsAuthorityAndAPermit(t *testing.T) {
	s := newScene(t, all(), allow)
	s.box.during = func() {
		s.auth.gone.Store(true)
		if _, err := s.box.permit.Also(t.Context(), host.CapabilityCall{Name: "kube", Cluster: "dev"}); !errors.Is(err, host.ErrLoggedOut) || len(s.asked) != 1 {
			t.Errorf("without authority: %v, policy asked %d times", err, len(s.asked))
		}
	}
	_, _ = s.fetch("PUT", "box://dev/shop/a")
	if _, err := new(Permit).Also(context.Background(), host.CapabilityCall{}); host.KindOf(err) != host.Forbidden {
		t.Errorf("a permit that no broker made: %v", err)
	}
}

func TestAReadRouteChangesNothingByTheWayEither(t *testing.T) {
	s := newScene(t, all(), allow)
	s.caller.Route.Mutates = false
	s.box.during = func() {
		if _, err := s.box.permit.Also(t.Context(), host.CapabilityCall{Name: "kube", Verb: "create", Cluster: "dev"}); ErrorFrame(err).Detail != "read_route" {
			t.Errorf("got %v", err)
		}
	}
	if _, err := s.fetch("GET", "box://dev/shop/a"); err != nil {
		t.Fatal(err)
	}
}

func TestOneForbiddenNamespaceDoesNotHideTheOthers(t *testing.T) {
	forbidden := &host.Error{Kind: host.Forbidden, Status: 403, Message: "secrets is forbidden"}
	p := NewPartial(3)
	for _, namespace := range []string{"till", "bank", "till"} {
		if err := p.Without(namespace, forbidden); err != nil {
			t.Fatal(err)
		}
	}
	left, err := p.Result()
	if err != nil || len(left) != 2 || left[0] != (Unreachable{Namespace: "bank", Status: 403, Message: "secrets is forbidden"}) || left[1].Namespace != "till" {
		t.Errorf("left out %+v, %v", left, err)
	}
	_ = p.Without("shop", forbidden)
	if _, err := p.Result(); !errors.Is(err, error(forbidden)) {
		t.Errorf("all are forbidden: %v", err)
	}
	for _, err := range []error{
		host.ErrLoggedOut, host.ErrNoLonger, errors.New("x"), &host.Error{Kind: host.Unavailable}, &host.Error{Kind: host.NotFound, Status: 404},
	} {
		if NewPartial(2).Without("shop", err) == nil {
			t.Errorf("%v is taken for a namespace's own", err)
		}
	}
}

func TestAGrantWithoutDimensionsCoversNothing(t *testing.T) {
	if (&Grant{}).covers(&host.CapabilityCall{}, nil, "") {
		t.Error("it covers a call")
	}
}

// An observer learns of refused calls too, so that it can say what is missing.
func TestAnObserverIsToldEachCallWithItsOutcome(t *testing.T) {
	s := newScene(t, []Grant{{Clusters: []string{"dev"}, Namespaces: []string{"shop"}, Actions: []string{"*"}}}, allow)
	var seen []string
	s.granted.broker.Observe(func(_ context.Context, x *Exchange) {
		outcome := ""
		switch {
		case x.Err != nil:
			outcome = ErrorFrame(x.Err).Origin.String()
		case x.Opens:
			outcome = "open"
		default:
			outcome = string(x.Response.Body)
		}
		seen = append(seen, x.Plugin+" "+x.Capability+" "+x.Request.Method+" "+x.Request.URL+" "+outcome)
	})
	_, _ = s.fetch("PUT", "box://dev/shop/a")
	_, _ = s.fetch("PUT", "box://dev/bank/a")
	if _, err := s.granted.Open(t.Context(), s.caller, "box", &abi.Request{Method: "GET", URL: "box://dev/shop/b"}); err != nil {
		t.Fatal(err)
	}
	s.box.during = func() { panic("broken") }
	_, _ = s.fetch("GET", "box://dev/shop/c")
	want := []string{"p box PUT box://dev/shop/a content", "p box PUT box://dev/bank/a grant", "p box GET box://dev/shop/b open", "p box GET box://dev/shop/c host"}
	if !slices.Equal(seen, want) {
		t.Errorf("got  %q\nwant %q", seen, want)
	}
}
