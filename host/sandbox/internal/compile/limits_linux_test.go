package compile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// refused loads wasm, which must not be compiled, and returns the error and
// how long it took.
func (r *rig) refused(t *testing.T, ctx context.Context, wasm []byte) (*Error, time.Duration) {
	t.Helper()
	began := time.Now()
	err := r.Load(ctx, wasm, func(string) error { t.Error("loaded"); return nil })
	took := time.Since(began)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("after %v: %v", took, err)
	}
	t.Logf("after %v: %v", took.Round(time.Millisecond), err)
	if r.config.Dir != "" {
		if left, _ := filepath.Glob(filepath.Join(r.config.Dir, "*")); len(left) > 1 {
			t.Errorf("left in the cache beside the lock: %v", left)
		}
	}
	return e, took
}

// gone fails if pid is still there, as a zombie or otherwise.
func gone(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("process %d is still there: %v", pid, err)
	}
}

// ownTime is the processor time of this process, without its children.
func ownTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestBombIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		wasm   []byte
		limits Limits
		want   Fault
	}{
		"by CPU time": {huge(), Limits{CPU: 2 * time.Second, Memory: 16 << 30}, CPU},
		"by memory":   {hog(10_000), Limits{Memory: 128 << 20}, Memory},
		"by wall":     {huge(), Limits{Wall: 300 * time.Millisecond, Memory: 16 << 30}, TooLong},
	} {
		t.Run(name, func(t *testing.T) {
			r := compiler(t, Config{Dir: t.TempDir(), Limits: test.limits})
			var child int
			r.start = func(pid int) { child = pid }
			before := ownTime(t)
			e, _ := r.refused(t, t.Context(), test.wasm)
			if spent := ownTime(t) - before; spent > time.Second { // the child had two of them, or minutes
				t.Errorf("the host itself spent %v", spent)
			}
			if e.Fault != test.want {
				t.Errorf("refused for %v, want %v", e.Fault, test.want)
			}
			gone(t, child)
		})
	}
}

func TestInvalidModule(t *testing.T) {
	for name, wasm := range map[string][]byte{
		"empty":     nil,
		"no module": []byte("hello"),
		"ill typed": oneFunction([]byte{0x42, 0}), // an i64
	} {
		t.Run(name, func(t *testing.T) {
			r := compiler(t, Config{Dir: t.TempDir()})
			if e, _ := r.refused(t, t.Context(), wasm); e.Fault != Invalid || e.Cause.Error() == "" {
				t.Errorf("%v", e)
			}
		})
	}
}

func TestCancelEndsTheChild(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	cause := errors.New("logged out")
	ctx, cancel := context.WithCancelCause(t.Context())
	var child int
	r.start = func(pid int) { child = pid; cancel(cause) }
	e, _ := r.refused(t, ctx, huge())
	if e.Fault != Canceled || !errors.Is(e, cause) {
		t.Errorf("%v", e)
	}
	gone(t, child)
}

// TestOrderIsBounded: a child refuses before it allocates or limits anything.
func TestOrderIsBounded(t *testing.T) {
	for _, argument := range []string{"", "{", `{"Size":-1}`, `{"Stub":-1}`, fmt.Sprintf(`{"Size":%d}`, maxModule+1)} {
		if exit, err := obey([]byte(argument), strings.NewReader(""), nil); exit != exitFailed || err == nil {
			t.Errorf("%q: exit %d, %v", argument, exit, err)
		}
	}
	r := compiler(t, Config{Dir: t.TempDir()})
	if e, _ := r.refused(t, t.Context(), make([]byte, maxModule+1)); e.Fault != Invalid || r.children.Load() != 0 {
		t.Errorf("%v, %d children", e, r.children.Load())
	}
}

// TestCancelWhileWaiting: neither the lock of an entry nor a child's turn is
// waited for by somebody who is gone.
func TestCancelWhileWaiting(t *testing.T) {
	dir := t.TempDir()
	r := compiler(t, Config{Dir: dir})
	err := r.Load(t.Context(), answer(1), func(string) error {
		for _, other := range []*rig{r, compiler(t, Config{Dir: dir})} { // in this process; by the file
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := other.Load(ctx, answer(1), func(string) error { t.Error("loaded"); return nil })
			if e, ok := errors.AsType[*Error](err); !ok || e.Fault != Canceled {
				t.Errorf("error is %v", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range cap(r.turn) {
		r.turn <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = r.Load(ctx, answer(2), func(string) error { t.Error("loaded"); return nil })
	if e, ok := errors.AsType[*Error](err); !ok || e.Fault != Canceled {
		t.Errorf("error is %v", err)
	}
}

// TestCrash: the first line of what Go's runtime says is in the error.
func TestCrash(t *testing.T) {
	for signal, want := range map[unix.Signal]string{unix.SIGABRT: "SIGABRT", unix.SIGKILL: "signal: killed"} {
		t.Run(want, func(t *testing.T) {
			r := compiler(t, Config{Dir: t.TempDir()})
			var wait sync.WaitGroup
			r.start = func(pid int) {
				wait.Go(func() {
					confined(t, pid)
					if err := unix.Kill(pid, signal); err != nil {
						t.Error(err)
					}
				})
			}
			e, _ := r.refused(t, t.Context(), huge())
			wait.Wait()
			if e.Fault != Crashed || !strings.Contains(e.Error(), want) {
				t.Errorf("%v", e)
			}
		})
	}
}

// confined returns once the child set its limits, which is when Go's runtime
// has long been ready for signals.
func confined(t *testing.T, pid int) {
	poll(t, func() bool {
		var l unix.Rlimit
		return unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &l) != nil || l.Max == 0 && niceness(pid) == "10"
	})
}

// poll waits for the work of another process, which has no way to tell.
func poll(t *testing.T, until func() bool) {
	for end := time.Now().Add(30 * time.Second); !until(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Error("nothing happened for 30 s")
			return
		}
	}
}

func niceness(pid int) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := bytes.Cut(stat, []byte(") ")) // the name, in parentheses, may have spaces
	if f := strings.Fields(string(rest)); len(f) > 16 {
		return f[16]
	}
	return ""
}

// TestChildIsConfined looks at a child from outside.
func TestChildIsConfined(t *testing.T) {
	// A descriptor that a careless parent of this process would have left.
	leak, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	t.Setenv("BULKHEAD_SECRET", "hunter2")
	r := compiler(t, Config{Dir: t.TempDir(), Limits: Limits{CPU: 1500 * time.Millisecond, Memory: 4 << 30}})
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	r.start = func(pid int) {
		wait.Go(func() {
			defer cancel()
			confined(t, pid)
			inspect(t, pid)
		})
	}
	r.refused(t, ctx, huge())
	wait.Wait()
}

func inspect(t *testing.T, pid int) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	if env, err := os.ReadFile(proc + "environ"); err != nil || string(env) != "GOMAXPROCS=2\x00" {
		t.Errorf("environment %q, %v", env, err)
	}
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Error(err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(proc + "fd/" + fd.Name())
		if err != nil || fd.Name() <= "2" && len(fd.Name()) == 1 || strings.HasPrefix(to, "anon_inode:") {
			continue // closed meanwhile, standard, or of Go's poller
		}
		if !strings.HasPrefix(to, "/sys/fs/cgroup/") { // which Go's runtime reads
			t.Errorf("descriptor %s is %s", fd.Name(), to)
		}
	}
	if id, err := unix.Getpgid(pid); err != nil || id != pid {
		t.Errorf("process group %d, %v", id, err)
	}
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_CPU, nil, &l); err != nil || l.Cur != 2 || l.Max != 2 {
		t.Errorf("CPU limit %+v, %v", l, err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, nil, &l); err != nil || l.Max != unix.RLIM_INFINITY {
		t.Errorf("address space limit %+v, %v", l, err)
	}
}

// TestChildDiesWithItsParent kills a process that compiles.
func TestChildDiesWithItsParent(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "hang", dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscan(out, &child); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(child, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // "signal: killed"
	began := time.Now()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); err != nil || n != 1 {
		t.Errorf("the child did not end: %v", err)
	}
	t.Logf("the child ended %v after its parent", time.Since(began))
	// What the two left is no obstacle, and goes.
	compiler(t, Config{Dir: dir})
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestProcessesCompileOnce has four processes load one module at once.
func TestProcessesCompileOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(dir+".wasm", bomb(20_000), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []*exec.Cmd
	var outs []*bytes.Buffer
	for range 4 {
		out := new(bytes.Buffer)
		cmd := exec.Command("/proc/self/exe", "load", dir)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all, outs = append(all, cmd), append(outs, out)
	}
	total := 0
	for i, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, outs[i])
			continue
		}
		var n int
		if _, err := fmt.Fscan(outs[i], &n); err != nil {
			t.Error(err)
		}
		total += n
	}
	if total != 1 {
		t.Errorf("%d children in all, want 1", total)
	}
}
