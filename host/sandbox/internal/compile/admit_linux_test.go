package compile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// withState has data, a start function and globals, in every form that the host
// is told about.
var withState = wattest.Must(`(module (memory (export "memory") 1)
	(global (mut i64) (i64.const 7)) (table 10 funcref)
	(data (i32.const 0) "first") (data (i32.const 9) "") (data (i32.const 100) "second")
	(elem (i32.const 0) func $f $f)
	(func $f (param i32) (result i32) (local i64) (loop (result i32) (local.get 0)))
	(func $begin (drop (call $f (i32.const 1)))) (start $begin)
	(func (export "f") (result i32) (call $f (i32.const 42))))`)

func admitted(t testing.TB, r *rig, module []byte, l wasm.Limits) *Admitted {
	t.Helper()
	a, err := r.Admit(t.Context(), module, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// TestAdmittedEqualsRewritten: nothing is lost on the way from the child.
func TestAdmittedEqualsRewritten(t *testing.T) {
	r := compiler(t, Config{})
	for name, module := range map[string][]byte{"state": withState, "go": guest(t), "small": answer(3)} {
		t.Run(name, func(t *testing.T) {
			want, err := rewrite.Rewrite(module, wasm.Limits{}, rewrite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			a := admitted(t, r, module, wasm.Limits{})
			rest := make([]byte, a.size)
			if _, err := a.file.ReadAt(rest, a.at+a.stub); err != nil || !bytes.Equal(rest, want.Wasm) {
				t.Errorf("the module differs from the rewritten one: %v", err)
			}
			if !bytes.Equal(a.Stub, want.Stub) {
				t.Errorf("the stub of %d bytes differs", len(a.Stub))
			}
			if len(a.Data) != len(want.Data) {
				t.Fatalf("%d data segments, want %d", len(a.Data), len(want.Data))
			}
			for k, d := range want.Data {
				if got := a.Data[k]; !bytes.Equal(got.Bytes, d.Bytes) || got.Offset != d.Offset || cap(got.Bytes) != len(got.Bytes) {
					t.Errorf("data segment %d is %+v, want %+v", k, got, d)
				}
			}
			got := *a.Result
			got.Data, want.Data, got.Stub, want.Stub, want.Wasm = nil, nil, nil, nil, nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", *want) {
				t.Errorf("got  %+v\nwant %+v", got, *want)
			}
		})
	}
}

// TestAnAdmittedModuleRunsFromItsStub has wazero load the stub and run the
// module's code.
func TestAnAdmittedModuleRunsFromItsStub(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	for _, n := range []byte{5, 6} { // of one interface
		a := admitted(t, r, answer(n), wasm.Limits{})
		if strings.Contains(string(a.Stub), string([]byte{0x41, n, 0x0b})) {
			t.Error("the stub has the function's body")
		}
		if err := r.Compiler.Load(t.Context(), a, func(dir string) error { return exportsOnly(dir, a.Stub) }); err != nil {
			t.Error(err)
		}
	}
	dirs, err := filepath.Glob(filepath.Join(r.config.Dir, "*", codeName, "wazero-*"))
	if err != nil || len(dirs) != 2 {
		t.Errorf("two modules of one interface have %d entries, %v", len(dirs), err)
	}
}

// exportsOnly loads stub with the code in dir, and fails if wazero had to compile.
func exportsOnly(dir string, stub []byte) error {
	return compileInto(context.Background(), dir, stub, false)
}

// TestWhyAModuleIsRefusedComesBack: the reasons, kinds and limits of errors are
// those that the reader in the child gave.
func TestWhyAModuleIsRefusedComesBack(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	for name, test := range map[string]struct {
		module []byte
		limits wasm.Limits
	}{
		"malformed":       {[]byte("no module"), wasm.Limits{}},
		"unsupported":     {[]byte("\x00asm\x0d\x00\x01\x00"), wasm.Limits{}},
		"limit":           {withState, wasm.Limits{Functions: 1}},
		"memory":          {withState, wasm.Limits{MemoryPages: -1}},
		"bytes":           {withState, wasm.Limits{ModuleBytes: 9}},
		"all locals":      {withState, wasm.Limits{AllLocals: 1}},
		"all parameters":  {withState, wasm.Limits{AllParams: 1}},
		"rewritten bytes": {withState, wasm.Limits{RewrittenBytes: 20}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rewrite.Rewrite(test.module, test.limits, rewrite.Options{})
			want, _ := errors.AsType[*wasm.Error](err)
			_, err = r.Admit(t.Context(), test.module, test.limits)
			got, ok := errors.AsType[*wasm.Error](err)
			if !ok || want == nil || *got != *want {
				t.Errorf("got %+v (%v), want %+v", got, err, want)
			}
		})
	}
	reserved := wattest.Must(`(module (func (export "bulkhead:sandbox/fuel")))`)
	if _, err := r.Admit(t.Context(), reserved, wasm.Limits{}); err == nil || !strings.Contains(err.Error(), "reserved for the host") {
		t.Errorf("error is %v", err)
	}
}

// TestAModuleAboveItsSizeStartsNoChild: it is refused before it is copied.
func TestAModuleAboveItsSizeStartsNoChild(t *testing.T) {
	r := compiler(t, Config{})
	_, err := r.Admit(t.Context(), withState, wasm.Limits{ModuleBytes: len(withState) - 1})
	if e, ok := errors.AsType[*wasm.Error](err); !ok || e.Limit != "moduleBytes" || r.children.Load() != 0 {
		t.Errorf("%v, %d children", err, r.children.Load())
	}
}

// TestAdmissionEndsWithItsContextAndWithinItsLimits: the processor and memory that
// reading takes are the child's.
func TestAdmissionEndsWithItsContextAndWithinItsLimits(t *testing.T) {
	r := compiler(t, Config{Limits: Limits{Memory: 24 << 20}})
	_, err := r.Admit(t.Context(), expanding(), wasm.Limits{BulkOperations: 1 << 20})
	if e, ok := errors.AsType[*Error](err); !ok || e.Fault != Memory {
		t.Errorf("beyond the memory limit: %v", err)
	}
	r = compiler(t, Config{})
	cause := errors.New("logged out")
	ctx, cancel := context.WithCancelCause(t.Context())
	var child int
	r.start = func(pid int) { child = pid; cancel(cause) }
	_, err = r.Admit(ctx, expanding(), wasm.Limits{BulkOperations: 1 << 20})
	if e, ok := errors.AsType[*Error](err); !ok || e.Fault != Canceled || !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
	gone(t, child)
	for range cap(r.turn) {
		r.turn <- struct{}{}
	}
	if _, err = r.Admit(ctx, answer(1), wasm.Limits{}); !errors.Is(err, cause) {
		t.Errorf("waiting for a turn: %v", err)
	}
}

// expanding becomes 20 times as long when it is rewritten.
func expanding() []byte {
	return wattest.Must(`(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\04\00\00\00\00") (section 5 "\01\00\01")
		(section 10 "\04" (times 4 (sized "\00\00" (times 300000 "\fc\0b\00") "\0b"))))`)
}

// TestAdmissionLeavesNoFile: not even where the host is killed.
func TestAdmissionLeavesNoFile(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := compiler(t, Config{})
	admitted(t, r, answer(1), wasm.Limits{})
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestAModuleIsAdmittedOnce: the second time its result is in the cache, whole, for these
// limits only; a damaged result is made again.
func TestAModuleIsAdmittedOnce(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	admit := func(l wasm.Limits, children int32) []byte {
		t.Helper()
		before := r.children.Load()
		a := admitted(t, r, withState, l)
		if n := r.children.Load() - before; n != children {
			t.Errorf("%d children, want %d", n, children)
		}
		all := make([]byte, a.at+a.stub+a.size)
		if _, err := a.file.ReadAt(all, 0); err != nil {
			t.Error(err)
		}
		return append(all, fmt.Sprintf("%+v", *a.Result)...)
	}
	first := admit(wasm.Limits{}, 1)
	if !bytes.Equal(admit(wasm.Limits{}, 0), first) {
		t.Error("the kept result is another one")
	}
	admit(wasm.Limits{MemoryPages: 7}, 1) // which the JSON of limits lacks
	admit(wasm.Limits{Functions: 50}, 1)
	e := entry{r.config.Dir, r.print.admission(withState, wasm.Limits{}.WithDefaults())}
	path := filepath.Join(e.code(), admittedName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{"flipped": flip(text), "cut": text[:len(text)-1], "empty": {}} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(admit(wasm.Limits{}, 1), first) {
				t.Error("what was admitted again is another one")
			}
		})
	}
}

func flip(text []byte) []byte {
	text = slices.Clone(text)
	text[len(text)-2] ^= 1
	return text
}

// TestARefusalIsNotKept: it leaves nothing in the cache, and the module is looked at again.
func TestARefusalIsNotKept(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	for n := range int32(2) {
		if _, err := r.Admit(t.Context(), withState, wasm.Limits{Functions: 1}); err == nil || r.children.Load() != n+1 {
			t.Errorf("%v, %d children", err, r.children.Load())
		}
	}
	if left, err := filepath.Glob(filepath.Join(r.config.Dir, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %v, %v", left, err)
	}
}

// TestOneOfManyAdmitsAModule: the others wait and take its result.
func TestOneOfManyAdmitsAModule(t *testing.T) {
	dir := t.TempDir()
	a, b := compiler(t, Config{Dir: dir}), compiler(t, Config{Dir: dir})
	var wait sync.WaitGroup
	for _, r := range []*rig{a, b, a, b} {
		wait.Go(func() { admitted(t, r, withState, wasm.Limits{}) })
	}
	wait.Wait()
	if n := a.children.Load() + b.children.Load(); n != 1 {
		t.Errorf("%d children", n)
	}
}

// TestMoreCodeThanAllowedIsRefused: also when the code was compiled under a
// higher limit.
func TestMoreCodeThanAllowedIsRefused(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	for _, limit := range []int{-1, 100, 0, 100} {
		a := admitted(t, r, withState, wasm.Limits{CodeBytes: limit})
		err := r.Compiler.Load(t.Context(), a, func(dir string) error { return nil })
		e, refused := errors.AsType[*wasm.Error](err)
		if (limit == 0) == refused || refused && (e.Kind != wasm.ErrLimit || e.Limit != "codeBytes") {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

// TestAnAnswerThatLiesIsRefused: lengths of a child are looked at before they
// are used.
func TestAnAnswerThatLiesIsRefused(t *testing.T) {
	segment := &rewrite.Result{Data: []rewrite.Segment{{}, {}}}
	for name, answer := range map[string][]byte{
		"nothing":             nil,
		"header of 4 GiB":     {0xff, 0xff, 0xff, 0xff, '{'},
		"header cut off":      {9, 0, 0, 0, '{'},
		"no result":           asHeader(header{}),
		"unknown kind":        asHeader(header{Refused: &refusal{Kind: "whim", Refused: &wasm.Error{}}}),
		"fewer lengths":       asHeader(header{Result: segment, Data: []int{0}}),
		"negative length":     append(asHeader(header{Result: segment, Data: []int{-1, 2}}), 0),
		"lengths beyond":      asHeader(header{Result: segment, Data: []int{1 << 40, 0}}),
		"stub of no length":   asHeader(header{Result: segment, Data: []int{0, 0}, Stub: -1, Wasm: 1}),
		"module beyond":       asHeader(header{Result: segment, Data: []int{0, 0}, Wasm: 1 << 40}),
		"bytes left over":     append(asHeader(header{Result: segment, Data: []int{0, 0}}), 0),
		"stub and no module":  append(asHeader(header{Result: segment, Data: []int{0, 0}, Stub: 2}), 0),
		"refused, wrong kind": asHeader(header{Refused: &refusal{Refused: &wasm.Error{}}}),
	} {
		t.Run(name, func(t *testing.T) {
			file, again, err := unnamed()
			if err != nil {
				t.Fatal(err)
			}
			again.Close()
			defer file.Close()
			if _, err := file.Write(answer); err != nil {
				t.Fatal(err)
			}
			a := &Admitted{file: file}
			err = a.read()
			if err == nil || !strings.HasPrefix(err.Error(), "admission: ") {
				t.Errorf("error is %v", err)
			}
			if name == "header of 4 GiB" && !strings.Contains(err.Error(), "a header of 4294967295 bytes") {
				t.Errorf("it was read: %v", err)
			}
		})
	}
}

func asHeader(h header) []byte {
	var b bytes.Buffer
	if err := writeHeader(&b, h); err != nil {
		panic(err)
	}
	if n := binary.LittleEndian.Uint32(b.Bytes()); int(n) != b.Len()-4 {
		panic("the length is wrong")
	}
	return slices.Clone(b.Bytes())
}

// TestWorkThatOthersKeepFromRunningIsDoneAgain: a child that gets no processor time is
// replaced by one that has a share of it, and its half-done work is not used.
func TestWorkThatOthersKeepFromRunningIsDoneAgain(t *testing.T) {
	r := compiler(t, Config{Dir: t.TempDir()})
	r.patience = 20 * time.Millisecond
	stopped := 0
	r.start = func(pid int) {
		if r.children.Add(1)%2 == 1 && unix.Kill(pid, unix.SIGSTOP) == nil { // the first of each work
			stopped++
		}
	}
	a := admitted(t, r, withState, wasm.Limits{})
	if err := r.Compiler.Load(t.Context(), a, func(dir string) error { return exportsOnly(dir, a.Stub) }); err != nil {
		t.Error(err)
	}
	if n := r.children.Load(); n != 4 || stopped != 2 {
		t.Errorf("%d children, %d stopped", n, stopped)
	}
}
