package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// heavy is an API server whose namespaces hold 1 MiB each.
func heavy(t *testing.T, served *atomic.Int64) *cluster.Set {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/") {
			served.Add(1)
			fmt.Fprintf(w, `{"apiVersion":"v1","kind":"PodList","items":[{"x":"%s"}]}`, strings.Repeat("x", 1<<20))
		}
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "config")
	config := `{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}],
		clusters: [{name: c, cluster: {server: "` + server.URL + `"}}], users: [{name: u, user: {token: x}}]}`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := cluster.Open(t.Context(), []cluster.Config{{Name: "dev", Kubeconfig: file}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	return set
}

func TestMergedListStopsWhereAnswersEnd(t *testing.T) {
	for namespaces, fits := range map[int]bool{4: true, 200: false} {
		var served atomic.Int64
		permitted := make([]string, namespaces)
		for i := range permitted {
			permitted[i] = fmt.Sprint("n", i)
		}
		granted := capability.Grant{Clusters: []string{"*"}, Namespaces: permitted, Resources: []string{"*"}, Verbs: []string{"*"}}
		resp, err := fetchWithin(t, New(heavy(t, &served)), granted)
		if fits && (err != nil || len(resp.Body) < namespaces<<20) || !fits && host.KindOf(err) != host.Upstream {
			t.Errorf("%d namespaces: %v", namespaces, err)
		}
		if n := served.Load(); n > abi.MaxBody>>20+parallel {
			t.Errorf("%d namespaces were asked for", n)
		}
	}
}

// fetchWithin lists the pods of every namespace that is granted.
func fetchWithin(t *testing.T, k *Kube, grant capability.Grant) (*abi.Response, error) {
	t.Helper()
	policy := func(context.Context, *host.Question) host.Decision {
		return host.Decision{Allow: true, Obligations: host.Obligations{Impersonate: clustertest.Viewer}}
	}
	granted, err := capability.NewBroker(policy, slog.New(slog.DiscardHandler), k).Grant("p", map[string][]capability.Grant{"kube": {grant}})
	if err != nil {
		t.Fatal(err)
	}
	caller := &capability.Caller{Principal: &host.Principal{User: "x"}, Authority: &clustertest.Authority{}}
	return granted.Fetch(t.Context(), caller, "kube", &abi.Request{Method: "GET", URL: "kube://dev/api/v1/pods"})
}
