package admin_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/admin"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tools notes what it was asked.
type tools struct {
	mu       sync.Mutex
	asked    []*host.Question
	compared int // bytes of the last bundle

	installed installed
}

func (*tools) Status() authz.Status { return authz.Status{} }

func (p *tools) Explain(_ context.Context, q *host.Question) *policytool.Explanation {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, q)
	return &policytool.Explanation{Sentence: "because"}
}

func (p *tools) Compare(_ context.Context, bundle []byte) (*policytool.DiffReport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.compared = len(bundle)
	return &policytool.DiffReport{Old: "old", New: "new"}, nil
}

// entries is a directory with one problem and two clusters.
type entries struct{}

func (entries) Revision() uint64 { return 7 }

func (entries) Problems() []directory.Problem {
	return []directory.Problem{{File: "people.yaml", Line: 3, Text: "spec.id is required"}}
}

func (entries) Sources() []directory.SourceStatus {
	return []directory.SourceStatus{{Cluster: "dev", Known: true, Objects: 2}, {Cluster: "prod", Problem: "cannot be reached", Since: time.Unix(0, 0).UTC()}}
}

// settings is a configuration that was refused and cannot be loaded.
type settings struct{}

func (settings) ConfigStatus() config.Status {
	return config.Status{Revision: "abc", Refused: &config.Refusal{Reason: "auth: has no login method"}}
}

func (settings) Reload(_ context.Context, dryRun bool) (*config.Report, error) {
	if !dryRun {
		return nil, &host.Error{Kind: host.Unprocessable, Message: "the configuration is refused", Detail: "auth: has no login method"}
	}
	return &config.Report{Outcome: config.Checked, Changes: []config.Change{{Path: "listen", Old: `"a"`, New: `"b"`}}}, nil
}

func open(t *testing.T) (*surfacetest.Surface, *surfacetest.Policy, *tools) {
	t.Helper()
	return serve(t, &surfacetest.Fleet{})
}

func serve(t *testing.T, fleet *surfacetest.Fleet) (*surfacetest.Surface, *surfacetest.Policy, *tools) {
	t.Helper()
	policy, asked := &surfacetest.Policy{}, &tools{}
	return surfacetest.Open(t, policy, func(g *gateway.Gateway, _ *session.Table) {
		admin.Mount(g, admin.Config{
			Sessions: fleet, Directory: entries{}, Policy: asked, Plugins: &asked.installed, Uploads: &asked.installed, Configuration: settings{}, HostView: func(string) *policytool.HostView { return &policytool.HostView{Plugins: []string{"probe"}} },
		})
	}), policy, asked
}

// What exists below /api/admin shows only to users who may do it.
func TestAdministrationIsForThoseWhomPolicyPermits(t *testing.T) {
	s, _, _ := open(t)
	ann, nia, anonymous := s.As(t, "ann"), s.As(t, "nia"), s.Anonymous(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/api/admin/directory", 200, ""}, {"HEAD", "/api/admin/directory", 200, ""}, {"GET", "/api/admin/policies", 200, ""},
		{"GET", "/api/admin/nothing", 404, ""}, {"GET", "/api/admin", 404, ""}, {"POST", "/api/admin/a/b", 404, ""},
		{"PATCH", "/api/admin/policies/diff", 405, "POST"}, {"OPTIONS", "/api/admin/sessions", 405, "DELETE, GET, HEAD"}, {"PUT", "/api/admin/sessions/x", 405, "DELETE"},
	} {
		name := c.method + " " + c.path
		if got := ann.Do(c.method, c.path, ""); got.Status != c.status || got.Header.Get("Allow") != c.allow {
			t.Errorf("%s: %v, want %d %s", name, got, c.status, c.allow)
		}
		if got := nia.Do(c.method, c.path, ""); got.Status != 403 || got.Header.Get("Allow") != "" {
			t.Errorf("%s without rights: %v", name, got)
		}
		if got := anonymous.Do(c.method, c.path, ""); got.Status != 401 {
			t.Errorf("%s signed out: %v", name, got)
		}
	}
	surfacetest.Eventually(t, "all sessions to be closed", func() bool { return len(s.Sessions.All()) == 0 })
}

// Policy decides on the action of a route, and on the user that a request names.
func TestPolicyIsAskedAboutTheActionAndTheUser(t *testing.T) {
	s, policy, _ := open(t)
	ann := s.As(t, "ann")
	ann.Do("GET", "/api/admin/policies/explain?user=vic@example.com&action=x:y", "", "X-Bulkhead-Reason: INC-1")
	ann.Do("POST", "/api/admin/policies/diff", "")
	ann.Do("PUT", "/api/admin/nothing?user=vic@example.com", "")
	asked := policy.Asked()
	if len(asked) != 3 {
		t.Fatalf("policy is asked %d times", len(asked))
	}
	for i, want := range []struct {
		action  host.Action
		mutates bool
		user    string
		reason  string
	}{
		{"admin:policies.explain.read", false, "vic@example.com", "INC-1"}, {"admin:policies.diff", true, "", ""}, {"admin:unknown.read", false, "", ""},
	} {
		q := asked[i]
		if q.Route.Plugin != "admin" || q.Route.Action != want.action || q.Route.Mutates != want.mutates || q.Resource["user"] != want.user || q.Reason != want.reason {
			t.Errorf("%+v, want %+v", q, want)
		}
	}
}

// An obligation that administration cannot meet is refused, not ignored.
func TestObligationsThatAdministrationCannotMeetAreRefused(t *testing.T) {
	s, policy, _ := open(t)
	ann := s.As(t, "ann")
	for name, o := range map[string]host.Obligations{
		"record": {Record: host.RecordOutput}, "redact": {Redact: []string{"/a"}}, "namespaces": {Namespaces: []string{"a"}}, "resource groups": {ResourceGroups: []string{}},
	} {
		policy.Obliges(t, o)
		if got := ann.Do("GET", "/api/admin/directory", ""); got.Status != 403 || got.Problem(t).Detail != "obligation_not_supported" {
			t.Errorf("%s: %v", name, got)
		}
	}
	policy.Obliges(t, host.Obligations{MaxSession: time.Minute, Idle: time.Minute})
	if got := ann.Do("GET", "/api/admin/directory", ""); got.Status != 200 {
		t.Errorf("a time limit: %v", got)
	}
}

// A page of another site cannot break glass in an administrator's name.
func TestAForeignPageStatesNoReason(t *testing.T) {
	s, policy, _ := open(t)
	got := s.As(t, "ann").Do("GET", "/api/admin/directory?bulkhead-reason=because", "", "Sec-Fetch-Site: cross-site")
	if got.Status != 403 || len(policy.Asked()) != 0 {
		t.Errorf("%v", got)
	}
}

func TestTheDirectoryShowsItsProblemsAndClusters(t *testing.T) {
	s, _, _ := open(t)
	got := s.As(t, "ann").Do("GET", "/api/admin/directory", "")
	want := `{"clusters":[{"cluster":"dev","known":true,"entries":2},{"cluster":"prod","known":false,"entries":0,"problem":"cannot be reached","since":"1970-01-01T00:00:00Z"}],` +
		`"problems":[{"file":"people.yaml","line":3,"text":"spec.id is required"}],"revision":7}`
	if got.Status != 200 || strings.TrimSpace(got.Body) != want {
		t.Errorf("%v", got)
	}
}

// A question that could be read in two ways is refused.
func TestAQuestionToPolicyIsUnambiguous(t *testing.T) {
	s, _, asked := open(t)
	ann := s.As(t, "ann")
	for _, query := range []string{"user=a&user=b&action=x:y", "usr=a", "user=a&action=x:y&unlisted=maybe", "user=%zz", ""} {
		if got := ann.Do("GET", "/api/admin/policies/explain?"+query, ""); got.Status != 400 {
			t.Errorf("%q: %v", query, got)
		}
	}
	if got := ann.Do("GET", "/api/admin/policies/explain?user=vic@example.com&action=probe:seen.read&team=a&team=b", ""); got.Status != 200 || !strings.Contains(got.Body, "because") {
		t.Errorf("%v", got)
	}
	if len(asked.asked) != 1 || asked.asked[0].Principal.User != "vic@example.com" || asked.asked[0].Route.Plugin != "probe" {
		t.Errorf("%+v", asked.asked)
	}
}

// A candidate is compared whole, and bounded whether its length is known or not.
func TestACandidatePolicyIsBounded(t *testing.T) {
	s, _, asked := open(t)
	ann := s.As(t, "ann")
	const limit = 4 << 20
	if got := ann.Do("POST", "/api/admin/policies/diff", strings.Repeat("x", limit)); got.Status != 200 || asked.compared != limit {
		t.Errorf("just within the bound: %v, compared %d", got, asked.compared)
	}
	if got := ann.Send("POST", "/api/admin/policies/diff", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", limit+1))}); got.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("over the bound: %v", got)
	}
}

// A filter selects sessions, and one that is misspelt or given twice is refused.
func TestAFilterSelectsSessions(t *testing.T) {
	s, _, _ := open(t)
	ann := s.As(t, "ann")
	for query, want := range map[string]string{
		"": `"total":3`, "?user=Ann@Example.com": `"total":2`, "?kind=socket": `"total":2`, "?plugin=shell": `"total":1`, "?replica=b": `"total":2`,
		"?login=ann.2": `"total":1`, "?user=ann@example.com&kind=socket": `"total":1`, "?replica=c": `{"replica":"a","sessions":[],"total":0}`, "?limit=1": `"total":3`,
	} {
		if got := ann.Do("GET", "/api/admin/sessions"+query, ""); got.Status != 200 || !strings.Contains(got.Body, want) || query == "?limit=1" && strings.Count(got.Body, `"id"`) != 1 {
			t.Errorf("%q: %v, want %s", query, got, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=5001", "?limit=x", "?usr=x", "?user=", "?user=a&user=b"} {
		if got := ann.Do("GET", "/api/admin/sessions"+query, ""); got.Status != 400 {
			t.Errorf("%q: %v", query, got)
		}
	}
}

// What ends is what a filter selects; the sessions of all users only by all=true.
func TestWhatAnAdministratorEndsIsNamed(t *testing.T) {
	fleet := &surfacetest.Fleet{}
	s, _, _ := serve(t, fleet)
	ann := s.As(t, "ann")
	list, err := fleet.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for path, scope := range map[string]session.Scope{
		"?all=true": session.Everybody(), "?user=Vic@example.com": session.SessionsOf("vic@example.com"), "?user=vic@example.com&logins=true": session.LoginsOf("vic@example.com"),
		"?kind=events": session.Selected(list[1:2]), "?user=ann@example.com&kind=socket": session.Selected(list[:1]), "/s3": session.Selected(list[2:]), "/s3?user=vic@example.com": session.Selected(list[2:]),
	} {
		if got := ann.Do("DELETE", "/api/admin/sessions"+path, ""); got.Status != 200 || !fleet.Ended(scope, host.ErrRevoked) {
			t.Errorf("%q: %v", path, got)
		}
	}
	for path, status := range map[string]int{
		"": 400, "?usr=a": 400, "?user=": 400, "?user=a&user=b": 400, "?all=maybe": 400, "?all=false": 400, "?all=true&user=a": 400, "?logins=true": 400,
		"?logins=true&kind=socket": 400, "?all=true&logins=true": 400, "/none": 404, "/s3?user=ann@example.com": 404,
	} {
		if got := ann.Do("DELETE", "/api/admin/sessions"+path, ""); got.Status != status || !fleet.Idle() {
			t.Errorf("%q: %v, want %d", path, got, status)
		}
	}
}

// Reading the configuration's state and reloading it are actions of their own; a refusal
// says why, and a dry run what would change.
func TestAdministratorsReloadTheConfiguration(t *testing.T) {
	s, _, _ := open(t)
	ann := s.As(t, "ann")
	if got := ann.Do("GET", "/api/admin/config", ""); got.Status != 200 || !strings.Contains(got.Body, "has no login method") {
		t.Errorf("%v", got)
	}
	if got := ann.Do("POST", "/api/admin/config/reload?dryRun=true", ""); got.Status != 200 || !strings.Contains(got.Body, `"path":"listen"`) {
		t.Errorf("%v", got)
	}
	if got := ann.Do("POST", "/api/admin/config/reload", ""); got.Status != 422 || !strings.Contains(got.Body, "has no login method") {
		t.Errorf("%v", got)
	}
	for _, query := range []string{"?dryrun=true", "?dryRun=yes", "?dryRun=true&dryRun=false", "?x=1"} {
		if got := ann.Do("POST", "/api/admin/config/reload"+query, ""); got.Status != 400 {
			t.Errorf("%s: %v", query, got)
		}
	}
	for _, path := range []string{"/api/admin/config", "/api/admin/config/reload"} {
		if got := s.As(t, "nia").Do(map[bool]string{true: "POST", false: "GET"}[strings.HasSuffix(path, "reload")], path, ""); got.Status != 403 {
			t.Errorf("%s, without rights: %v", path, got)
		}
	}
}

// Who loses the right to the audit stops seeing what is written.
func TestTheAuditIsFollowedOnlyWhilePolicyAllowsIt(t *testing.T) {
	trail, log := audit.NewTrail("a", slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler)
	d, err := audit.OpenDelivery(&audit.TrailConfig{}, t.TempDir(), []byte("key"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	trail.Use(d)
	policy := &surfacetest.Policy{}
	s := surfacetest.Open(t, policy, func(g *gateway.Gateway, _ *session.Table) {
		admin.Mount(g, admin.Config{Sessions: &surfacetest.Fleet{}, Audit: trail})
	})
	resp, ended := s.As(t, "ann").Stream("/api/admin/audit?follow=true"), make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, resp.Body)
		ended <- err
	}()
	policy.Says(t, func(*host.Question) host.Decision { return host.Decision{} })
	s.Sessions.Redecide(t.Context())
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the stream goes on")
	}
}
