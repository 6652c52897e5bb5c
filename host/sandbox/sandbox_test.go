package sandbox_test

import (
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

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"go.uber.org/goleak"
)

var guest []byte

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	dir, err := os.MkdirTemp("", "sandbox-guest-")
	if err == nil {
		guest, err = buildGuest(dir, "./testdata/guest")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	measured.print(os.Stdout)
	os.RemoveAll(dir)
	os.RemoveAll(cacheDir())
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildGuest(dir, from string) ([]byte, error) {
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, from)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the test guest: %w\n%s", err, text)
	}
	return os.ReadFile(out)
}

var (
	i32 = []sandbox.Type{sandbox.I32}
	i64 = []sandbox.Type{sandbox.I64}
)

type lines struct {
	mu   sync.Mutex
	list []string
}

func (l *lines) add(_ context.Context, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, line)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.list, "\n")
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list)
}

// spec links everything the guest can use; hostCall serves test.v1.
func spec(log *lines, hostCall func(context.Context, sandbox.Memory, []uint64)) sandbox.Spec {
	return sandbox.Spec{
		Name: "guest",
		Limits: sandbox.Limits{
			MemoryBytes: 32 << 20, Instances: 4, Warm: 1, LogBytes: 4 << 10,
		},
		Imports: []sandbox.Import{{
			Module: "test", Name: "v1", Signature: sandbox.Signature{Params: i32, Results: i32}, Call: hostCall,
		}},
		Exports: map[string]sandbox.Signature{
			"_initialize": {}, "add": {Params: []sandbox.Type{sandbox.I32, sandbox.I32}, Results: i32},
			"buffer_at": {Results: i32}, "spin": {}, "sleep": {Params: i32}, "crash": {}, "exit": {Params: i32},
			"block": {}, "grow": {}, "flood": {Params: i32},
			"visit": {Results: i32}, "call_host": {Params: i32, Results: i32},
			"work": {Params: i32, Results: i32}, "loop": {Params: i32, Results: i32},
			"hide": {Params: []sandbox.Type{sandbox.I32, sandbox.I64}}, "seek": {Params: i32, Results: i64},
			"crypto_random": {Results: i64}, "math_random": {Results: i64}, "math_random_v1": {Results: i64}, "seeded_random": {Results: i64}, "map_hash": {Results: i64},
			"now": {Results: i64}, "map_order": {Results: i64},
		},
		Init: func(ctx context.Context, i *sandbox.Instance) error {
			_, err := i.Call(ctx, "_initialize")
			return err
		},
		Log: log.add,
	}
}

func identity(_ context.Context, _ sandbox.Memory, _ []uint64) {}

var cacheDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "sandbox-cache-")
	if err != nil {
		panic(err)
	}
	return dir
})

func load(t testing.TB, s sandbox.Spec) *sandbox.Module {
	t.Helper()
	return loadWith(t, sandbox.Config{}, s)
}

func loadWith(t testing.TB, c sandbox.Config, s sandbox.Spec) *sandbox.Module {
	t.Helper()
	return loadBytes(t, c, guest, s)
}

func loadBytes(t testing.TB, c sandbox.Config, wasm []byte, s sandbox.Spec) *sandbox.Module {
	t.Helper()
	c.CacheDir = cacheDir()
	box, err := sandbox.New(c)
	if err != nil {
		t.Fatal(err)
	}
	m, err := box.Load(t.Context(), wasm, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if n := m.Live(); n != 0 {
			t.Errorf("%d instances are left after Close", n)
		}
	})
	return m
}

// call acquires, calls once, releases.
func call(ctx context.Context, m *sandbox.Module, export string, args ...uint64) (uint64, error) {
	i, err := m.Acquire(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer m.Release(i)
	return i.Call(ctx, export, args...)
}

func TestCallReturnsTheResult(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	if got, err := call(t.Context(), m, "add", 2, 3); err != nil || got != 5 {
		t.Fatalf("add(2, 3) = %d, %v", got, err)
	}
}

func TestEachCallerGetsAFreshInstance(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	for range 5 {
		if got, err := call(t.Context(), m, "visit"); err != nil || got != 1 {
			t.Fatalf("visit = %d, %v; the previous caller is still visible", got, err)
		}
	}
}

func TestGuestFaultsAreTyped(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	for _, c := range []struct {
		export string
		arg    []uint64
		fault  sandbox.Fault
		cause  string
	}{
		{"crash", nil, sandbox.Trapped, "unreachable"},
		{"exit", []uint64{7}, sandbox.Exited, "exit code 7"},
		{"exit", []uint64{0xffffffff}, sandbox.Exited, "exit code 4294967295"}, // wazero's own code for a cancelled context
		{"block", nil, sandbox.Trapped, "unreachable"},                         // Go reports a deadlock and aborts
		{"grow", nil, sandbox.Trapped, "unreachable"},
		{"nowhere", nil, sandbox.Broken, "not exported"},
	} {
		t.Run(fmt.Sprint(c.export, c.arg), func(t *testing.T) {
			_, err := call(t.Context(), m, c.export, c.arg...)
			e, ok := errors.AsType[*sandbox.Error](err)
			if !ok {
				t.Fatalf("error is %v, want a *sandbox.Error", err)
			}
			if e.Fault != c.fault || !strings.Contains(e.Error(), c.cause) {
				t.Fatalf("fault %v, error %v; want %v and %q", e.Fault, e, c.fault, c.cause)
			}
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%v passes for a cancellation", err)
			}
			if c.export == "crash" && !strings.Contains(e.Stack, "main.crash") {
				t.Fatalf("stack is %q", e.Stack)
			}
		})
	}
}

func TestACrashIsInTheLog(t *testing.T) {
	var log lines
	m := load(t, spec(&log, identity))
	if _, err := call(t.Context(), m, "crash"); err == nil {
		t.Fatal("crash returned")
	}
	if !strings.Contains(log.text(), "crash on purpose") {
		t.Fatalf("log is %q", log.text())
	}
}

func TestCancellationStopsTheGuest(t *testing.T) {
	cause := errors.New("logged out")
	for _, export := range []string{"spin", "sleep"} {
		t.Run(export, func(t *testing.T) {
			m := load(t, spec(&lines{}, identity))
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			i, err := m.Acquire(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, err := i.Call(ctx, export, 60_000)
				m.Release(i)
				done <- err
			}()
			cancel(cause)
			select {
			case err := <-done:
				if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != sandbox.Canceled || !errors.Is(err, cause) {
					t.Fatalf("error is %v, want Canceled because of %v", err, cause)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the guest runs on")
			}
		})
	}
}

func TestADeadlineStopsTheGuest(t *testing.T) {
	for _, export := range []string{"spin", "sleep"} {
		m := load(t, spec(&lines{}, identity))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := call(ctx, m, export, 60_000)
		if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != sandbox.Deadline {
			t.Fatalf("%s: error is %v, want Deadline", export, err)
		}
	}
}

func TestAnEndedContextNeverEntersTheGuest(t *testing.T) {
	entered := false
	m := load(t, spec(&lines{}, func(context.Context, sandbox.Memory, []uint64) { entered = true }))
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Call(ctx, "call_host", 1); !errors.Is(err, context.Canceled) || entered {
		t.Fatalf("error %v, entered %v", err, entered)
	}
}

func TestAHostFunctionCanStopTheGuest(t *testing.T) {
	cause := errors.New("authority lost")
	m := load(t, spec(&lines{}, func(context.Context, sandbox.Memory, []uint64) { sandbox.Stop(cause) }))
	if _, err := call(t.Context(), m, "call_host", 1); err == nil || !strings.Contains(err.Error(), cause.Error()) {
		t.Fatalf("error is %v", err)
	}
}

func TestOutputIsCountedAndCut(t *testing.T) {
	var log lines
	m := load(t, spec(&log, identity))
	if _, err := call(t.Context(), m, "flood", 100_000); err != nil {
		t.Fatal(err)
	}
	if n, size := log.count(), len(log.text()); n > 60 || size > 5<<10 || !strings.Contains(log.text(), "dropped") {
		t.Fatalf("%d lines, %d bytes got through", n, size)
	}
}

func TestMemoryStaysWithinItsLimit(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	if _, err := i.Call(t.Context(), "grow"); err == nil {
		t.Fatal("grow returned")
	}
	if _, ok := i.Memory().Copy(32<<20, 1); ok {
		t.Fatal("memory grew beyond 32 MiB")
	}
}

func TestMemoryAccessIsBounded(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	at, err := i.Call(t.Context(), "buffer_at")
	if err != nil {
		t.Fatal(err)
	}
	mem := i.Memory()
	if !mem.Write(uint32(at), []byte("hello")) {
		t.Fatal("write within the memory failed")
	}
	if got, ok := mem.Copy(uint32(at), 5); !ok || string(got) != "hello" {
		t.Fatalf("read back %q, %v", got, ok)
	}
	if _, ok := mem.Copy(uint32(at), 0xffffffff); ok {
		t.Fatal("a length beyond the memory was accepted")
	}
	if mem.Write(0xfffffff0, make([]byte, 32)) {
		t.Fatal("a write beyond the memory was accepted")
	}
}

func TestMissingImportsAreNamed(t *testing.T) {
	s := spec(&lines{}, identity)
	s.Imports = nil
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = box.Load(t.Context(), guest, s)
	if e, ok := errors.AsType[*sandbox.MissingImport](err); !ok || e.Module != "test" || e.Name != "v1" {
		t.Fatalf("error is %v", err)
	}
}

func TestBrokenModulesAreRefused(t *testing.T) {
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, wasm := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "truncated": guest[:len(guest)/2],
		"no exports": []byte("\x00asm\x01\x00\x00\x00"),
	} {
		if m, err := box.Load(t.Context(), wasm, spec(&lines{}, identity)); err == nil {
			m.Close(context.Background())
			t.Errorf("%s: loaded", name)
		}
	}
}

func TestAFailingInitRefusesTheModule(t *testing.T) {
	s := spec(&lines{}, identity)
	cause := errors.New("bad configuration")
	s.Init = func(context.Context, *sandbox.Instance) error { return cause }
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box.Load(t.Context(), guest, s); !errors.Is(err, cause) {
		t.Fatalf("error is %v", err)
	}
}

// An Init that overlooks a trap would make every caller inherit it.
func TestAnInitThatOverlooksAFailureRefusesTheModule(t *testing.T) {
	s := spec(&lines{}, identity)
	s.Init = func(ctx context.Context, i *sandbox.Instance) error {
		_, _ = i.Call(ctx, "_initialize")
		_, _ = i.Call(ctx, "crash")
		return nil
	}
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = box.Load(t.Context(), guest, s)
	if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != sandbox.Broken {
		t.Fatalf("error is %v", err)
	}
}

func TestAcquireWaitsForASlot(t *testing.T) {
	s := spec(&lines{}, identity)
	s.Limits.Instances = 1
	m := load(t, s)
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Acquire(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second Acquire: %v", err)
	}
	m.Release(i)
	i, err = m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Release(i)
}

func TestCloseWaitsForInstancesInUse(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- m.Close(context.Background()) }()
	if got, err := i.Call(t.Context(), "add", 1, 1); err != nil || got != 2 {
		t.Fatalf("add during Close = %d, %v", got, err)
	}
	m.Release(i)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := m.Acquire(t.Context(), nil); !errors.Is(err, sandbox.ErrClosed) {
		t.Fatalf("Acquire after Close: %v", err)
	}
}

// TestHammer cancels, releases and closes while calls run.
func TestHammer(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				i, err := m.Acquire(ctx, nil)
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				export, arg := "add", []uint64{1, 2}
				if (g+n)%3 == 0 {
					export, arg = "spin", nil
				}
				if (g+n)%3 != 2 {
					go cancel()
				}
				_, _ = i.Call(ctx, export, arg...)
				m.Release(i)
				cancel()
			}
		})
	}
	wg.Wait()
}
