package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

const (
	benchReleases = 200
	benchClusters = 5 // names of one dev cluster, as five clusters
	benchViewers  = 20
)

// BenchmarkReleasesOfClusters measures the list of 200 releases in each of 5 clusters, and
// what viewers of the stream of this list cost: the watches of API servers, and the host's
// memory with the guests'.
func BenchmarkReleasesOfClusters(b *testing.B) {
	c := clustertest.Start(b)
	var text strings.Builder
	text.WriteString(`{apiVersion: v1, kind: Namespace, metadata: {name: bench-releases}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: bulkhead-shared-releases}
rules: [{apiGroups: [""], resources: [secrets], verbs: [list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bulkhead-shared-releases}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bulkhead-shared-releases}
subjects: [{kind: ServiceAccount, name: bulkhead, namespace: bulkhead-system}]
`)
	for i := range benchReleases {
		record := fmt.Sprintf(`{"name":"r%[1]d","namespace":"bench-releases","version":1,"info":{"status":"deployed","last_deployed":"2026-01-02T03:04:05Z"},"chart":{"metadata":{"name":"demo","version":"1.0.0"}},"manifest":%[2]q}`, i, strings.Repeat("a: b\n", 1000))
		packed := base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(record))))
		fmt.Fprintf(&text, "---\n{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: sh.helm.release.v1.r%[1]d.v1, namespace: bench-releases, labels: {owner: helm, name: r%[1]d, status: deployed, version: \"1\"}}, data: {release: %[2]s}}\n", i, packed)
	}
	if err := c.Apply(b, []byte(text.String())); err != nil {
		b.Fatal(err)
	}
	w := prepare(b, c.HostKubeconfig)
	config, err := os.ReadFile(filepath.Join(w.dir, "bulkhead.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	var clusters, names []string
	for i := range benchClusters {
		names = append(names, fmt.Sprintf("c%d", i))
		clusters = append(clusters, fmt.Sprintf("{name: c%d, kubeconfig: %q, sharedWatches: [releases.helm.sh]}", i, c.HostKubeconfig))
	}
	lines := strings.Split(string(config), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "clusters:") {
			lines[i] = "clusters: [" + strings.Join(clusters, ", ") + "]"
		}
	}
	w.write(b, "bulkhead.yaml", strings.Replace(strings.Join(lines, "\n"), "config: {defaultCluster: dev}", "config: {clusters: ["+strings.Join(names, ", ")+"]}", 1))
	w.open(b)
	ada := w.as(b, "ada")
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if got := ada.get("/api/gitops/helm-releases?namespace=bench-releases"); got.status != 200 || strings.Count(got.body, `"chart":"demo"`) != benchReleases*benchClusters {
			b.Fatalf("the list: %d with %d releases", got.status, strings.Count(got.body, `"chart":"demo"`))
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "list-p50-ms")
	watchReleases(b, w)
}

// watchReleases reports what viewers of the stream cost.
func watchReleases(b *testing.B, w *world) {
	used := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	before := used()
	var first time.Duration
	for i := range benchViewers {
		began := time.Now()
		names := strings.Fields(people["editor"] + " " + people["viewer"] + " " + people["admin"])
		resp, err := w.as(b, names[i%len(names)]).stream("/api/gitops/helm-releases/stream?follow=true&namespace=bench-releases")
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		for all := 0; all < benchClusters; {
			n, err := resp.Body.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			all += strings.Count(string(buf[:n]), "event: cluster_data")
		}
		if i == 0 {
			first = time.Since(began)
		}
		b.Cleanup(func() { _ = resp.Body.Close() })
	}
	b.ReportMetric(float64(w.server.watches()), "watches")
	b.ReportMetric(float64(first.Milliseconds()), "first-stream-ms")
	b.ReportMetric((used()-before)/benchViewers, "heap-MiB/viewer")
}

// stream begins a request whose answer does not end.
func (a *actor) stream(path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(context.Background(), "GET", a.w.url+path, nil)
	if err != nil {
		return nil, err
	}
	return a.http.Do(req)
}
