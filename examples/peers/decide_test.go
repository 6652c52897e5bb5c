package peers

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/plugins"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/server"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

//go:embed plain.rego
var plain string

// BenchmarkDecide asks Bulkhead, OPA as a library and OPA as a server the same
// question: may ann, a member of some of the teams with 16 permissions each, watch a
// deployment that a permission of her last team names? Each question to OPA names
// another object, which Bulkhead's rules do not read. The questions of "evaluated"
// state different reasons, so that the cache does not answer.
func BenchmarkDecide(b *testing.B) {
	for _, teams := range []int{10, 100, 1000, 10000} {
		for _, memberships := range []int{1, 5, 20} {
			if memberships > teams {
				continue
			}
			b.Run(fmt.Sprintf("teams=%d/memberships=%d", teams, memberships), func(b *testing.B) {
				w := world{teams, memberships}
				cached, evaluated := w.bulkhead(b)
				library, served := w.opa(b)
				for _, c := range []struct {
					name string
					ask  func(i int) bool
				}{{"cached", cached}, {"evaluated", evaluated}, {"opa-library", library}, {"opa-server", served}} {
					b.Run(c.name, func(b *testing.B) { measure(b, c.ask) })
				}
			})
		}
	}
}

// measure reports the median too, since other load distorts the mean.
func measure(b *testing.B, ask func(i int) bool) {
	var took []time.Duration
	i := 0
	for b.Loop() {
		began := time.Now()
		for range 8 { // reading the clock takes as long as a cached decision
			if i++; !ask(i) {
				b.Fatal("refused")
			}
		}
		took = append(took, time.Since(began)/8)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i), "ns/op")
}

// world is the number of teams, and of those that ann belongs to.
type world struct{ teams, memberships int }

func (w world) of() (teams []string) {
	for i := range w.memberships {
		teams = append(teams, fmt.Sprintf("team-%d", w.teams-w.memberships+i))
	}
	return teams
}

func (w world) namespace() string { return fmt.Sprintf("ns-%d-11", w.teams-1) }

func permissions(team int) (list []map[string]any) {
	for j := range 16 {
		list = append(list, map[string]any{
			"clusters": []any{"dev", "prod"}, "namespaces": []any{fmt.Sprintf("ns-%d-%d", team, j)},
			"resources": []any{"pods", "pods/log", "deployments.apps"}, "verbs": []any{"get", "list", "watch"},
		})
	}
	return list
}

func (w world) bulkhead(b *testing.B) (cached, evaluated func(int) bool) {
	dir := b.TempDir()
	var text strings.Builder
	flush := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text.String()), 0o600); err != nil {
			b.Fatal(err)
		}
		text.Reset()
	}
	const head = "---\napiVersion: bulkhead.internal/v1\nkind: %s\nmetadata: {name: x}\nspec: %s\n"
	for i := range w.teams {
		spec, err := json.Marshal(map[string]any{"id": fmt.Sprintf("team-%d", i), "permissions": map[string]any{
			"actions": []string{"pods:*"}, "plugins": []any{map[string]any{"name": "pods"}}, "resources": permissions(i),
		}})
		if err != nil {
			b.Fatal(err)
		}
		if fmt.Fprintf(&text, head, "Team", spec); i%500 == 499 {
			flush(fmt.Sprintf("%d.yaml", i))
		}
	}
	fmt.Fprintf(&text, head, "User", fmt.Sprintf("{id: ann, teams: [%s]}", strings.Join(w.of(), ", ")))
	flush("last.yaml")
	people, err := directory.Open(b.Context(), directory.Config{Dir: dir, Base: policies.Roles(), Kinds: capability.NewCatalog(&capability.Kind{
		Name: "kube", Permission: func(c *host.CapabilityCall) (resource, verb string) { return c.GroupResource(), c.Verb },
	})})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = people.Close() })
	if problems := people.Problems(); len(problems) > 0 {
		b.Fatal(problems[0])
	}
	engine, err := authz.Open(b.Context(), authz.Config{Directory: people, Deadline: 20 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = engine.Close() })
	q := &host.Question{
		Principal: &host.Principal{User: "ann"},
		Route:     host.Route{Plugin: "pods", Name: "list", Action: "pods:list.read", Method: "GET", Path: "/list"},
		Capability: &host.CapabilityCall{
			Name: "kube", Verb: "watch", Group: "apps", Resource: "deployments", Cluster: "prod", Namespace: w.namespace(), Object: "web",
		},
	}
	ask := func(reason string) bool {
		q.Reason = reason
		d := engine.Decide(b.Context(), q)
		return d.Allow && d.Cached == (reason == "")
	}
	ask("") // from now on it is cached
	return func(int) bool { return ask("") }, func(i int) bool { return ask(fmt.Sprint("INC-", i)) }
}

func (w world) opa(b *testing.B) (library, served func(int) bool) {
	teams := map[string]any{}
	for i := range w.teams {
		teams[fmt.Sprintf("team-%d", i)] = permissions(i)
	}
	data := jsonValue(b, map[string]any{"teams": teams, "members": map[string]any{"ann": w.of()}})
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true))
	input := func(i int) map[string]any {
		return map[string]any{
			"user": "ann", "cluster": "prod", "namespace": w.namespace(), "resource": "deployments.apps", "verb": "watch", "object": fmt.Sprint("web-", i),
		}
	}
	query, err := rego.New(rego.Query("data.peers.decision"), rego.Module("plain.rego", plain), rego.Store(store)).PrepareForEval(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	library = func(i int) bool {
		set, err := query.Eval(b.Context(), rego.EvalInput(input(i)))
		return err == nil && len(set) == 1 && set[0].Expressions[0].Value.(map[string]any)["allow"] == true
	}
	return library, serve(b, store, input)
}

// jsonValue returns v after encoding and decoding it as JSON.
func jsonValue(b *testing.B, v any) map[string]any {
	text, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		b.Fatal(err)
	}
	return out
}

// serve starts OPA's own server on the store and returns a function that asks it on
// one persistent connection.
func serve(b *testing.B, store storage.Store, input func(int) map[string]any) func(int) bool {
	err := storage.Txn(b.Context(), store, storage.WriteParams, func(t storage.Transaction) error {
		return store.UpsertPolicy(b.Context(), t, "plain.rego", []byte(plain))
	})
	if err != nil {
		b.Fatal(err)
	}
	manager, err := plugins.New(nil, "peers", store)
	if err != nil {
		b.Fatal(err)
	}
	if err := manager.Init(b.Context()); err != nil {
		b.Fatal(err)
	}
	s, err := server.New().WithAddresses([]string{"127.0.0.1:0"}).WithStore(store).WithManager(manager).Init(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	loops, err := s.Listeners()
	if err != nil {
		b.Fatal(err)
	}
	for _, loop := range loops {
		go func() { _ = loop() }() // ends at Shutdown
	}
	b.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	for late := time.Now().Add(10 * time.Second); len(s.Addrs()) == 0 || strings.HasSuffix(s.Addrs()[0], ":0"); {
		if time.Now().After(late) {
			b.Fatal("OPA's server does not listen")
		}
		<-time.After(time.Millisecond)
	}
	url := "http://" + s.Addrs()[0] + "/v1/data/peers/decision"
	client := &http.Client{Timeout: 20 * time.Second}
	b.Cleanup(client.CloseIdleConnections)
	return func(i int) bool {
		body, err := json.Marshal(map[string]any{"input": input(i)})
		if err != nil {
			return false
		}
		resp, err := client.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var out struct{ Result struct{ Allow bool } }
		text, err := io.ReadAll(resp.Body)
		return err == nil && json.Unmarshal(text, &out) == nil && out.Result.Allow
	}
}
