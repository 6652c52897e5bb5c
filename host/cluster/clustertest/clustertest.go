// Package clustertest gives tests a real Kubernetes control plane: the dev
// cluster of examples/devcluster, one per test process.
//
// It finds or builds the program and starts it so that it ends with the test
// process in any case. All tests of a process share the cluster's objects: use
// unique names and remove the objects you make.
//
// Environment:
//
//	BULKHEAD_TEST_CLUSTER  directory with kubeconfig, host.kubeconfig and audit.log of a running cluster to use instead
//	BULKHEAD_DEVCLUSTER    the program, instead of building it (10 minutes the first time)
package clustertest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/buildlock"
)

// Name is the cluster's name in the Set that Cluster.Open makes.
const Name = "dev"

// Cluster is a running dev cluster.
type Cluster struct {
	Kubeconfig     string // of its administrator
	HostKubeconfig string // of the ServiceAccount that may only impersonate
	AuditLog       string

	hold io.Closer // the program's standard input; it ends when this does
}

// Identities in the dev cluster's RBAC; Nobody has no rights.
var (
	Viewer = &host.Impersonation{User: "vic@example.com", Groups: []string{"bulkhead:role:viewer"}}
	Editor = &host.Impersonation{User: "eve@example.com", Groups: []string{"bulkhead:role:editor"}}
	Nobody = &host.Impersonation{User: "nobody@example.com"}
)

var shared = sync.OnceValues(start)

// Start returns the cluster of this test process.
func Start(t testing.TB) *Cluster {
	t.Helper()
	c, err := shared()
	if err != nil {
		t.Fatalf("dev cluster: %v", err)
	}
	return c
}

// Open returns a Set with this cluster, as in a host.
func (c *Cluster) Open(t testing.TB) *cluster.Set {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	set, err := cluster.Open(t.Context(), []cluster.Config{{Name: Name, Kubeconfig: c.HostKubeconfig}}, logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	return set
}

func start() (*Cluster, error) {
	if dir := os.Getenv("BULKHEAD_TEST_CLUSTER"); dir != "" {
		return &Cluster{
			Kubeconfig:     filepath.Join(dir, "kubeconfig"),
			HostKubeconfig: filepath.Join(dir, "host.kubeconfig"),
			AuditLog:       filepath.Join(dir, "audit.log"),
		}, nil
	}
	program, err := buildlock.Program("devcluster", "BULKHEAD_DEVCLUSTER")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--exit-with-parent", "--quiet") // its data is temporary
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c, err := ready(stdout)
	if err != nil {
		_ = hold.Close()
		return nil, fmt.Errorf("%w (%v)", err, cmd.Wait())
	}
	c.hold = hold
	return c, nil
}

// ready reads the line that the program prints when it is ready.
func ready(r io.Reader) (*Cluster, error) {
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("it ended before it was ready: %w", err)
	}
	c := new(Cluster)
	if err := json.Unmarshal(line, c); err != nil {
		return nil, fmt.Errorf("it said %q: %w", line, err)
	}
	return c, nil
}

// Authority is a host.Authority that a test can revoke.
type Authority struct{ cause atomic.Pointer[error] }

// Alive reports whether Lose was not called yet.
func (a *Authority) Alive() bool { return a.cause.Load() == nil }

// Cause returns the argument of Lose, or nil.
func (a *Authority) Cause() error {
	if p := a.cause.Load(); p != nil {
		return *p
	}
	return nil
}

// Lose revokes the authority.
func (a *Authority) Lose(cause error) { a.cause.Store(&cause) }

// Event is a line of the API server's audit log, with the fields that tests use.
type Event struct {
	Verb             string
	RequestURI       string
	User             struct{ Username string }
	ImpersonatedUser *struct {
		Username string
		Groups   []string
	}
	ObjectRef      struct{ APIGroup, Resource, Subresource, Namespace, Name string }
	ResponseStatus struct{ Code int }
}

// Audited waits for an event that matches, for 10 s at most.
func (c *Cluster) Audited(t testing.TB, what string, match func(Event) bool) Event {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		for _, e := range c.Audit(t) {
			if match(e) {
				return e
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the audit log shows no %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Audit reads the present audit log.
func (c *Cluster) Audit(t testing.TB) []Event {
	t.Helper()
	f, err := os.Open(c.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []Event
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) == nil { // the last line may still be being written
			events = append(events, e)
		}
	}
	return events
}
