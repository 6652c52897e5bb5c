package server

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// writes returns how many changes of releases TestNoReleaseIsLeftPending cuts short:
// BULKHEAD_SOAK, or 1000 if that is 1.
func writes() int {
	n, err := strconv.Atoi(os.Getenv("BULKHEAD_SOAK"))
	switch {
	case err == nil && n > 1:
		return n
	case soaking:
		return 1000
	}
	return 20
}

// together is how many of them are in progress at a time, one for each editor.
const together = 5

var editors = strings.Fields(people["editor"])

// TestNoReleaseIsLeftPending begins changes of releases, some of which wait in a hook, and
// cuts them short at a random moment: by logout, demotion, deadline, or SIGKILL of the host.
// Whatever that leaves, the next upgrade, by another host, succeeds within 30 seconds and
// without a person's help.
func TestNoReleaseIsLeftPending(t *testing.T) {
	c := clustertest.Start(t)
	open := func() *world {
		w := prepare(t, c.HostKubeconfig)
		w.write(t, "charts/hooked/Chart.yaml", "apiVersion: v2\nname: hooked\nversion: 1.0.0\n")
		w.write(t, "charts/hooked/templates/all.yaml", hookChart)
		config := read(t, w.dir+"/bulkhead.yaml")
		from := strings.Index(config, "helm: {repositories")
		to := strings.Index(config, "plugins:\n")
		w.write(t, "bulkhead.yaml", config[:from]+
			"publicURL: http://127.0.0.1:8080\nlimits: {rates: {client: -1, account: -1}}\nhelm: {repositories: [{name: demo, path: ./charts}]}\n"+config[to:])
		return w
	}
	victim, rescuer := open(), open()
	victim.write(t, "bulkhead.yaml", strings.Replace(read(t, victim.dir+"/bulkhead.yaml"), "config: {defaultCluster: dev}", "config: {defaultCluster: dev}\n    limits: {timeout: 15s}", 1))
	process := victim.startProcess(t)
	rescuer.open(t)
	roles := read(t, victim.dir+"/directory/people.yaml")
	eventually(t, "the cluster", func() bool { up, _ := rescuer.server.countClusters(); return up == 1 })
	var rescuers []*actor
	for _, name := range editors {
		rescuers = append(rescuers, rescuer.as(t, name))
	}
	upgraded := func(i int) answer {
		return rescuers[i%len(rescuers)].post("/api/gitops/helm-upgrade", fields(i, map[string]any{"chart": "demo/hooked"}))
	}
	defer each(together, func(i int) { rescuers[i%len(rescuers)].post("/api/gitops/helm-uninstall", fields(i, nil)) })

	kinds := []string{"logout", "demotion", "deadline", "SIGKILL"}
	var mu sync.Mutex
	outcomes, left, longest := map[string]int{}, map[string]int{}, time.Duration(0)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for done := 0; done < writes(); done += together {
		kind := kinds[done/together%len(kinds)]
		var signedIn []*actor
		for _, name := range editors {
			signedIn = append(signedIn, victim.as(t, name))
		}
		eventually(t, "the cluster at the host", func() bool { return signedIn[0].get("/api/gitops/helm-releases?cluster=dev").status == 200 })
		delays, routes, hooks := make([]time.Duration, together), make([]int, together), make([]bool, together)
		for i := range together {
			delays[i], routes[i], hooks[i] = time.Duration(random.IntN(500))*time.Millisecond, random.IntN(4), random.IntN(2) == 0
		}
		if kind != "deadline" {
			delays[0], routes[0], hooks[0] = 0, 0, true // one that certainly waits
		}
		var begun sync.WaitGroup
		for i := range together {
			begun.Go(func() {
				time.Sleep(delays[i]) // so that the cut meets every moment of some change
				got, err := signedIn[i%len(signedIn)].try(t.Context(), "POST", "/api/gitops/"+route(routes[i]), body(fields(i, changeOf(routes[i], hooks[i]))), asJSON)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					outcomes[kind+": no answer"]++
				} else {
					outcomes[fmt.Sprint(kind, ": ", got.status)]++
				}
			})
		}
		// The others are cut at a moment of their own, once the one in the hook waits.
		waits := false
		for end := time.Now().Add(12 * time.Second); kind != "deadline" && !waits && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
			waits = pending(history(rescuers[0], 0))
		}
		time.Sleep(time.Duration(random.IntN(600)) * time.Millisecond)
		switch kind {
		case "logout":
			for _, a := range signedIn {
				a.post("/auth/logout", map[string]string{"scope": "user"})
			}
		case "demotion":
			victim.write(t, "directory/people.yaml", strings.ReplaceAll(roles, "roles: [editor]", "roles: [viewer]"))
		case "SIGKILL":
			if err := process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		// The rescue does not wait until the host has noticed anything.
		each(together, func(i int) {
			began := time.Now()
			var got answer
			for {
				got = upgraded(i)
				took := time.Since(began)
				if got.status != http.StatusConflict || took > 30*time.Second {
					mu.Lock()
					longest = max(longest, took)
					mu.Unlock()
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if got.status != 200 {
				t.Errorf("%s: the next upgrade of release %d: %v", kind, i, got)
			}
			if strings.Contains(got.body, `"repaired"`) {
				left[kind]++
			} else if kind == "SIGKILL" && waits && i == 0 {
				t.Errorf("the upgrade after SIGKILL does not say what it repaired: %v", got)
			}
		})
		begun.Wait() // what came after the rescue is over as well
		each(together, func(i int) {
			if got := upgraded(i); got.status != 200 {
				t.Errorf("%s: an upgrade of release %d after all: %v", kind, i, got)
			}
			if h := history(rescuers[0], i); pending(h) || !strings.Contains(h, `"deployed"`) {
				t.Errorf("%s: release %d is left as %s", kind, i, h)
			}
		})
		switch kind {
		case "demotion":
			victim.write(t, "directory/people.yaml", roles)
			eventually(t, "the roles", func() bool { return signedIn[0].post("/api/gitops/helm-uninstall", "{}").status == 400 })
		case "SIGKILL":
			process = victim.startProcess(t)
		}
	}
	t.Logf("answers %v; repaired %v; the longest wait for the next upgrade was %v", outcomes, left, longest.Round(time.Millisecond))
	if outcomes["SIGKILL: no answer"] == 0 {
		t.Error("no change was cut short by SIGKILL")
	}
}

// history returns the history of the release with this number.
func history(a *actor, i int) string {
	return a.get(fmt.Sprintf("/api/gitops/helm-history?cluster=dev&namespace=shop&release=cut-%d", i)).body
}

// pending reports whether a revision waits for its change.
func pending(history string) bool {
	return strings.Contains(history, `"pending-`) || strings.Contains(history, `"uninstalling"`)
}

func body(v any) *strings.Reader {
	text, _ := json.Marshal(v)
	return strings.NewReader(string(text))
}

// each calls f for 0 to n-1 at the same time.
func each(n int, f func(i int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f(i) })
	}
	wait.Wait()
}

func route(kind int) string {
	return []string{"helm-upgrade", "helm-upgrade", "helm-rollback", "helm-uninstall"}[kind]
}

// fields are those of a request about the release with this number.
func fields(i int, more map[string]any) map[string]any {
	m := map[string]any{"cluster": "dev", "namespace": "shop", "release": fmt.Sprintf("cut-%d", i)}
	for k, v := range more {
		m[k] = v
	}
	return m
}

// changeOf returns the fields of a route; hook says that the change waits in a hook that never ends.
func changeOf(kind int, hook bool) map[string]any {
	switch kind {
	case 2:
		return map[string]any{"revision": 1}
	case 3:
		return nil
	}
	event := ""
	if hook {
		event = "pre-install,pre-upgrade"
	}
	return map[string]any{"chart": "demo/hooked", "values": fmt.Sprintf("hook: %q", event)}
}
