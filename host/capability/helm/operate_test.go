package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/release"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// stage is helm with charts of a test's own and a policy that the test may narrow.
type stage struct {
	t      *testing.T
	helm   *Helm
	auth   *clustertest.Authority
	decide func(*host.Question) host.Decision // nil: everything is allowed
	// The caller's name ("x") and Outlive, for calls in the background.
	user    host.UserID
	outlive func(string, *host.Question) (capability.Session, error)

	mu    sync.Mutex
	asked []host.CapabilityCall
}

// onStage makes a stage whose repository "own" has the charts: by name, the files
// beside a Chart.yaml.
func onStage(t *testing.T, charts map[string]map[string]string) *stage {
	t.Helper()
	dir := t.TempDir()
	for name, files := range charts {
		if files = maps.Clone(files); files["Chart.yaml"] == "" {
			files["Chart.yaml"] = "apiVersion: v2\nname: " + name + "\nversion: 1.0.0\n"
		}
		for file, text := range files {
			file = filepath.Join(dir, name, file)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := &stage{t: t, auth: &clustertest.Authority{}}
	s.helm = s.replica(dir)
	return s
}

// replica is another host with the same charts.
func (s *stage) replica(dir string) *Helm {
	s.t.Helper()
	h, err := New(Config{Repositories: []Repository{{Name: "own", Path: dir}}}, clustertest.Start(s.t).Open(s.t), nil, slog.New(slog.NewTextHandler(s.t.Output(), nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(h.Close)
	return h
}

// call makes a request as the editor, within so long.
func (s *stage) call(ctx context.Context, request, body string) (*abi.Response, error) {
	s.t.Helper()
	return s.callOn(ctx, s.helm, s.auth, request, body)
}

func (s *stage) callOn(ctx context.Context, h *Helm, auth host.Authority, request, body string) (*abi.Response, error) {
	any := []string{"*"}
	granted, err := capability.NewBroker(func(_ context.Context, q *host.Question) host.Decision {
		s.mu.Lock()
		s.asked = append(s.asked, *q.Capability)
		s.mu.Unlock()
		d := host.Decision{Allow: true}
		if s.decide != nil {
			d = s.decide(q)
		}
		d.Obligations.Impersonate = clustertest.Editor
		return d
	}, slog.New(slog.NewTextHandler(s.t.Output(), nil)), h).
		Grant("p", map[string][]capability.Grant{"helm": {{Clusters: any, Namespaces: any, Actions: any}}})
	if err != nil {
		s.t.Fatal(err)
	}
	method, target, _ := strings.Cut(request, " ")
	caller := &capability.Caller{Principal: &host.Principal{User: cmp.Or(s.user, "x")}, Route: host.Route{Mutates: true}, Authority: auth, Outlive: s.outlive}
	return granted.Fetch(ctx, caller, "helm", &abi.Request{Method: method, URL: "helm://dev/shop/" + target, Body: []byte(body)})
}

func (s *stage) must(request, body string) {
	s.t.Helper()
	if _, err := s.call(s.t.Context(), request, body); err != nil {
		s.t.Fatalf("%s: %v", request, err)
	}
}

// fresh removes the release now, and at the end.
func (s *stage) fresh(name string) {
	s.t.Helper()
	remove := func() { _, _ = s.callOn(context.Background(), s.helm, &clustertest.Authority{}, "DELETE "+name, "") }
	remove()
	s.t.Cleanup(remove)
}

// records are the release's, as the editor sees them.
func (s *stage) records() *records {
	s.t.Helper()
	client, err := s.helm.clusters.As(s.t.Context(), clustertest.Name, clustertest.Editor, &clustertest.Authority{})
	if err != nil {
		s.t.Fatal(err)
	}
	return &records{client: client, namespace: "shop", logger: slog.New(slog.DiscardHandler)}
}

// statuses are those of the release's revisions, the oldest first.
func (s *stage) statuses(name string) string {
	s.t.Helper()
	r := s.records()
	keys, err := r.history(s.t.Context(), name)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, k := range slices.Backward(keys) {
		rel, err := r.read(s.t.Context(), k, false, newBudget(maxRelease))
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, rel.Info.Status.String())
	}
	return strings.Join(out, " ")
}

// set gives the newest revision another status, as another helm would leave it.
func (s *stage) set(name string, status release.Status, c *claim) {
	s.t.Helper()
	r := s.records()
	r.claim = c
	rel, err := r.newest(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	rel.Info.Status = status
	if err := r.Update(key{"shop", name, rel.Version}.secret(), rel); err != nil {
		s.t.Fatal(err)
	}
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {a: {{ .Values.a | default \"none\" | quote }}}\n"

// hooked is a chart with a hook that never ends, of the event in value hook.
var hooked = map[string]string{
	"templates/cm.yaml": configMap,
	"templates/hook.yaml": `{{ if .Values.hook }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {"helm.sh/hook": {{ .Values.hook }}, "helm.sh/hook-delete-policy": before-hook-creation}
spec:
  suspend: true
  template: {spec: {restartPolicy: Never, containers: [{name: m, image: example.invalid/m:1}]}}
{{ end }}`,
}

func upgrade(chart, values string) string {
	return fmt.Sprintf(`{"chart":"own/%s","values":%q}`, chart, values)
}

// TestAnOperationThatIsCutShortLeavesAReleaseThatCanBeUpgraded cuts each operation
// in a hook that never ends, in each way there is.
func TestAnOperationThatIsCutShortLeavesAReleaseThatCanBeUpgraded(t *testing.T) {
	operations := map[string]struct {
		before        []string // upgrades
		request, body string
		after         string
	}{
		"install":   {nil, "POST %s/upgrade", upgrade("hooked", "hook: pre-install"), "failed"},
		"upgrade":   {[]string{"a: 1"}, "POST %s/upgrade", upgrade("hooked", "hook: pre-upgrade"), "deployed failed"},
		"rollback":  {[]string{"hook: pre-rollback", "a: 2"}, "POST %s/rollback", `{"revision":1}`, "superseded deployed failed"},
		"uninstall": {[]string{"hook: pre-delete"}, "DELETE %s", "", "failed"},
	}
	cuts := map[string]struct {
		cut  func(end context.CancelCauseFunc, auth *clustertest.Authority)
		want error // nil: a timeout
	}{
		"by the deadline": {func(context.CancelCauseFunc, *clustertest.Authority) {}, nil},
		"by a logout": {func(end context.CancelCauseFunc, auth *clustertest.Authority) {
			auth.Lose(host.ErrLoggedOut)
			end(host.ErrLoggedOut)
		}, host.ErrLoggedOut},
		"by the host's end": {func(end context.CancelCauseFunc, auth *clustertest.Authority) {
			auth.Lose(host.ErrShutdown)
			end(host.ErrShutdown)
		}, host.ErrShutdown},
	}
	for name, o := range operations {
		for how, c := range cuts {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				s := onStage(t, map[string]map[string]string{"hooked": hooked})
				r := "cut-" + name + "-" + fmt.Sprint(len(how))
				s.fresh(r)
				for _, values := range o.before {
					s.must("POST "+r+"/upgrade", upgrade("hooked", values))
				}
				deadline := 40 * time.Second
				if c.want == nil {
					deadline = 8 * time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				ctx, end := context.WithCancelCause(ctx)
				defer end(nil)
				auth, left := &clustertest.Authority{}, make(chan struct{})
				go func() {
					defer close(left)
					s.pending(r)
					c.cut(end, auth)
				}()
				_, err := s.callOn(ctx, s.helm, auth, fmt.Sprintf(o.request, r), o.body)
				<-left
				if c.want == nil && ctx.Err() != nil {
					t.Error("the answer came after the call's deadline")
				}
				if c.want != nil && !errors.Is(err, c.want) || c.want == nil && host.KindOf(err) != host.Timeout {
					t.Errorf("the answer is %v", err)
				}
				s.helm.running.Wait() // as Close does
				if got := s.statuses(r); got != o.after {
					t.Errorf("the revisions are %q, want %q", got, o.after)
				}
				s.must("POST "+r+"/upgrade", upgrade("hooked", "a: 3"))
				if got := s.statuses(r); !strings.HasSuffix(got, " deployed") {
					t.Errorf("after an upgrade they are %q", got)
				}
			})
		}
	}
}

// pending waits until the newest revision waits for its operation.
func (s *stage) pending(name string) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got := s.statuses(name); strings.Contains(got, "pending") || strings.Contains(got, "uninstalling") {
			return
		}
	}
	s.t.Error("the operation did not begin")
}

func TestAPendingRecordOfAnotherHelmIsAConflictWithTheRightAdvice(t *testing.T) {
	for name, c := range map[string]struct {
		upgrades int
		status   release.Status
		advice   string
	}{
		"first":     {1, release.StatusPendingInstall, "uninstall the release and install it again"},
		"upgrade":   {2, release.StatusPendingUpgrade, "roll back to revision 1"},
		"rollback":  {3, release.StatusPendingRollback, "roll back to revision 2"},
		"uninstall": {1, release.StatusUninstalling, "uninstall the release again"},
	} {
		t.Run(name, func(t *testing.T) {
			s := onStage(t, map[string]map[string]string{"hooked": hooked})
			r := "advised-" + name
			s.fresh(r)
			for range c.upgrades {
				s.must("POST "+r+"/upgrade", upgrade("hooked", "a: 1"))
			}
			s.set(r, c.status, nil)
			_, err := s.call(t.Context(), "POST "+r+"/upgrade", upgrade("hooked", "a: 2"))
			if x := capability.ErrorFrame(err); x.Status != 409 || x.Message != "another operation on the release is in progress" || !strings.Contains(x.Detail, c.advice) {
				t.Errorf("got %+v", x)
			}
			s.must("DELETE "+r, "") // the way out is open
		})
	}
}

func TestARecordOfAReplicaThatIsGoneIsReplaced(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	s.fresh("gone")
	s.must("POST gone/upgrade", upgrade("hooked", "a: 1"))
	s.must("POST gone/upgrade", upgrade("hooked", "a: 2"))
	other := &claim{ID: "other", Action: actUpgrade, User: "ann@example.com", Since: time.Now().Add(-time.Hour)}
	for _, request := range []string{"POST gone/upgrade", "POST gone/rollback", "DELETE gone"} {
		body := map[string]string{"POST gone/upgrade": upgrade("hooked", "a: 3"), "POST gone/rollback": `{"revision":1}`}[request]
		s.set("gone", release.StatusPendingUpgrade, other)
		ctx, stop := context.WithCancel(t.Context())
		renewing := make(chan struct{})
		go func() { // as its host does
			defer close(renewing)
			r := s.records()
			keys, err := r.history(ctx, "gone")
			for err == nil && ctx.Err() == nil {
				_, _ = r.renew(ctx, keys[0], "other", true, func(*claim) {})
			}
		}()
		_, err := s.call(t.Context(), request, body)
		stop()
		<-renewing
		if host.KindOf(err) != host.Conflict || !strings.Contains(err.Error(), "upgrade by ann@example.com since ") {
			t.Errorf("%s while the operation runs: %v", request, err)
		}
	}
	s.set("gone", release.StatusPendingUpgrade, other)
	resp, err := s.call(t.Context(), "POST gone/upgrade", upgrade("hooked", "a: 3"))
	if err != nil || !strings.Contains(string(resp.Body), `"repaired":"revision 2 was pending-upgrade (upgrade by ann@example.com since `) {
		t.Errorf("after it: %s, %v", resp.Body, err)
	}
	if got := s.statuses("gone"); !strings.HasSuffix(got, " deployed") || strings.Contains(got, "pending") {
		t.Errorf("the revisions are %q", got)
	}
	r := s.records()
	if keys, err := r.history(t.Context(), "gone"); err != nil {
		t.Error(err)
	} else if h, err := r.head(t.Context(), keys[0]); err != nil || h.claimed() {
		t.Errorf("a finished record is claimed: %+v, %v", h, err)
	}
}

func TestOneOperationPerReleaseAtATime(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	other := s.replica(filepath.Dir(chartDir(s)))
	s.fresh("race")
	for _, round := range []string{"a new release", "an existing one"} {
		var wait sync.WaitGroup
		var mu sync.Mutex
		done, conflicts := 0, 0
		for i := range 4 {
			h := []*Helm{s.helm, other}[i%2]
			wait.Go(func() {
				_, err := s.callOn(t.Context(), h, s.auth, "POST race/upgrade", upgrade("hooked", fmt.Sprint("a: ", i)))
				mu.Lock()
				defer mu.Unlock()
				switch x := capability.ErrorFrame(err); {
				case err == nil:
					done++
				case x.Status == 409 && x.Message == "another operation on the release is in progress":
					conflicts++
				default:
					t.Errorf("%s: %+v", round, x)
				}
			})
		}
		wait.Wait()
		if done == 0 || conflicts < 2 { // of the two on one replica, at most one goes on
			t.Errorf("%s: %d done, %d conflicts", round, done, conflicts)
		}
	}
}

func chartDir(s *stage) string {
	return filepath.Join(s.helm.charts.sources["own"].(*directory).path, "x")
}

func TestWhatIsWrongWithAChartIsTheRequesters(t *testing.T) {
	var fetched atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_, _ = w.Write([]byte(`{"type": "string"}`))
	}))
	t.Cleanup(elsewhere.Close)
	chart := func(template string) map[string]string { return map[string]string{"templates/x.yaml": template} }
	s := onStage(t, map[string]map[string]string{
		"fails":   chart(`{{ fail "the port is taken" }}`),
		"needs":   chart(`{{ required "a host is needed" .Values.host }}`),
		"syntax":  chart(`{{ if }}`),
		"noyaml":  chart("a: [\n"),
		"nokind":  chart("apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: x}\n"),
		"invalid": chart("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: [1]\n"),
		"schema":  {"templates/x.yaml": configMap, "values.schema.json": `{"properties": {"a": {"type": "integer"}}, "required": ["a"]}`},
		"leads":   {"templates/x.yaml": configMap, "values.schema.json": `{"properties": {"a": {"$ref": "` + elsewhere.URL + `/a.json"}}}`},
		"newkube": {"templates/x.yaml": configMap, "Chart.yaml": "apiVersion: v2\nname: newkube\nversion: 1.0.0\nkubeVersion: \">=9.0.0\"\n"},
		"foreign": chart("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-root-ca.crt}\n"),
		"hook": {"templates/hook.yaml": `
apiVersion: batch/v1
kind: Job
metadata: {name: {{ .Release.Name }}-hook, annotations: {"helm.sh/hook": pre-install}}
spec:
  activeDeadlineSeconds: 1
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: m, image: example.invalid/m:1}]}}
`},
	})
	for name, c := range map[string]struct {
		status int
		says   string
	}{
		"fails": {422, "the port is taken"}, "needs": {422, "a host is needed"}, "syntax": {422, "templates/x.yaml"},
		"noyaml": {422, "YAML parse error"}, "nokind": {422, "no matches for kind"}, "invalid": {400, "ConfigMap"},
		"schema": {422, "a"}, "leads": {422, "it may refer only to itself"}, "newkube": {422, "kubeVersion"},
		"foreign": {409, "kube-root-ca.crt"}, "hook": {422, "failed"},
	} {
		s.fresh("wrong-" + name)
		_, err := s.call(t.Context(), "POST wrong-"+name+"/upgrade", upgrade(name, ""))
		if x := capability.ErrorFrame(err); x.Status != c.status || !strings.Contains(x.Message+": "+x.Detail, c.says) {
			t.Errorf("%s: %+v", name, x)
		}
	}
	if n := fetched.Load(); n > 0 {
		t.Errorf("a schema had %d documents fetched", n)
	}
}

func TestAChartIsBoundedInMemoryAndProcessor(t *testing.T) {
	s := onStage(t, map[string]map[string]string{
		"memory": {"templates/x.yaml": `{{ len (repeat 1500000000 "x") }}`},
		"time":   {"templates/x.yaml": `{{ range $i := until 30000 }}{{ range $j := until 30000 }}{{ end }}{{ end }}`},
		"tpl":    {"templates/x.yaml": `{{ tpl .Values.t . }}`},
	})
	s.helm.limits.CPU, s.helm.limits.Memory = 3*time.Second, 300<<20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for name, c := range map[string]struct{ values, over string }{
		"memory": {"", "300 MiB of memory"},
		"time":   {"", "3s of processor time"},
		"tpl":    {`t: '{{ range until 30000 }}{{ range until 30000 }}{{ end }}{{ end }}'`, "3s of processor time"},
	} {
		began := time.Now()
		_, err := s.call(t.Context(), "POST bounded/upgrade", upgrade(name, c.values))
		t.Logf("%s: after %v: %v", name, time.Since(began).Round(time.Millisecond), err)
		if x := capability.ErrorFrame(err); x.Status != 422 || x.Message != "the chart with these values takes over "+c.over {
			t.Errorf("%s: %+v", name, x)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		t.Errorf("this process grew by %d MiB", grown>>20)
	}
}

// An upgrade would run other hooks: a release whose installation never succeeded
// would be deployed without what its pre-install hook was to do.
func TestAnInstallationThatNeverSucceededBeginsAgain(t *testing.T) {
	s := onStage(t, map[string]map[string]string{"hooked": hooked})
	s.fresh("again")
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		_, err := s.call(ctx, "POST again/upgrade", upgrade("hooked", "hook: pre-install"))
		cancel()
		if host.KindOf(err) != host.Timeout {
			t.Errorf("the hook did not run: %v", err)
		}
		s.helm.running.Wait()
	}
	if got := s.statuses("again"); got != "failed failed" {
		t.Errorf("the revisions are %q", got)
	}
	s.must("POST again/upgrade", upgrade("hooked", "a: 1"))
}
