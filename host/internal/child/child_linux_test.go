package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

var role = Role{Name: prefix + "tested"}

func TestMain(m *testing.M) {
	role.Main(work)
	goleak.VerifyTestMain(m)
}

// work runs in the child and does what its argument says.
func work(argument json.RawMessage) int {
	var what string
	if json.Unmarshal(argument, &what) != nil {
		return 20
	}
	switch what {
	case "echo":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "talk":
		conn, err := Inherited()
		if err != nil {
			return 21
		}
		defer conn.Close()
		_, _ = io.Copy(conn, io.LimitReader(conn, 5))
	case "complain":
		fmt.Fprintln(os.Stderr, "first\nsecond")
		return 30
	case "environment":
		fmt.Print(strings.Join(os.Environ(), " "))
	case "policies":
		threads, _ := os.ReadDir("/proc/self/task")
		for _, t := range threads {
			id, _ := strconv.Atoi(t.Name())
			if attr, err := unix.SchedGetAttr(id, 0); err != nil || attr.Policy != unix.SCHED_IDLE {
				fmt.Printf("thread %d of %d has policy %+v, %v", id, len(threads), attr, err)
			}
		}
	case "role":
		fmt.Print(role.Ready())
	case "panic":
		panic("the reason")
	case "memory":
		var kept [][]byte
		for {
			kept = append(kept, bytes.Repeat([]byte{1}, 1<<20))
		}
	case "spin":
		for {
		}
	case "sleep":
		time.Sleep(time.Hour)
	}
	return 10
}

var limits = Limits{CPU: 30 * time.Second, Memory: 1 << 30, Wall: time.Minute}

func TestAChildHasOnlyItsInputAndConnection(t *testing.T) {
	t.Setenv("BULKHEAD_SECRET", "x")
	for what, want := range map[string]string{"echo": "hello", "environment": "GOMAXPROCS=2", "role": "false"} {
		var out bytes.Buffer
		got, err := role.Run(t.Context(), Job{Argument: what, Stdin: strings.NewReader("hello"), Stdout: &out, Limits: limits})
		if err != nil || got.Exit != 10 || out.String() != want {
			t.Errorf("%s: %+v, %v, %q", what, got, err, out.String())
		}
	}
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := role.Run(context.Background(), Job{Argument: "talk", Files: []*os.File{theirs}, Limits: limits})
		done <- err
	}()
	if _, err := ours.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	// It ends with the child: no other process holds the other end.
	if text, err := io.ReadAll(ours); err != nil || string(text) != "hello" {
		t.Errorf("the child says %q, %v", text, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	ours.Close()
}

func TestRunReportsHowAChildEnded(t *testing.T) {
	got, err := role.Run(t.Context(), Job{Argument: "complain", Limits: limits})
	if err != nil || got != (Result{30, "first"}) {
		t.Errorf("%+v, %v", got, err)
	}
	short := func(l Limits) Limits {
		if l.CPU == 0 {
			l.CPU = limits.CPU
		}
		if l.Memory == 0 {
			l.Memory = limits.Memory
		}
		if l.Wall == 0 {
			l.Wall = limits.Wall
		}
		return l
	}
	for what, c := range map[string]struct {
		limits Limits
		want   Fault
	}{
		"panic":  {Limits{}, Crashed},
		"memory": {Limits{Memory: 200 << 20}, Memory},
		"spin":   {Limits{CPU: time.Second}, CPU},
		"sleep":  {Limits{Wall: 300 * time.Millisecond}, TooLong},
	} {
		_, err := role.Run(t.Context(), Job{Argument: what, Limits: short(c.limits)})
		if e, ok := errors.AsType[*Error](err); !ok || e.Fault != c.want {
			t.Errorf("%s: %v", what, err)
		}
		if what == "panic" && !strings.Contains(err.Error(), "the reason") {
			t.Errorf("the reason is not in %v", err)
		}
	}
	cause := errors.New("logged out")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = role.Run(ctx, Job{Argument: "sleep", Limits: limits, Started: func(int) { cancel(cause) }})
	if e, ok := errors.AsType[*Error](err); !ok || e.Fault != Canceled || !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAChildThatYieldsEndsWhereItGetsNoProcessor(t *testing.T) {
	var out bytes.Buffer
	got, err := role.Run(t.Context(), Job{Argument: "policies", Stdout: &out, Limits: limits, Yield: time.Hour})
	if err != nil || got.Exit != 10 || out.Len() > 0 {
		t.Errorf("%+v, %v: %s", got, err, out.String())
	}
	_, err = role.Run(t.Context(), Job{Argument: "sleep", Limits: limits, Yield: 50 * time.Millisecond})
	if e, ok := errors.AsType[*Error](err); !ok || e.Fault != Starved {
		t.Errorf("one that gets nothing: %v", err)
	}
	// Its time counts, that of sleeping children does not: spin has all that the machine gives.
	pid := make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := role.Run(ctx, Job{Argument: "spin", Limits: limits, Yield: time.Hour, Started: func(p int) { pid <- p }})
		ended <- err
	}()
	for p := <-pid; ; {
		if cpu, err := spent(p); err != nil || cpu > 20*time.Millisecond {
			if err != nil {
				t.Error(err)
			}
			break
		}
		runtime.Gosched()
	}
	cancel()
	<-ended
}

func TestARoleNeedsACallOfMain(t *testing.T) {
	other := Role{Name: prefix + "other"}
	if _, err := other.Run(t.Context(), Job{Limits: limits}); err == nil || !strings.Contains(err.Error(), "Main") {
		t.Errorf("got %v", err)
	}
}
