package capability

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

type authority struct{ gone atomic.Bool }

func (a *authority) Alive() bool { return !a.gone.Load() }
func (a *authority) Cause() error {
	if a.gone.Load() {
		return host.ErrLoggedOut
	}
	return nil
}

// box is a capability that records its effects: box://CLUSTER/NAMESPACE/OBJECT,
// GET and PUT; box://CLUSTER/ lists.
type box struct {
	content string // "content"
	wait    bool   // for the end of the call
	effects []string
	permit  *Permit
	during  func()
	opened  *boxStream
	answer  func() (*abi.Response, error) // nil: content
}

func (*box) Kind() *Kind {
	return &Kind{
		Name: "box", Streams: true, Classify: classifyBox,
		Dimensions: []Dimension{{Name: Clusters}, {Name: Namespaced}, {Name: Actions, Values: []string{"get", "put", "list"}}},
		Spans: func(c *host.CapabilityCall) string {
			if c.Verb == "list" {
				return Namespaced
			}
			return ""
		},
	}
}

func classifyBox(r *abi.Request) (Prepared, error) {
	t, err := ParseTarget("box", r.URL)
	if err != nil {
		return Prepared{}, err
	}
	c := host.CapabilityCall{Cluster: t.Cluster, Verb: "list", Resource: "boxes", Effect: host.EffectRead}
	if len(t.Segments) > 0 {
		c.Verb = strings.ToLower(r.Method)
		if c.Effect = ""; c.Verb == "get" {
			c.Effect = host.EffectRead
		}
		if t.Query.Get("dry") != "" {
			c.Effect = host.EffectDryRun
		}
		c.Namespace = t.Segments[0]
	}
	if len(t.Segments) > 1 {
		c.Object = t.Segments[1]
	}
	return Prepared{Call: c, Payload: t}, nil
}

func (b *box) Fetch(ctx context.Context, p *Permit) (*abi.Response, error) {
	b.effects, b.permit = append(b.effects, p.Call.Verb), p
	if b.during != nil {
		b.during()
	}
	if b.wait {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if b.answer != nil {
		return b.answer()
	}
	return &abi.Response{Status: 200, Body: []byte(cmp.Or(b.content, "content"))}, nil
}

func (b *box) Open(_ context.Context, p *Permit) (Stream, error) {
	b.effects = append(b.effects, "open "+p.Call.Verb)
	if b.during != nil {
		b.during()
	}
	b.opened = &boxStream{}
	return b.opened, nil
}

type boxStream struct{ closed int }

func (*boxStream) Subprotocols() []string               { return nil }
func (*boxStream) MaxMessage() int                      { return 0 }
func (*boxStream) Splice(context.Context, Client) error { return nil }
func (s *boxStream) Close() error                       { s.closed++; return nil }

// scene is a broker with one plugin.
type scene struct {
	box     *box
	auth    *authority
	caller  *Caller
	granted *Granted
	asked   []*host.Question
	log     bytes.Buffer
}

func newScene(t *testing.T, grants []Grant, decide func(*host.Question) host.Decision) *scene {
	t.Helper()
	s := &scene{box: &box{}, auth: &authority{}}
	s.caller = &Caller{Plugin: "p", Principal: &host.Principal{User: "ann"}, Authority: s.auth, Route: host.Route{Name: "r", Mutates: true}, Resource: host.Resource{"cluster": "dev"}}
	b := NewBroker(func(_ context.Context, q *host.Question) host.Decision {
		s.asked = append(s.asked, q)
		return decide(q)
	}, slog.New(slog.NewTextHandler(&s.log, nil)), s.box)
	var err error
	if s.granted, err = b.Grant("p", map[string][]Grant{"box": grants}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) fetch(method, url string) (*abi.Response, error) {
	return s.granted.Fetch(context.Background(), s.caller, "box", &abi.Request{Method: method, URL: url})
}

func allow(*host.Question) host.Decision { return host.Decision{Allow: true} }

func all() []Grant {
	return []Grant{{Clusters: []string{"*"}, Namespaces: []string{"*"}, Actions: []string{"*"}}}
}

func TestEffectNeedsGrantAndPolicy(t *testing.T) {
	grants := map[string]struct {
		grants []Grant
		covers bool
	}{
		"all":             {all(), true},
		"exact":           {[]Grant{{Clusters: []string{"dev"}, Namespaces: []string{"shop"}, Actions: []string{"put"}}}, true},
		"second entry":    {append([]Grant{{Clusters: []string{"x"}, Namespaces: []string{"x"}, Actions: []string{"get"}}}, all()...), true},
		"pattern":         {[]Grant{{Clusters: []string{"d*"}, Namespaces: []string{"s*p"}, Actions: []string{"p*"}}}, true},
		"other cluster":   {[]Grant{{Clusters: []string{"prod"}, Namespaces: []string{"*"}, Actions: []string{"*"}}}, false},
		"other namespace": {[]Grant{{Clusters: []string{"*"}, Namespaces: []string{"bank"}, Actions: []string{"*"}}}, false},
		"other action":    {[]Grant{{Clusters: []string{"*"}, Namespaces: []string{"*"}, Actions: []string{"get"}}}, false},
		"halves of two":   {[]Grant{{Clusters: []string{"dev"}, Namespaces: []string{"bank"}, Actions: []string{"*"}}, {Clusters: []string{"prod"}, Namespaces: []string{"shop"}, Actions: []string{"*"}}}, false},
	}
	for name, g := range grants {
		for _, permitted := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, policy %v", name, permitted), func(t *testing.T) {
				s := newScene(t, g.grants, func(*host.Question) host.Decision {
					return host.Decision{Allow: permitted, Reason: host.Reason{Code: "no_resource"}}
				})
				resp, err := s.fetch("PUT", "box://dev/shop/a")
				if did := len(s.box.effects) == 1; did != (g.covers && permitted) {
					t.Fatalf("effect: %v", did)
				}
				switch {
				case g.covers && permitted:
					if err != nil || string(resp.Body) != "content" {
						t.Errorf("got %v, %v", resp, err)
					}
				case !g.covers:
					x := ErrorFrame(err)
					if x.Origin != abi.OriginGrant || x.Status != 403 || x.Code != abi.CodeNotGranted || len(s.asked) > 0 {
						t.Errorf("got %+v, policy asked %d times", x, len(s.asked))
					}
					for _, part := range []string{`"p"`, "box put", "dev/shop/a"} {
						if !strings.Contains(x.Message, part) {
							t.Errorf("%q does not name %s", x.Message, part)
						}
					}
					if !strings.Contains(x.Detail, "plugins[name=p].grants.box: [{clusters: [dev], namespaces: [shop], actions: [put]}]") {
						t.Errorf("the detail does not help: %q", x.Detail)
					}
				default:
					if x := ErrorFrame(err); x.Origin != abi.OriginPolicy || x.Status != 403 || x.Detail != "no_resource" {
						t.Errorf("got %+v", x)
					}
				}
			})
		}
	}
}

func TestPolicySeesWhoAsksForWhat(t *testing.T) {
	s := newScene(t, all(), allow)
	if _, err := s.fetch("PUT", "box://dev/shop/a"); err != nil {
		t.Fatal(err)
	}
	q := s.asked[0]
	want := host.CapabilityCall{Name: "box", Verb: "put", Cluster: "dev", Namespace: "shop", Object: "a", Resource: "boxes"}
	if *q.Capability != want || q.Principal.User != "ann" || q.Route.Name != "r" || q.Resource["cluster"] != "dev" {
		t.Errorf("policy was asked %+v of %+v", q.Capability, q)
	}
}

func TestNothingHappensWithoutAuthority(t *testing.T) {
	s := newScene(t, all(), allow)
	s.auth.gone.Store(true)
	if _, err := s.fetch("GET", "box://dev/shop/a"); !errors.Is(err, host.ErrLoggedOut) || len(s.asked)+len(s.box.effects) > 0 {
		t.Errorf("got %v, %d decisions, effects %v", err, len(s.asked), s.box.effects)
	}
}

func TestResultIsNotHandedOverAfterLogout(t *testing.T) {
	s := newScene(t, all(), allow)
	s.box.during = func() { s.auth.gone.Store(true) }
	if resp, err := s.fetch("GET", "box://dev/shop/a"); resp != nil || !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("got %v, %v", resp, err)
	}
	s.auth.gone.Store(false)
	stream, err := s.granted.Open(t.Context(), s.caller, "box", &abi.Request{Method: "GET", URL: "box://dev/shop/a"})
	if stream != nil || !errors.Is(err, host.ErrLoggedOut) || s.box.opened.closed != 1 {
		t.Errorf("got %v, %v, closed %d times", stream, err, s.box.opened.closed)
	}
}

func TestEndedSessionHasItsCause(t *testing.T) {
	s := newScene(t, all(), allow)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(host.ErrShutdown)
	_, err := s.granted.Fetch(ctx, s.caller, "box", &abi.Request{Method: "GET", URL: "box://dev/shop/a"})
	if !errors.Is(err, host.ErrShutdown) || len(s.box.effects) > 0 {
		t.Errorf("got %v, effects %v", err, s.box.effects)
	}
}

func TestNobodyHasNoCapabilities(t *testing.T) {
	s := newScene(t, all(), allow)
	for name, c := range map[string]*Caller{
		"no caller":    nil,
		"no principal": {Authority: s.auth},
		"empty user":   {Authority: s.auth, Principal: &host.Principal{}},
		"no authority": {Principal: s.caller.Principal},
	} {
		_, err := s.granted.Fetch(t.Context(), c, "box", &abi.Request{Method: "GET", URL: "box://dev/shop/a"})
		if host.KindOf(err) != host.Unauthenticated || len(s.box.effects) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGuestCannotSpeakForTheHost(t *testing.T) {
	s := newScene(t, all(), allow)
	_, err := s.granted.Fetch(t.Context(), s.caller, "box",
		&abi.Request{Method: "GET", URL: "box://dev/shop/a", Host: &abi.HostSection{User: "root"}})
	if host.KindOf(err) != host.Invalid || len(s.box.effects) > 0 {
		t.Errorf("got %v", err)
	}
}

func TestUngrantedCapabilityIsRefused(t *testing.T) {
	s := newScene(t, nil, allow)
	_, err := s.fetch("GET", "box://dev/shop/a")
	if x := ErrorFrame(err); x.Origin != abi.OriginGrant || x.Status != 403 {
		t.Errorf("got %+v", x)
	}
	if len(s.granted.Names()) != 0 || s.granted.Streams("box") {
		t.Errorf("granted %v", s.granted.Names())
	}
}

func TestPanicOfACapabilityStaysInside(t *testing.T) {
	s := newScene(t, all(), allow)
	s.box.during = func() { panic("secret of the host") }
	_, err := s.fetch("GET", "box://dev/shop/a")
	x := ErrorFrame(err)
	if x.Status != 500 || strings.Contains(x.Message+x.Detail, "secret") || !strings.Contains(s.log.String(), "secret of the host") {
		t.Errorf("got %+v; logged %s", x, s.log.String())
	}
}

func TestListIsNarrowedToGrantAndPermission(t *testing.T) {
	for name, c := range map[string]struct {
		granted, permitted []string
		want               []string
	}{
		"everything":            {[]string{"*"}, nil, nil},
		"by grant":              {[]string{"shop", "bank"}, nil, []string{"bank", "shop"}},
		"by policy":             {[]string{"*"}, []string{"shop"}, []string{"shop"}},
		"by both":               {[]string{"shop", "bank"}, []string{"bank", "till"}, []string{"bank"}},
		"pattern and names":     {[]string{"team-*"}, []string{"team-a", "shop"}, []string{"team-a"}},
		"nothing in common":     {[]string{"shop"}, []string{"bank"}, []string{}},
		"policy permits none":   {[]string{"*"}, []string{}, []string{}},
		"names that are a path": {[]string{"../../x", "shop"}, nil, []string{"shop"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, []Grant{{Clusters: []string{"*"}, Namespaces: c.granted, Actions: []string{"list"}}}, func(*host.Question) host.Decision {
				return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: c.permitted}}
			})
			if _, err := s.fetch("GET", "box://dev"); err != nil {
				t.Fatal(err)
			}
			within := s.box.permit.Narrowing
			names, ok := within.Names(dnsname.IsLabel)
			if within.All() != (c.want == nil) || ok == (c.want == nil) || !slices.Equal(names, c.want) {
				t.Errorf("all %v, names %v", within.All(), names)
			}
		})
	}
}

func TestNamespaceObligationHoldsForSingleObjects(t *testing.T) {
	s := newScene(t, all(), func(*host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: []string{"shop"}}}
	})
	if _, err := s.fetch("GET", "box://dev/bank/a"); host.KindOf(err) != host.Forbidden || len(s.box.effects) > 0 {
		t.Errorf("got %v", err)
	}
	if _, err := s.fetch("GET", "box://dev/shop/a"); err != nil {
		t.Error(err)
	}
}

func TestRouteDecisionNarrowsEveryCall(t *testing.T) {
	for name, c := range map[string]struct {
		route, call []string
		listed      []string // nil: everything
		shop        bool     // whether its objects may be reached
	}{
		"by neither":     {nil, nil, nil, true},
		"by the route":   {[]string{"shop"}, nil, []string{"shop"}, true},
		"by both":        {[]string{"shop", "bank"}, []string{"bank", "till"}, []string{"bank"}, false},
		"to nothing":     {[]string{}, nil, []string{}, false},
		"the call to it": {nil, []string{"bank"}, []string{"bank"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, all(), func(*host.Question) host.Decision {
				return host.Decision{Allow: true, Obligations: host.Obligations{Namespaces: c.call}}
			})
			s.caller.Obligations.Namespaces = c.route
			if _, err := s.fetch("GET", "box://dev"); err != nil {
				t.Fatal(err)
			}
			within := s.box.permit.Narrowing
			if names, _ := within.Names(dnsname.IsLabel); within.All() != (c.listed == nil) || !slices.Equal(names, c.listed) {
				t.Errorf("the list is of all: %v, of %v", within.All(), names)
			}
			if _, err := s.fetch("GET", "box://dev/shop/a"); (err == nil) != c.shop || err != nil && host.KindOf(err) != host.Forbidden {
				t.Errorf("an object in shop: %v", err)
			}
		})
	}
}

func TestPanicsOfOtherGoroutinesAreContained(t *testing.T) {
	var log bytes.Buffer
	err := func() (err error) {
		defer Recover(slog.New(slog.NewTextHandler(&log, nil)), "box", &err)
		panic("secret of the host")
	}()
	if x := ErrorFrame(err); x.Status != 500 || strings.Contains(x.Message+x.Detail, "secret") || !strings.Contains(log.String(), "capability=box") {
		t.Errorf("got %+v; logged %s", x, log.String())
	}
}

func TestObligationsThatNothingMeetsRefuse(t *testing.T) {
	for _, o := range []host.Obligations{{Record: host.RecordOutput}, {ResourceGroups: []string{"rg"}}} {
		s := newScene(t, all(), func(*host.Question) host.Decision { return host.Decision{Allow: true, Obligations: o} })
		if _, err := s.fetch("GET", "box://dev/shop/a"); host.KindOf(err) != host.Forbidden || len(s.box.effects) > 0 {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

func TestAnswersAreRedacted(t *testing.T) {
	s := newScene(t, all(), func(*host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: host.Obligations{Redact: []string{"/items/*/secret"}}}
	})
	s.box.content = `{"items": [{"secret": "x", "name": "a"}]}`
	resp, err := s.fetch("GET", "box://dev/shop/a")
	if err != nil || string(resp.Body) != `{"items":[{"name":"a"}]}` {
		t.Errorf("got %s, %v", resp.Body, err)
	}
	s.box.content = "secret: x"
	resp, err = s.fetch("GET", "box://dev/shop/a")
	if x := ErrorFrame(err); resp != nil || x.Status != 403 || x.Origin != abi.OriginPolicy || x.Detail != "not_redactable" {
		t.Errorf("got %v, %+v", resp, x)
	}
	// A stream has no answer that could be.
	if stream, err := s.granted.Open(t.Context(), s.caller, "box", &abi.Request{Method: "GET", URL: "box://dev/shop/a"}); stream != nil || host.KindOf(err) != host.Forbidden {
		t.Errorf("got %v, %v", stream, err)
	}
}

func TestACallLastsNoLongerThanItsDecisionSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, all(), func(*host.Question) host.Decision {
			return host.Decision{Allow: true, Obligations: host.Obligations{MaxSession: time.Minute}}
		})
		began := time.Now()
		s.box.wait = true
		_, err := s.fetch("GET", "box://dev/shop/a")
		if !errors.Is(err, host.ErrTooLong) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// tank is a capability with resource groups: tank://X/GROUP, or all of them.
type tank struct{ box }

func (*tank) Kind() *Kind {
	return &Kind{
		Name: "tank", Dimensions: []Dimension{{Name: ResourceGroups, Fold: true}, {Name: Verbs}},
		Spans: func(*host.CapabilityCall) string { return ResourceGroups },
		Classify: func(r *abi.Request) (Prepared, error) {
			t, err := ParseTarget("tank", r.URL)
			if err != nil {
				return Prepared{}, err
			}
			group := strings.ToLower(strings.Join(t.Segments, ""))
			return Prepared{Call: host.CapabilityCall{Verb: "get", Effect: host.EffectRead, ResourceGroup: group}}, nil
		},
	}
}

func TestResourceGroupsAreNarrowedWhateverTheirCase(t *testing.T) {
	for name, c := range map[string]struct {
		granted, route, call []string
		listed               []string // nil: everything
		one                  bool     // whether RG1 may be reached
	}{
		"by nothing":       {[]string{"*"}, nil, nil, nil, true},
		"by grant":         {[]string{"RG1", "rg2"}, nil, nil, []string{"rg1", "rg2"}, true},
		"by the route":     {[]string{"*"}, []string{"Rg2"}, nil, []string{"rg2"}, false},
		"by the call":      {[]string{"*"}, nil, []string{"RG1"}, []string{"rg1"}, true},
		"by all":           {[]string{"RG*"}, []string{"rg1", "rg2"}, []string{"RG2", "rg3"}, []string{"rg2"}, false},
		"policy says none": {[]string{"*"}, nil, []string{}, []string{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var asked *host.CapabilityCall
			k := &tank{}
			b := NewBroker(func(_ context.Context, q *host.Question) host.Decision {
				asked = q.Capability
				return host.Decision{Allow: true, Obligations: host.Obligations{ResourceGroups: c.call}}
			}, slog.New(slog.DiscardHandler), k)
			granted, err := b.Grant("p", map[string][]Grant{"tank": {{ResourceGroups: c.granted, Verbs: []string{"*"}}}})
			if err != nil {
				t.Fatal(err)
			}
			caller := &Caller{Principal: &host.Principal{User: "ann"}, Authority: &authority{}}
			caller.Obligations = host.Obligations{ResourceGroups: c.route, Namespaces: []string{"shop"}} // no namespaces here
			fetch := func(url string) error {
				_, err := granted.Fetch(t.Context(), caller, "tank", &abi.Request{Method: "GET", URL: url})
				return err
			}
			if err := fetch("tank://x"); err != nil || !asked.Spans {
				t.Fatal(err, asked)
			}
			within := k.permit.Narrowing
			names, _ := within.Names(func(string) bool { return true })
			if within.All() != (c.listed == nil) || !slices.Equal(names, c.listed) {
				t.Errorf("the list is of all: %v, of %v", within.All(), names)
			}
			if err := fetch("tank://x/RG1"); (err == nil) != c.one || asked.Spans {
				t.Errorf("RG1: %v", err)
			}
		})
	}
}

func TestBadGrantNamesItsField(t *testing.T) {
	b := NewBroker(func(context.Context, *host.Question) host.Decision { return host.Decision{} }, slog.New(slog.DiscardHandler), &box{})
	for want, grants := range map[string]map[string][]Grant{
		"grants.bax: the capability does not exist; the capabilities are box": {"bax": all()},
		"grants.box[0].clusters: is missing":                                  {"box": {{Namespaces: []string{"*"}, Actions: []string{"*"}}}},
		"grants.box[1].verbs: this capability has no such list":               {"box": append(all(), Grant{Clusters: []string{"*"}, Namespaces: []string{"*"}, Actions: []string{"*"}, Verbs: []string{"get"}})},
		`grants.box[0].actions[1]: "delete" matches none of`:                  {"box": {{Clusters: []string{"*"}, Namespaces: []string{"*"}, Actions: []string{"get", "delete"}}}},
		"grants.box[0].namespaces[0]: is empty; write a name, or remove it":   {"box": {{Clusters: []string{"*"}, Namespaces: []string{""}, Actions: []string{"*"}}}},
	} {
		if g, err := b.Grant("p", grants); g != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestErrorFramesKeepWhatTheUserMaySee(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want abi.Error
	}{
		"upstream's own status": {&host.Error{Kind: host.Invalid, Status: 405, Message: "no"}, abi.Error{Code: abi.CodeInvalid, Origin: abi.OriginUpstream, Status: 405, Message: "no"}},
		"upstream failed":       {&host.Error{Kind: host.Upstream, Message: "upgrade failed", Detail: "why"}, abi.Error{Code: abi.CodeUpstream, Origin: abi.OriginUpstream, Status: 502, Message: "upgrade failed", Detail: "why"}},
		"starting":              {&host.Error{Kind: host.Unavailable, Message: "starting"}, abi.Error{Code: abi.CodeUnavailable, Origin: abi.OriginHost, Status: 503, Retryable: true, Message: "starting"}},
		"unknown":               {errors.New("password is x"), abi.Error{Code: abi.CodeInternal, Origin: abi.OriginHost, Status: 500, Message: "internal error"}},
		"internal":              {&host.Error{Message: "secret", Detail: "secret", Err: errors.New("secret")}, abi.Error{Code: abi.CodeInternal, Origin: abi.OriginHost, Status: 500, Message: "internal error"}},
		"deadline":              {fmt.Errorf("x: %w", context.DeadlineExceeded), abi.Error{Code: abi.CodeTimeout, Origin: abi.OriginHost, Status: 504, Message: "timed out"}},
		"logged out":            {host.ErrLoggedOut, abi.Error{Code: abi.CodeUnauthenticated, Origin: abi.OriginHost, Status: 401, Message: "logged out"}},
	} {
		if got := ErrorFrame(c.err); *got != c.want {
			t.Errorf("%s: got %+v", name, *got)
		}
	}
}
