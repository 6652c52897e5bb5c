package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

func as(t *testing.T, user *host.Impersonation) *cluster.Client {
	t.Helper()
	c, err := clustertest.Start(t).Open(t).As(t.Context(), clustertest.Name, user, &clustertest.Authority{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// aPod returns a running pod of the Deployment web in shop.
func aPod(t *testing.T, c *cluster.Client) string {
	t.Helper()
	resp, err := c.Do(t.Context(), &cluster.Request{Method: http.MethodGet, Path: "/api/v1/namespaces/shop/pods",
		Query: url.Values{"labelSelector": {"app=web"}}, Limit: 1 << 20})
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal(resp.Body, &list); err != nil || len(list.Items) == 0 {
		t.Fatalf("no pods: %v", err)
	}
	return list.Items[0].Metadata.Name
}

func TestViewerMayReadPodsAndNotDeleteThem(t *testing.T) {
	viewer := as(t, clustertest.Viewer)
	pod := aPod(t, viewer)
	path := "/api/v1/namespaces/shop/pods/" + pod
	resp, err := viewer.Do(t.Context(), &cluster.Request{Method: http.MethodDelete, Path: path, Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	refusal, ok := errors.AsType[*host.Error](resp.Err())
	if !ok || refusal.HTTPStatus() != 403 || !strings.Contains(refusal.Message, clustertest.Viewer.User) {
		t.Errorf("got %d, %v", resp.Status, resp.Err())
	}
	if _, err := as(t, clustertest.Nobody).Namespaces(t.Context()); host.KindOf(err) != host.Forbidden {
		t.Errorf("a user without rights lists namespaces: %v", err)
	}
	event := clustertest.Start(t).Audited(t, "refused deletion by the viewer", func(e clustertest.Event) bool {
		return e.Verb == "delete" && e.ObjectRef.Name == pod
	})
	if event.ImpersonatedUser == nil || event.ImpersonatedUser.Username != clustertest.Viewer.User || event.ResponseStatus.Code != 403 {
		t.Errorf("the audit log says %+v", event)
	}
	if event.User.Username != "system:serviceaccount:bulkhead-system:bulkhead" {
		t.Errorf("asked by %q", event.User.Username)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	_, err := as(t, clustertest.Viewer).Do(t.Context(), &cluster.Request{Method: http.MethodGet, Path: "/api/v1/pods", Limit: 100})
	if host.KindOf(err) != host.Upstream {
		t.Errorf("got %v", err)
	}
}

func TestClusterThatAppearsLater(t *testing.T) {
	real := clustertest.Start(t)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	set, err := cluster.Open(t.Context(), []cluster.Config{{Name: "dev", Kubeconfig: file, WaitForKubeconfig: true}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if _, err := set.As(t.Context(), "dev", clustertest.Viewer, &clustertest.Authority{}); host.KindOf(err) != host.Unavailable {
		t.Fatalf("before the file is there: %v", err)
	}
	text, err := os.ReadFile(real.HostKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !set.Ready()[0].Ready; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never started: %+v", set.Ready())
		}
	}
	c, err := set.As(t.Context(), "dev", clustertest.Viewer, &clustertest.Authority{})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := c.Namespaces(t.Context()); err != nil || len(names) == 0 {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestExecEchoAndExitCode(t *testing.T) {
	c := as(t, clustertest.Editor)
	pod := aPod(t, c)
	var out, errOut bytes.Buffer
	started := 0
	code, err := c.Exec(t.Context(),
		cluster.ExecOptions{Namespace: "shop", Pod: pod, Command: []string{"/bin/sh", "-c", "cat; echo no >&2; exit 7"}},
		cluster.Streams{Stdin: strings.NewReader("to the end\n"), Stdout: &out, Stderr: &errOut, Started: func() { started++ }})
	if err != nil || code != 7 || out.String() != "to the end\n" || errOut.String() != "no\n" || started != 1 {
		t.Errorf("got %d, %v, %q, %q, started %d times", code, err, out.String(), errOut.String(), started)
	}
}

func TestExecRefusalKeepsItsStatus(t *testing.T) {
	c := as(t, clustertest.Viewer)
	_, err := c.Exec(t.Context(), cluster.ExecOptions{Namespace: "shop", Pod: aPod(t, c), Command: []string{"true"}},
		cluster.Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	if e, ok := errors.AsType[*host.Error](err); !ok || e.HTTPStatus() != 403 {
		t.Errorf("got %v", err)
	}
	editor := as(t, clustertest.Editor)
	_, err = editor.Exec(t.Context(), cluster.ExecOptions{Namespace: "shop", Pod: "absent", Command: []string{"true"}},
		cluster.Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	if e, ok := errors.AsType[*host.Error](err); !ok || e.HTTPStatus() != 404 {
		t.Errorf("got %v", err)
	}
}

// lines sends each line to a channel.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- strings.TrimSpace(string(p))
	return len(p), nil
}

func TestCancellingExecKillsTheCommand(t *testing.T) {
	c := as(t, clustertest.Editor)
	marker := filepath.Join(t.TempDir(), "alive")
	ctx, cancel := context.WithCancelCause(t.Context())
	out := make(lines, 16)
	stdin, hold := io.Pipe()
	defer hold.Close()
	done := make(chan error, 1)
	pod := aPod(t, c)
	go func() {
		// The dev cluster's commands run on this machine, so the test can see whether this one lives.
		_, err := c.Exec(ctx, cluster.ExecOptions{Namespace: "shop", Pod: pod,
			Command: []string{"/bin/sh", "-c", "echo started; while :; do touch '" + marker + "'; sleep 0.05; done"}},
			cluster.Streams{Stdin: stdin, Stdout: out, Stderr: out})
		done <- err
	}()
	if line := <-out; line != "started" {
		t.Fatalf("it said %q", line)
	}
	cancel(host.ErrLoggedOut)
	if err := <-done; !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("got %v", err)
	}
	stdin.Close()
	stays := func() bool { // absent for five of the command's rounds
		_ = os.Remove(marker)
		time.Sleep(250 * time.Millisecond)
		_, err := os.Stat(marker)
		return errors.Is(err, os.ErrNotExist)
	}
	for deadline := time.Now().Add(5 * time.Second); !stays(); {
		if time.Now().After(deadline) {
			t.Fatal("the command lives on")
		}
	}
}
