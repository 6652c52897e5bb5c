package cluster_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// fakeAPI is an API server whose lists and watches a test writes. It allows every review,
// except in the namespaces of denied.
type fakeAPI struct {
	t       *testing.T
	set     *cluster.Set
	mu      sync.Mutex
	list    string // the answer to a list
	lists   int
	watches int
	denied  map[string]bool
	lines   chan string // of the present watch; "end" ends it
	status  int         // of lists, if not 0
}

func newFakeAPI(t *testing.T, shared bool) *fakeAPI {
	f := &fakeAPI{t: t, lines: make(chan string), denied: map[string]bool{}}
	server := httptest.NewServer(f)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: %q}}]}", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config := cluster.Config{Name: "dev", Kubeconfig: file}
	if shared {
		config.SharedWatches = []string{"*.example.com"}
	}
	set, err := cluster.Open(t.Context(), []cluster.Config{config}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.set = set
	t.Cleanup(server.Close) // after the set
	t.Cleanup(set.Close)
	return f
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "selfsubjectaccessreviews"):
		var review struct {
			Spec struct{ ResourceAttributes struct{ Namespace string } }
		}
		_ = json.NewDecoder(r.Body).Decode(&review)
		f.mu.Lock()
		allowed := !f.denied[review.Spec.ResourceAttributes.Namespace]
		f.mu.Unlock()
		fmt.Fprintf(w, `{"status":{"allowed":%v}}`, allowed)
	case r.URL.Query().Get("watch") != "":
		f.mu.Lock()
		f.watches++
		f.mu.Unlock()
		w.(http.Flusher).Flush()
		for {
			select {
			case line := <-f.lines:
				if line == "end" {
					return
				}
				fmt.Fprintln(w, line)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	case strings.HasPrefix(r.URL.Path, "/apis/example.com/"):
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lists++
		if f.status != 0 {
			w.WriteHeader(f.status)
		}
		fmt.Fprint(w, f.list)
	}
}

func (f *fakeAPI) answers(list string, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list, f.status = list, status
}

// ask watches as one user; what is refused is shown as KIND.
func (f *fakeAPI) ask(cursor string, wait time.Duration) (*cluster.Changes, string) {
	f.t.Helper()
	c, err := f.set.Watch(f.t.Context(), "dev", &host.Impersonation{User: "ann"}, &clustertest.Authority{}, &cluster.Watch{
		Collection: cluster.Collection{Group: "example.com", Version: "v1", Resource: "things"}, Cursor: cursor, Wait: wait, Limit: 1 << 20,
	})
	if err != nil {
		return &cluster.Changes{Cursor: cursor}, host.KindOf(err).String()
	}
	return c, shown(c)
}

// until asks until the answer is what is wanted.
func (f *fakeAPI) until(cursor, want string) *cluster.Changes {
	f.t.Helper()
	last := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c, got := f.ask(cursor, 0)
		if got == want {
			return c
		}
		last = got
	}
	f.t.Fatalf("got %q, want %q", last, want)
	return nil
}

func thing(name string, version int, value string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"n-a","resourceVersion":"%d","managedFields":[{}]},"value":%q}`, name, version, value)
}

func things(version int, items ...string) string {
	return fmt.Sprintf(`{"metadata":{"resourceVersion":"%d"},"items":[%s]}`, version, strings.Join(items, ","))
}

func event(kind, object string) string { return fmt.Sprintf(`{"type":%q,"object":%s}`, kind, object) }

func TestAWatchThatTheAPIServerForgetsIsListedAgain(t *testing.T) {
	f := newFakeAPI(t, true)
	f.answers(things(5, thing("a", 3, "1"), thing("b", 4, "1")), 0)
	c := f.until("", "complete a/a=1 a/b=1")
	f.lines <- event("MODIFIED", thing("a", 6, "2"))
	c = f.until(c.Cursor, "a/a=2")
	// While the watch was away, a changed, b was deleted and c came.
	f.answers(things(9, thing("a", 8, "3"), thing("c", 7, "1")), 0)
	f.lines <- event("ERROR", `{"kind":"Status","code":410}`)
	c = f.until(c.Cursor, "a/c=1 a/a=3 -a/b")
	// A bookmark moves the cursor, and the end of a watch loses nothing.
	f.lines <- event("BOOKMARK", `{"metadata":{"resourceVersion":"20"}}`)
	f.lines <- "end"
	f.lines <- event("DELETED", thing("c", 21, "1"))
	f.until(c.Cursor, "-a/c")
	f.until("", "complete a/a=3")
	if f.lists != 2 {
		t.Errorf("%d lists", f.lists)
	}
}

// A resource whose name is that of another collection shares nothing with it.
func TestCollectionsOfOneNameAndTwoPathsAreTwo(t *testing.T) {
	f := newFakeAPI(t, false)
	f.answers(things(5, thing("a", 3, "1")), 0)
	f.until("", "complete a/a=1")
	c, err := f.set.Watch(t.Context(), "dev", &host.Impersonation{User: "ann"}, &clustertest.Authority{}, &cluster.Watch{
		Collection: cluster.Collection{Version: "v1", Resource: "secrets", Name: "things.example.com"}, Limit: 1 << 20,
	})
	if err == nil { // the API server of this test has no Secrets
		t.Errorf("Secrets are %s", shown(c))
	}
}

func TestAFailureIsToldAndOvercome(t *testing.T) {
	f := newFakeAPI(t, true)
	f.answers(`{"kind":"Status","message":"things is forbidden"}`, 403)
	if _, got := f.ask("", 0); got != host.Upstream.String() {
		t.Errorf("the host may not watch what it shares: %s", got)
	}
	f.answers(`{`, 0)
	f.until("", host.Upstream.String())
	f.answers(things(5, thing("a", 3, "1")), 0)
	c := f.until("", "complete a/a=1")
	for _, bad := range []string{"<html>", event("MODIFIED", `"text"`), event("ERROR", `{"code":500}`)} {
		f.lines <- bad
		f.until(c.Cursor, host.Upstream.String())
		f.until(c.Cursor, "") // it lists again, and nothing has changed
	}
}

func TestAHistoryIsBoundedAndThenTheStateIsSent(t *testing.T) {
	f := newFakeAPI(t, true)
	f.answers(things(5, thing("a", 3, "0")), 0)
	c := f.until("", "complete a/a=0")
	for i := range 5000 {
		f.lines <- event("MODIFIED", thing("a", 6+i, fmt.Sprint(i)))
	}
	f.until(c.Cursor, "complete a/a=4999")
	f.until("4000/all", "a/a=4999") // the newest of those that came since
}

func TestManyObjectsComeInPagesAndTooManyAreRefused(t *testing.T) {
	f := newFakeAPI(t, true)
	var items []string
	for i := range 90 {
		items = append(items, thing(fmt.Sprintf("a%d", i), 3, strings.Repeat("x", 100<<10)))
	}
	f.answers(things(5, items...), 0)
	c, got := f.ask("", 0)
	all := len(c.List)
	for pages := 0; c.More; pages++ {
		if c, got = f.ask(c.Cursor, 0); c.Complete || pages > 100 {
			t.Fatalf("page %d: %s", pages, got[:min(len(got), 100)])
		}
		all += len(c.List)
	}
	if all != 90 {
		t.Errorf("%d objects in all pages", all)
	}
	big := thing("big", 6, strings.Repeat("x", 5<<20))
	for range 3 { // more than a collection may have, under other names
		name := fmt.Sprintf("big%d", time.Now().UnixNano())
		f.lines <- event("ADDED", strings.Replace(big, "big", name, 1))
	}
	f.until(c.Cursor, host.Unprocessable.String())
}

// The rest of a state can come from a replica that knows less: what it lacks follows.
func TestAPageOfAReplicaThatIsBehindLosesNothing(t *testing.T) {
	f := newFakeAPI(t, true)
	f.answers(things(5, thing("a", 3, "1"), thing("b", 3, "1")), 0)
	f.until("", "complete a/a=1 a/b=1")
	after := base64.RawURLEncoding.EncodeToString([]byte("n-a/a"))
	c := f.until("9/all/"+after, "a/b=1")
	f.lines <- event("MODIFIED", thing("b", 8, "2"))
	f.until(c.Cursor, "a/b=2")
}

func TestALostNamespaceDisappears(t *testing.T) {
	f := newFakeAPI(t, true)
	other := strings.Replace(thing("b", 4, "1"), "n-a", "n-b", 1)
	f.answers(things(5, thing("a", 3, "1"), other), 0)
	f.denied[""] = true
	f.until("", "complete a/a=1 b/b=1")
	f.mu.Lock()
	f.denied["n-b"] = true
	f.mu.Unlock()
	c := f.until("5/zzz", "complete a/a=1") // once the answer of before has expired
	if strings.Contains(shown(c), "b/b") {
		t.Errorf("got %s", shown(c))
	}
}
