package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/klog/v2"
)

const (
	asMain = "DEVCLUSTER_TEST_AS_MAIN"
	// Generous: a loaded machine is slow, a broken cluster waits forever.
	startTime = 3 * time.Minute
	checkTime = time.Minute
)

// TestMain lets the test binary be the command under test, so that signals, exit codes and the end of standard input are
// the real thing and nothing is built twice.
func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	klog.SetLogger(klog.Logger{}) // clients log every stream that the tests break off
	code := m.Run()
	if shared.process != nil {
		shared.process.stop()
	}
	os.Exit(code)
}

// process is one running devcluster.
type process struct {
	ready
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr *bytes.Buffer
	ended  chan struct{}
}

// command returns the devcluster command. The end of its standard input ends it, so it dies with the test.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	return cmd
}

func startProcess(args ...string) (*process, error) {
	p := &process{cmd: command(append(args, "--exit-with-parent")...), stderr: &bytes.Buffer{}, ended: make(chan struct{})}
	p.cmd.Stderr = p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, out := io.Pipe()
	p.cmd.Stdout = out
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		_ = out.Close()
		close(p.ended)
	}()
	line := make(chan []byte, 1)
	go func() {
		text, _ := bufio.NewReader(stdout).ReadBytes('\n')
		line <- text
	}()
	select {
	case text := <-line:
		err = json.Unmarshal(text, &p.ready)
	case <-time.After(startTime):
		err = fmt.Errorf("no ready line after %v", startTime)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%w\n%s", err, p.stderr)
	}
	return p, nil
}

// stop ends the process as its parent's death would, and the hard way if that is not enough.
func (p *process) stop() {
	_ = p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(checkTime):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

var shared struct {
	once    sync.Once
	process *process
	err     error
}

// cluster returns the one that most tests share.
func sharedCluster(t *testing.T) *process {
	t.Helper()
	shared.once.Do(func() { shared.process, shared.err = startProcess() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.process
}

func configOf(t *testing.T, file string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func clientFor(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// as is the host's configuration acting for a user.
func (p *process) as(t *testing.T, user string, groups ...string) *rest.Config {
	config := configOf(t, p.HostKubeconfig)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return config
}

func webPod(t *testing.T, config *rest.Config) string {
	t.Helper()
	pods, err := clientFor(t, config).CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) == 0 {
		t.Fatal("no web pod")
	}
	return pods.Items[0].Name
}

// transport is a way to open a stream. Both are in use: WebSocket is what clients try first, SPDY what they fall back to.
type transport struct {
	name string
	open func(*rest.Config, *kubernetes.Clientset, string, *corev1.PodExecOptions) (remotecommand.Executor, error)
}

var transports = []transport{
	{"websocket", func(config *rest.Config, client *kubernetes.Clientset, pod string, o *corev1.PodExecOptions) (remotecommand.Executor, error) {
		url := client.CoreV1().RESTClient().Get().Resource("pods").Namespace("shop").Name(pod).SubResource("exec").VersionedParams(o, scheme.ParameterCodec).URL()
		return remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	}},
	{"spdy", func(config *rest.Config, client *kubernetes.Clientset, pod string, o *corev1.PodExecOptions) (remotecommand.Executor, error) {
		url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace("shop").Name(pod).SubResource("exec").VersionedParams(o, scheme.ParameterCodec).URL()
		return remotecommand.NewSPDYExecutor(config, "POST", url)
	}},
}

// run executes a shell script in a web pod.
func (tr transport) run(ctx context.Context, t *testing.T, config *rest.Config, script string, streams remotecommand.StreamOptions) error {
	t.Helper()
	exec, err := tr.open(config, clientFor(t, config), webPod(t, config), &corev1.PodExecOptions{
		Command: []string{"sh", "-c", script}, Stdin: streams.Stdin != nil, Stdout: true, Stderr: streams.Stderr != nil, TTY: streams.Tty,
	})
	if err != nil {
		t.Fatal(err)
	}
	return exec.StreamWithContext(ctx, streams)
}

// eventually polls until the check holds.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for end := time.Now().Add(checkTime); !check(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not so after %v: %s", checkTime, what)
		}
	}
}

// alive reports whether a process exists and is more than an entry waiting to be reaped.
func alive(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	return !bytes.HasPrefix(bytes.TrimSpace(rest), []byte("Z"))
}
