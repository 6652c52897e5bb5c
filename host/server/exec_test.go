package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

func urlEscape(s string) string { return url.QueryEscape(s) }

// pod returns the name of a running pod.
func pod(t testing.TB, c *clustertest.Cluster, namespace string) string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer utilnet.CloseIdleConnectionsFor(client.Transport)
	set, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		t.Fatal(err)
	}
	list, err := set.CoreV1().Pods(namespace).List(t.Context(),
		metav1.ListOptions{FieldSelector: "status.phase=Running"})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("no running pod in %s: %v", namespace, err)
	}
	return list.Items[0].Name
}

// running reports whether a process with the marker in its command line is
// there. The dev cluster's containers are processes of this machine.
func running(marker string) bool {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(strings.ReplaceAll(string(text), "\x00", " "), marker) {
			return true
		}
	}
	return false
}

// marker is a sleep that no other process on the machine has.
func marker() string { return fmt.Sprintf("sleep %d", 10_000_000+time.Now().UnixNano()%1_000_000_000) }

func TestExecEchoAndExitCode(t *testing.T) {
	w, c := onCluster(t)
	eve, name := w.as(t, "eve"), pod(t, c, "shop")

	t.Run("output and exit code", func(t *testing.T) {
		x := eve.exec("shop", name, false, "sh", "-c", "echo out; echo err >&2; exit 7")
		exit, closed := x.ended()
		if exit == nil || *exit != 7 || closed == nil || closed.Code != 1000 {
			t.Fatalf("exit %v, closed %v, error %q", exit, closed, x.errors)
		}
		if got := x.text(); !strings.Contains(got, "out\n") || !strings.Contains(got, "err\n") {
			t.Fatalf("output is %q", got)
		}
	})
	t.Run("input until its end", func(t *testing.T) {
		x := eve.exec("shop", name, false, "cat")
		x.typed("hello ")
		x.typed("world")
		x.say(`{"type":"eof"}`)
		if exit, _ := x.ended(); exit == nil || *exit != 0 || x.text() != "hello world" {
			t.Fatalf("exit %v, output %q, error %q", exit, x.text(), x.errors)
		}
	})
	t.Run("a terminal and its size", func(t *testing.T) {
		x := eve.exec("shop", name, true, "sh")
		x.say(`{"type":"resize","cols":101,"rows":37}`)
		eventually(t, "the new size to reach the shell", func() bool {
			x.typed("stty size\n")
			return strings.Contains(x.text(), "37 101")
		})
		x.typed("exit 3\n")
		if exit, _ := x.ended(); exit == nil || *exit != 3 {
			t.Fatalf("exit %v, error %q", exit, x.errors)
		}
	})
	t.Run("a megabyte of input arrives whole", func(t *testing.T) {
		x := eve.exec("shop", name, false, "sh", "-c", "wc -c")
		for range 64 {
			x.typed(strings.Repeat("x", 16<<10))
		}
		x.say(`{"type":"eof"}`)
		if exit, _ := x.ended(); exit == nil || strings.TrimSpace(x.text()) != "1048576" {
			t.Fatalf("exit %v, output %q, error %q", exit, x.text(), x.errors)
		}
	})
}

func TestExecIsRefusedBeforeTheUpgrade(t *testing.T) {
	w, c := onCluster(t)
	name := pod(t, c, "shop")
	target := "cluster=dev&namespace=shop&pod=" + name
	for _, k := range []struct {
		who, query string
		want       int
	}{
		{"", target, http.StatusUnauthorized},
		{"vic", target, http.StatusForbidden},
		{"vic", "", http.StatusForbidden}, // what is missing is told only to those who may
		{"eve", "cluster=dev&namespace=shop", http.StatusBadRequest},
		{"eve", target + "&pod=other", http.StatusBadRequest},
		{"eve", "cluster=dev&namespace=shop&pod=no-such-pod", http.StatusNotFound},
		{"eve", "cluster=elsewhere&namespace=shop&pod=" + name, http.StatusNotFound},
	} {
		a := w.anonymous(t)
		if k.who != "" {
			a = w.as(t, k.who)
		}
		conn, got := a.dial("/ws/exec?"+k.query, execProtocol)
		if conn != nil || got.status != k.want {
			t.Errorf("%q as %q: %v, want %d", k.query, k.who, got, k.want)
		}
	}
	for _, protocols := range [][]string{nil, {"tty"}} {
		conn, got := w.as(t, "eve").dial("/ws/exec?"+target, protocols...)
		if conn != nil || got.status != 400 || !strings.Contains(got.body, "v5.channel.k8s.io or bulkhead.exec.v1") {
			t.Errorf("with the subprotocols %q: %v", protocols, got)
		}
	}
}

// Origin: a shell that outlived its owner's logout, and a socket that stayed
// open and silent after it.
func TestLogoutKillsExec(t *testing.T) {
	w, c := onCluster(t)
	name := pod(t, c, "shop")
	gone, stays := w.as(t, "ed1"), w.as(t, "ed2")
	goneMark, staysMark := marker(), marker()+"1"
	x := gone.exec("shop", name, false, "sh", "-c", goneMark)
	y := stays.exec("shop", name, false, "sh", "-c", staysMark+"; cat")
	eventually(t, "both shells to run", func() bool { return running(goneMark) && running(staysMark) })

	if got := gone.post("/auth/logout", "{}"); got.status != 200 {
		t.Fatalf("logout: %v", got)
	}
	exit, closed := x.ended()
	if exit != nil || closed == nil || closed.Code != 4401 || closed.Text != "logged out" {
		t.Fatalf("exit %v, closed %v", exit, closed)
	}
	eventually(t, "the remote process to be gone", func() bool { return !running(goneMark) })
	if !running(staysMark) {
		t.Fatal("another user's shell died too")
	}
	select {
	case <-y.done:
		t.Fatal("another user's socket was closed")
	default:
	}
	if got := stays.get("/auth/me"); got.status != 200 {
		t.Fatalf("another user is signed out: %v", got)
	}
	if conn, got := gone.dial("/ws/exec?cluster=dev&namespace=shop&pod="+name, execProtocol); conn != nil || got.status != 401 {
		t.Fatalf("a new exec after logout: %v", got)
	}
}

func TestAClientThatLeavesEndsItsShell(t *testing.T) {
	w, c := onCluster(t)
	mark := marker()
	x := w.as(t, "ed3").exec("shop", pod(t, c, "shop"), true, "sh", "-c", mark)
	eventually(t, "the shell to run", func() bool { return running(mark) })
	x.conn.NetConn().Close()
	eventually(t, "the shell to be gone", func() bool { return !running(mark) })
}

func TestTheTerminalExample(t *testing.T) {
	w, _ := onCluster(t)
	program := filepath.Join(t.TempDir(), "terminal")
	if out, err := exec.Command("go", "build", "-o", program, "../../examples/terminal").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		user, want string
		code       int
	}{
		{"eve@example.com", "hello world", 7},
		{"vic@example.com", "403", 1},
	} {
		cmd := exec.CommandContext(t.Context(), program, "-url", w.url, "-user", c.user, "sh", "-c", "cat; exit 7")
		cmd.Stdin = strings.NewReader("hello world")
		out, err := cmd.CombinedOutput()
		if failed, ok := errors.AsType[*exec.ExitError](err); !ok || failed.ExitCode() != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("as %s: %v, %q; want exit code %d and %q", c.user, err, out, c.code, c.want)
		}
	}
}
