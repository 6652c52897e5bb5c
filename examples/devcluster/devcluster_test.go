package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

func TestPodsRun(t *testing.T) {
	c := sharedCluster(t)
	client := clientFor(t, configOf(t, c.Kubeconfig))
	for namespace, want := range map[string]int{"shop": 4, "bank": 1} {
		pods, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != want {
			t.Errorf("%s: %d running pods, want %d", namespace, len(pods.Items), want)
		}
	}
}

func TestExecEchoAndExitCode(t *testing.T) {
	c := sharedCluster(t)
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			err := tr.run(t.Context(), t, configOf(t, c.Kubeconfig), "cat; echo oops >&2; exit 7", remotecommand.StreamOptions{
				Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errOut,
			})
			var exit utilexec.CodeExitError
			if !errors.As(err, &exit) || exit.Code != 7 {
				t.Errorf("err = %v, want exit code 7", err)
			}
			if out.String() != "hello" || errOut.String() != "oops\n" {
				t.Errorf("stdout %q, stderr %q", &out, &errOut)
			}
		})
	}
}

func TestTerminalHasTheSizeOfTheClient(t *testing.T) {
	c := sharedCluster(t)
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			in, out := newScript(), &safeBuffer{}
			go func() {
				eventually(t, "the terminal is resized", func() bool {
					in.enter("stty size\n")
					return strings.Contains(out.String(), "33 111")
				})
				in.enter("exit 7\n")
			}()
			sizes := make(sizeQueue, 1)
			sizes <- remotecommand.TerminalSize{Width: 111, Height: 33}
			err := tr.run(t.Context(), t, configOf(t, c.Kubeconfig), "exec sh -i", remotecommand.StreamOptions{
				Stdin: in, Stdout: out, Tty: true, TerminalSizeQueue: sizes,
			})
			close(sizes)
			var exit utilexec.CodeExitError
			if !errors.As(err, &exit) || exit.Code != 7 {
				t.Errorf("err = %v, want exit code 7; output:\n%s", err, out)
			}
		})
	}
}

// A client that goes away leaves nothing behind: not the shell, not its jobs in process groups of their own, not what
// left the session, and also when the command never reads its input.
func TestCommandsDieWithTheirClient(t *testing.T) {
	c := sharedCluster(t)
	const leave = "set -m; sleep 1001 & echo pid $!; setsid sleep 1002 & echo pid $!; echo pid $$; sleep 1003"
	for _, tr := range transports {
		for name, streams := range map[string]remotecommand.StreamOptions{
			"output only":   {},
			"input":         {Stdin: newScript()},
			"input unread":  {Stdin: io.MultiReader(io.LimitReader(zeros{}, 1<<20), newScript())},
			"terminal":      {Stdin: newScript(), Tty: true},
			"input at once": {Stdin: strings.NewReader("")},
		} {
			t.Run(tr.name+"/"+name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				out := &safeBuffer{}
				streams.Stdout = out
				done := make(chan error, 1)
				go func() { done <- tr.run(ctx, t, configOf(t, c.Kubeconfig), leave, streams) }()
				eventually(t, "the script says its three processes", func() bool { return len(pids(out.String())) == 3 })
				started := pids(out.String())
				cancel()
				<-done
				for _, pid := range started {
					eventually(t, "process "+pid+" is gone", func() bool { return !alive(pid) })
				}
			})
		}
	}
}

// Charts ask for a Kubernetes version, and kubectl parses it.
func TestTheAPIServerSaysItsKubernetesVersion(t *testing.T) {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(string(module))
	got, err := clientFor(t, configOf(t, sharedCluster(t).Kubeconfig)).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if got.GitVersion != want || got.Major != "1" || !strings.HasPrefix(want, "v1."+got.Minor+".") {
		t.Errorf("version = %s (major %s, minor %s), want %s; test with -ldflags \"$(./ldflags.sh)\"", got.GitVersion, got.Major, got.Minor, want)
	}
	if strings.Contains(got.String()+got.GitCommit, "$Format") {
		t.Errorf("version has a placeholder: %+v", got)
	}
}

func TestLogs(t *testing.T) {
	config := configOf(t, sharedCluster(t).Kubeconfig)
	pod := webPod(t, config)
	ctx, cancel := context.WithTimeout(t.Context(), checkTime)
	defer cancel()
	logs, err := clientFor(t, config).CoreV1().Pods("shop").GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Close() }()
	first := "shop/" + pod + " web: listening on :8080\n"
	got := make([]byte, len(first)+len("web: request 1: "))
	if _, err := io.ReadFull(logs, got); err != nil || !strings.HasPrefix(string(got), first) {
		t.Errorf("logs = %q, %v; want %q first", got, err, first)
	}
}

func TestHostMayOnlyImpersonate(t *testing.T) {
	c := sharedCluster(t)
	host := clientFor(t, configOf(t, c.HostKubeconfig))
	if _, err := host.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the host lists pods as itself: %v", err)
	}
	viewer := clientFor(t, c.as(t, "vera@example.com", "bulkhead:role:viewer"))
	if _, err := viewer.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("the host does not list pods as a viewer: %v", err)
	}
	eventually(t, "the audit log names host and user", func() bool {
		text, err := os.ReadFile(c.AuditLog)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, `"impersonatedUser":{"username":"vera@example.com"`) &&
				strings.Contains(line, `"user":{"username":"system:serviceaccount:bulkhead-system:bulkhead"`) {
				return true
			}
		}
		return false
	})
}

// A restart keeps what was stored and reaches the pods again, although every port is another.
func TestRestartAndEndOfParent(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two more clusters")
	}
	data := filepath.Join(t.TempDir(), "data")
	for _, round := range []string{"first", "second"} {
		c, err := startProcess("--data", data)
		if err != nil {
			t.Fatalf("%s start: %v", round, err)
		}
		configMaps := clientFor(t, configOf(t, c.Kubeconfig)).CoreV1().ConfigMaps("bank")
		if round == "first" {
			_, err = configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{})
		} else {
			_, err = configMaps.Get(t.Context(), "kept", metav1.GetOptions{})
		}
		if err != nil {
			t.Errorf("%s start: %v", round, err)
		}
		out := &safeBuffer{}
		left := make(chan error, 1)
		go func() {
			left <- transports[0].run(t.Context(), t, configOf(t, c.Kubeconfig), "echo pid $$; sleep 1004", remotecommand.StreamOptions{Stdout: out})
		}()
		eventually(t, "the command started", func() bool { return len(pids(out.String())) == 1 })
		c.stop()
		<-left
		if code := c.cmd.ProcessState.ExitCode(); code != exitOK {
			t.Errorf("%s end: exit code %d\n%s", round, code, c.stderr)
		}
		if pid := pids(out.String())[0]; alive(pid) {
			t.Errorf("%s end: process %s outlived the cluster", round, pid)
		}
	}
}

func TestMistakesAreOneLineAndExitTwo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	data := t.TempDir()
	lock, err := lockFile(filepath.Join(data, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"unknown flag":      {[]string{"--nope"}, "-nope"},
		"stray argument":    {[]string{"up"}, `"up"`},
		"bad wait":          {[]string{"--wait", "later"}, "--wait"},
		"not loopback":      {[]string{"--listen", "0.0.0.0:0"}, "--listen"},
		"port in use":       {[]string{"--listen", taken.Addr().String()}, "address already in use"},
		"data in use":       {[]string{"--data", data}, "in use by another devcluster"},
		"data is a file":    {[]string{"--data", filepath.Join(data, "lock")}, "--data"},
		"negative patience": {[]string{"--timeout", "-1s"}, "--timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(c.args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			_ = cmd.Run()
			text := strings.TrimSpace(stderr.String())
			if cmd.ProcessState.ExitCode() != exitUsage || strings.Contains(text, "\n") || !strings.Contains(text, c.want) {
				t.Errorf("exit %d, stderr:\n%s", cmd.ProcessState.ExitCode(), text)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	out, err := command("--help").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("-exit-with-parent")) {
		t.Errorf("--help: %v\n%s", err, out)
	}
}

func TestInterruptEndsTheStart(t *testing.T) {
	cmd := command()
	temporary := t.TempDir()
	cmd.Env = append(cmd.Env, "TMPDIR="+temporary)
	var stderr safeBuffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	eventually(t, "the start has begun", func() bool { return strings.Contains(stderr.String(), "starting API server") })
	_ = cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-ended:
	case <-time.After(checkTime):
		_ = cmd.Process.Kill()
		t.Fatal("it goes on after SIGINT")
	}
	if code := cmd.ProcessState.ExitCode(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, &stderr)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind (%v)", left, err)
	}
}

// pids reads the lines "pid N" of a script.
func pids(output string) (found []string) {
	for line := range strings.Lines(output) {
		// Only whole lines: the output may end within a number.
		if pid, ok := strings.CutPrefix(strings.TrimSpace(line), "pid "); ok && strings.HasSuffix(line, "\n") {
			found = append(found, pid)
		}
	}
	return found
}

// script is what a person types, until the test ends.
type script struct{ typed chan []byte }

func newScript() script { return script{make(chan []byte, 1<<10)} }

func (s script) enter(text string) { s.typed <- []byte(text) }

func (s script) Read(p []byte) (int, error) { return copy(p, <-s.typed), nil }

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type sizeQueue chan remotecommand.TerminalSize

func (q sizeQueue) Next() *remotecommand.TerminalSize {
	size, ok := <-q
	if !ok {
		return nil
	}
	return &size
}

// safeBuffer is written by a stream and read by the test.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
