package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// auditRecord is what the tests read of a record.
type auditRecord struct {
	Seq                                                              uint64
	ID, Stage, Kind, Action, Target, User, Login, Method, OnBehalfOf string
	Outcome, Error, Decision, RequestID, Reason, Remote, Session     string
	Time                                                             time.Time
	Revision                                                         uint64
	Plugin                                                           struct {
		Name, Digest string
		Generation   uint64
	}
	Upstream struct {
		Requests int
		AuditIDs []string
	}
	Details map[string]any
}

// auditOf reads the records of a host's files.
func auditOf(t testing.TB, w *world, kinds ...string) (list []auditRecord) {
	t.Helper()
	store := &audit.Store{Dir: filepath.Join(w.dir, "data", "audit")}
	err := store.Export(context.Background(), &audit.Filter{}, func(line []byte) error {
		var r auditRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		if slices.Contains(kinds, r.Kind) {
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func verifyAudit(t testing.TB, w *world) *audit.Report {
	t.Helper()
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := c.AuditKey()
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Verify(c.AuditDir(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Sound() {
		t.Errorf("the audit is not sound: %v", r.Problems)
	}
	return r
}

// TestOneIdJoinsAll follows one change by its ids: from the answer to the audit, the
// decision, and the API server's own audit log.
func TestOneIdJoinsAll(t *testing.T) {
	c := clustertest.Start(t)
	w := prepare(t, c.HostKubeconfig)
	w.write(t, "bulkhead.yaml", read(t, w.dir+"/bulkhead.yaml")+"\npolicy: {log: {file: {path: ./decisions.jsonl}}}\n")
	w.open(t)
	eventually(t, "the cluster", func() bool { up, _ := w.server.countClusters(); return up == 1 })
	ed := w.as(t, "ed4")
	got := ed.do("POST", "/api/gitops/helm-upgrade", body(map[string]any{"cluster": "dev", "namespace": "shop", "release": "joined", "chart": "demo/hello"}),
		http.Header{"Content-Type": {"application/json"}, "X-Bulkhead-Reason": {"INC-7"}})
	defer ed.post("/api/gitops/helm-uninstall", map[string]any{"cluster": "dev", "namespace": "shop", "release": "joined"})
	if got.status != 200 {
		t.Fatalf("%v", got)
	}
	request := got.header.Get("X-Request-Id")
	var intent, outcome auditRecord
	eventually(t, "the outcome", func() bool {
		for _, r := range auditOf(t, w, audit.KindCapability) {
			switch {
			case r.RequestID != request:
			case r.Stage == audit.StageIntent:
				intent = r
			default:
				outcome = r
			}
		}
		return outcome.ID != ""
	})
	if intent.ID != outcome.ID || !strings.HasPrefix(intent.ID, request) || outcome.Outcome != string(audit.Success) {
		t.Fatalf("intent %+v, outcome %+v", intent, outcome)
	}
	if intent.User != "ed4@example.com" || intent.OnBehalfOf != "ed4@example.com" || intent.Method != "dev" || intent.Login == "" || intent.Reason != "INC-7" ||
		intent.Action != "gitops:helm.upgrade" || intent.Plugin.Digest == "" || intent.Plugin.Generation == 0 || intent.Revision == 0 || !strings.Contains(intent.Target, "dev/shop/joined") {
		t.Errorf("%+v", intent)
	}
	if outcome.Upstream.Requests == 0 || !slices.Equal(outcome.Upstream.AuditIDs, []string{intent.ID}) {
		t.Errorf("upstream %+v", outcome.Upstream)
	}
	eventually(t, "the decision", func() bool {
		for line := range strings.Lines(read(t, w.dir+"/decisions.jsonl")) {
			var d struct {
				ID     string `json:"decision_id"`
				Custom struct{ RequestID string }
			}
			if json.Unmarshal([]byte(line), &d) == nil && d.ID == intent.Decision {
				return d.Custom.RequestID == request
			}
		}
		return false
	})
	eventually(t, "the API server's log", func() bool {
		return slices.ContainsFunc(apiWrites(t, c), func(e apiWrite) bool {
			return e.AuditID == intent.ID && e.ImpersonatedUser.Username == "ed4@example.com" && !e.Received.Before(intent.Time)
		})
	})
}

// apiWrite is a line of the API server's audit log about a change.
type apiWrite struct {
	AuditID          string
	Verb             string
	Received         time.Time `json:"requestReceivedTimestamp"`
	ImpersonatedUser struct{ Username string }
	ObjectRef        struct{ Resource, Namespace, Name string }
}

// apiWrites returns the changes that users made, as the API server recorded them.
func apiWrites(t testing.TB, c *clustertest.Cluster) (list []apiWrite) {
	t.Helper()
	f, err := os.Open(c.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e apiWrite
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the last line may be incomplete
		}
		reviews := strings.HasPrefix(e.ObjectRef.Resource, "selfsubject") // a question, not a change
		if e.ImpersonatedUser.Username != "" && !reviews && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, e.Verb) {
			list = append(list, e)
		}
	}
	return list
}

// TestEveryEffectIsInTheAuditOnce kills a host at random moments while users change
// releases. Whatever the API server saw has its intent before it, no intent is there twice,
// and after the next start each has one outcome.
func TestEveryEffectIsInTheAuditOnce(t *testing.T) {
	c := clustertest.Start(t)
	w := prepare(t, c.HostKubeconfig)
	w.write(t, "charts/small/Chart.yaml", "apiVersion: v2\nname: small\nversion: 1.0.0\n")
	w.write(t, "charts/small/templates/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {at: {{ .Values.at | quote }}}\n")
	config := read(t, w.dir+"/bulkhead.yaml")
	from, to := strings.Index(config, "helm: {repositories"), strings.Index(config, "plugins:\n")
	w.write(t, "bulkhead.yaml", config[:from]+
		"publicURL: http://127.0.0.1:8080\nlimits: {rates: {client: -1, account: -1}}\nhelm: {repositories: [{name: demo, path: ./charts}]}\n"+config[to:])
	began := time.Now()
	random := rand.New(rand.NewPCG(uint64(began.UnixNano()), 1))
	var changes, answered atomic.Int64
	for range writes() {
		process := w.startProcess(t)
		users := []*actor{w.as(t, "ed1"), w.as(t, "ed2"), w.as(t, "ed3")}
		eventually(t, "the cluster at the host", func() bool { return users[0].get("/api/gitops/helm-releases?cluster=dev").status == 200 })
		stopped := make(chan struct{})
		var running sync.WaitGroup
		for i, a := range users {
			running.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stopped:
						return
					default:
					}
					changes.Add(1)
					got, err := a.try(t.Context(), "POST", "/api/gitops/helm-upgrade", body(map[string]any{
						"cluster": "dev", "namespace": "shop", "release": fmt.Sprintf("kept-%d", i), "chart": "demo/small", "values": fmt.Sprintf("at: %d", n),
					}), asJSON)
					if err == nil && got.status == 200 {
						answered.Add(1)
					}
				}
			})
		}
		time.Sleep(time.Duration(random.IntN(1200)) * time.Millisecond) // the moment of the kill
		if err := process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		close(stopped)
		running.Wait()
	}
	process := w.startProcess(t) // marks what was begun
	eve := w.as(t, "eve")
	eventually(t, "the cluster at the host", func() bool { return eve.get("/api/gitops/helm-releases?cluster=dev").status == 200 })
	for i := range 3 {
		eve.post("/api/gitops/helm-uninstall", map[string]any{"cluster": "dev", "namespace": "shop", "release": fmt.Sprintf("kept-%d", i)})
	}
	if err := process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	report := verifyAudit(t, w)
	intents, outcomes, unknown := map[string]time.Time{}, map[string]int{}, 0
	for _, r := range auditOf(t, w, audit.KindCapability) {
		switch r.Stage {
		case audit.StageIntent:
			if _, twice := intents[r.ID]; twice {
				t.Errorf("the intent %s is there twice", r.ID)
			}
			intents[r.ID] = r.Time
		case audit.StageOutcome:
			outcomes[r.ID]++
			if r.Outcome == string(audit.Unknown) {
				unknown++
			}
		}
	}
	seen := 0
	for _, e := range apiWrites(t, c) {
		if e.Received.Before(began) || !strings.HasPrefix(e.ImpersonatedUser.Username, "e") || !strings.Contains(e.ObjectRef.Name, "kept-") {
			continue // of another test
		}
		seen++
		if at, ok := intents[e.AuditID]; !ok || at.After(e.Received) {
			t.Errorf("%s %s %s/%s by %s at %v has no intent before it (id %s, intent at %v)", e.Verb, e.ObjectRef.Resource, e.ObjectRef.Namespace,
				e.ObjectRef.Name, e.ImpersonatedUser.Username, e.Received, e.AuditID, at)
		}
	}
	for id := range intents {
		if outcomes[id] != 1 && !slices.Contains(report.Open, id) {
			t.Errorf("%s has %d outcomes", id, outcomes[id])
		}
	}
	t.Logf("%d changes, %d answered; %d writes at the API server, %d intents, %d outcomes not known", changes.Load(), answered.Load(), seen, len(intents), unknown)
	if seen == 0 || unknown == 0 {
		t.Error("no change was cut short")
	}
}

// TestTheAuditIsForThoseWhoMay reads it over HTTP, as it is written, and finds who looked.
func TestTheAuditIsForThoseWhoMay(t *testing.T) {
	w := ownHost(t)
	ada, vic := w.as(t, "ada"), w.as(t, "vic")
	for _, path := range []string{"", "/verify", "/export"} {
		if got := vic.get("/api/admin/audit" + path); got.status != 403 {
			t.Errorf("a viewer, %s: %v", path, got)
		}
		if got := ada.get("/api/admin/audit" + path); got.status != 200 {
			t.Errorf("an administrator, %s: %v", path, got)
		}
	}
	follow, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/admin/audit?follow=true&kind=signin&user=wes@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := ada.http.Do(follow)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	lines.Scan()
	wes := w.as(t, "wes")
	for stage := ""; stage != audit.StageOutcome && lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var r auditRecord
			if err := json.Unmarshal([]byte(data), &r); err != nil || r.User != "wes@example.com" {
				t.Fatalf("%s, %v", data, err)
			}
			stage = r.Stage
		}
	}
	wes.post("/auth/logout", "{}")
	w.anonymous(t).post("/auth/login", map[string]string{"user": "nobody@nowhere.example"})
	ada.post("/api/admin/config/reload", nil)
	for query, want := range map[string]int{
		"kind=signin&user=wes@example.com": 2, "kind=signout&user=wes@example.com": 1, "kind=signin&outcome=refused": 1,
		"kind=read&user=ada@example.com&action=admin:audit.*": -1, "kind=admin&action=admin:config.reload": 2, "kind=host": 1, "kind=plugin": -1, "kind=config": -1,
	} {
		eventually(t, query, func() bool {
			var page audit.Page
			ada.get("/api/admin/audit?limit=1000&"+query).json(t, &page)
			return len(page.Records) == want || want < 0 && len(page.Records) > 0
		})
	}
	var first, second audit.Page
	ada.get("/api/admin/audit?limit=2&order=oldest").json(t, &first)
	ada.get(fmt.Sprintf("/api/admin/audit?limit=2&order=oldest&cursor=%d", first.Next)).json(t, &second)
	var a, b auditRecord
	if len(first.Records) != 2 || len(second.Records) != 2 || json.Unmarshal(first.Records[1], &a) != nil || json.Unmarshal(second.Records[0], &b) != nil || b.Seq != a.Seq+1 {
		t.Errorf("%s, then %s", first.Records, second.Records)
	}
	for _, query := range []string{"usr=x", "limit=0", "user=a&user=b", "since=yesterday", "order=up"} {
		if got := ada.get("/api/admin/audit?" + query); got.status != 400 {
			t.Errorf("%s: %v", query, got)
		}
	}
	// Another destination counts from the next record on; the chain goes on.
	w.write(t, "bulkhead.yaml", read(t, w.dir+"/bulkhead.yaml")+"\naudit: {labels: {site: east}}\n")
	eventually(t, "the label", func() bool {
		ada.get("/api/admin/audit?limit=1")
		return strings.Contains(ada.get("/api/admin/audit?limit=1").body, `"labels":{"site":"east"}`)
	})
	eventually(t, "the record that the audit changes", func() bool {
		return strings.Contains(ada.get("/api/admin/audit?kind=config&action=audit.change").body, `"id"`)
	})
	verifyAudit(t, w)
}
