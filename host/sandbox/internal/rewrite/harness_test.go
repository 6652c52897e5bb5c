package rewrite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

var (
	errSpent = errors.New("the budget is spent")
	errDeep  = errors.New("calls are nested too deep")
)

// meter serves the pause import: it hands out slices until a budget is spent.
type meter struct {
	slice, budget int64
	pauses, spent int64
	pending       int64  // what the guest got last
	asked         func() // at each pause; may be nil
	step          int32  // of the stack; 0: stackBudget is all
}

func (m *meter) pause(_ context.Context, stack []uint64) {
	left := int64(stack[0])
	m.pauses++
	if m.asked != nil {
		m.asked()
	}
	m.spent += m.pending - left
	if m.budget > 0 && m.spent > m.budget {
		panic(errSpent)
	}
	m.pending = m.slice
	stack[0] = uint64(m.slice)
}

// deepen serves the deepen import: there is no more than stackBudget, or any number of steps.
func (m *meter) deepen(_ context.Context, stack []uint64) {
	if m.step == 0 {
		panic(errDeep)
	}
	stack[0] = uint64(uint32(m.step))
}

// link makes the host's imports available.
func (m *meter) link(ctx context.Context, r wazero.Runtime) error {
	i32, i64 := []api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI64}
	_, err := r.NewHostModuleBuilder(rewrite.Reserved).
		NewFunctionBuilder().WithGoFunction(api.GoFunc(m.pause), i64, i64).Export("pause").
		NewFunctionBuilder().WithGoFunction(api.GoFunc(m.deepen), i32, i32).Export("deepen").
		Instantiate(ctx)
	return err
}

var errData = errors.New("out of bounds memory access")

// instance is a rewritten module after the steps that the host performs.
type instance struct {
	api.Module
	result *rewrite.Result
	meter  *meter
}

// instantiate does what the engine would have done for the original.
func instantiate(ctx context.Context, r wazero.Runtime, res *rewrite.Result, name string, m *meter) (*instance, error) {
	mod, err := r.InstantiateWithConfig(ctx, res.Wasm, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
	if err != nil {
		return nil, err
	}
	i := &instance{mod, res, m}
	for _, s := range res.Data {
		offset := s.Offset
		if s.Global != "" {
			offset = uint32(mod.ExportedGlobal(s.Global).Get())
		}
		if !mod.Memory().Write(offset, s.Bytes) {
			mod.Close(ctx)
			return nil, errData
		}
	}
	if res.Start != "" {
		i.ready()
		if _, err := mod.ExportedFunction(res.Start).Call(ctx); err != nil {
			mod.Close(ctx)
			return nil, err
		}
	}
	return i, nil
}

// stackBudget is what ready gives a call, in bytes.
const stackBudget = 8 << 20

// ready prepares a call as the host does.
func (i *instance) ready() {
	i.meter.pending = i.meter.slice
	i.ExportedGlobal(i.result.Fuel).(api.MutableGlobal).Set(uint64(i.meter.slice))
	stack := int32(stackBudget)
	if i.meter.step > 0 {
		stack = i.meter.step
	}
	i.ExportedGlobal(i.result.Stack).(api.MutableGlobal).Set(uint64(stack))
}

func (i *instance) stackLeft() int32 { return int32(i.ExportedGlobal(i.result.Stack).Get()) }

// goGuest builds the sandbox's test guest once.
var goGuest = sync.OnceValues(func() ([]byte, error) { return buildGo("../../testdata/guest") })

// workGuest builds the guest of the benchmarks once.
var workGuest = sync.OnceValues(func() ([]byte, error) { return buildGo("testdata/work") })

func buildGo(from string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "rewrite-guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, "./"+from)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building %s: %w\n%s", from, err, text)
	}
	return os.ReadFile(out)
}

func mustRewrite(tb testing.TB, module []byte, l wasm.Limits, o rewrite.Options) *rewrite.Result {
	tb.Helper()
	if o.Stack == 0 {
		o.Stack = stackBudget
	}
	res, err := rewrite.Rewrite(module, l, o)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}
