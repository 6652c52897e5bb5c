package wasm_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

const header = "\x00asm\x01\x00\x00\x00"

// u is an unsigned number in its shortest encoding.
func u(n int) string {
	s := ""
	for ; n >= 0x80; n >>= 7 {
		s += string([]byte{byte(n) | 0x80})
	}
	return s + string([]byte{byte(n)})
}

func vec(items ...string) string { return u(len(items)) + strings.Join(items, "") }
func sized(s string) string      { return u(len(s)) + s }

func section(id byte, body string) string { return string([]byte{id}) + sized(body) }

// function is a module with one function of type () -> () and this body, a
// memory, a table, an element and a data segment.
func function(locals, code string) string {
	return header + section(1, vec("\x60\x00\x00")) + section(3, vec("\x00")) +
		section(4, vec("\x70\x00\x01")) + section(5, vec("\x00\x01")) +
		section(9, vec("\x01\x00"+vec("\x00"))) + section(12, "\x01") +
		section(10, vec(sized(locals+code))) + section(11, vec("\x01"+sized("abc")))
}

// Each limit refuses what it is about, by the name under which it is configured.
func TestEachLimitIsNamed(t *testing.T) {
	everything := append(wattest.Must(`(module
		(import "a" "b" (func (param i32) (result i32)))
		(table 1 funcref) (memory (export "memory") 1) (global i32 (i32.const 0))
		(elem (i32.const 0) func $f) (data (i32.const 0) "x")
		(func $f (local i32) (memory.size) (drop)
			(memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) (block (br_table 0 0 (i32.const 0)))))`), section(0, sized("custom"))...)
	if _, err := wasm.Decode(everything, wasm.Limits{}); err != nil {
		t.Fatal(err)
	}
	typ := reflect.TypeFor[wasm.Limits]()
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch field.Name {
		case "ImportedState", "AllNameBytes": // no bound; names beyond it are dropped
			continue
		case "RewrittenBytes", "CodeBytes": // known later: see packages rewrite and compile
			continue
		case "MemoryPages":
			name = "memory"
		}
		var l wasm.Limits
		reflect.ValueOf(&l).Elem().Field(i).SetInt(-1)
		_, err := wasm.Decode(everything, l)
		if e, ok := errors.AsType[*wasm.Error](err); !ok || e.Kind != wasm.ErrLimit || e.Limit != name {
			t.Errorf("%s: %v (limit %+v)", field.Name, err, e)
		}
	}
}

func TestRefused(t *testing.T) {
	fn := func(code string) string { return function("\x00", code+"\x0b") }
	memory := func(m string) string { return header + section(5, vec(m)) }
	tests := []struct {
		name, module string
		kind         error
		reason       string
	}{
		{"empty", "", wasm.ErrMalformed, "length 8"},
		{"magic", "\x00asn\x01\x00\x00\x00", wasm.ErrMalformed, "magic"},
		{"version", "\x00asm\x02\x00\x00\x00", wasm.ErrMalformed, "version"},
		{"component", "\x00asm\x0d\x00\x01\x00", wasm.ErrUnsupported, "component"},
		{"unknown section", header + section(14, ""), wasm.ErrMalformed, "unknown section 14"},
		{"tag section", header + section(13, "\x00"), wasm.ErrUnsupported, "exception handling"},
		{"section twice", header + section(1, "\x00") + section(1, "\x00"), wasm.ErrMalformed, "out of order"},
		{"section order", header + section(3, "\x00") + section(1, "\x00"), wasm.ErrMalformed, "out of order"},
		{"section too long", header + "\x01\x05\x00", wasm.ErrMalformed, "length 5"},
		{"section rest", header + section(1, "\x00\x00"), wasm.ErrMalformed, "1 bytes after"},
		{"count padded to 6 bytes", header + section(1, "\x80\x80\x80\x80\x80\x00"), wasm.ErrMalformed, "longer than 5"},
		{"count above 32 bits", header + section(1, "\x80\x80\x80\x80\x10"), wasm.ErrMalformed, "too large"},
		{"count of types", header + section(1, "\xff\xff\xff\xff\x0f"), wasm.ErrLimit, "types"},
		{"count without input", header + section(1, "\x88\x27"), wasm.ErrMalformed, "in 0 bytes"},
		{"gc type", header + section(1, "\x01\x5f\x00"), wasm.ErrUnsupported, "garbage collection"},
		{"params", header + section(1, "\x01\x60"+u(300)+strings.Repeat("\x7f", 300)+"\x00"), wasm.ErrLimit, "parameters"},
		{"results", header + section(1, "\x01\x60\x00"+u(65)+strings.Repeat("\x7f", 65)), wasm.ErrLimit, "results"},
		{"exnref", header + section(1, "\x01\x60\x01\x69\x00"), wasm.ErrUnsupported, "exception handling"},
		{"typed reference", header + section(1, "\x01\x60\x01\x64\x00\x00"), wasm.ErrUnsupported, "typed function references"},
		{"anyref", header + section(1, "\x01\x60\x01\x6e\x00"), wasm.ErrUnsupported, "garbage collection"},
		{"imported memory", header + section(2, vec("\x01a\x01b\x02\x00\x01")), wasm.ErrUnsupported, "imported memory a.b"},
		{"imported table", header + section(2, vec("\x01a\x01b\x01\x70\x00\x01")), wasm.ErrUnsupported, "imported table a.b"},
		{"imported global", header + section(2, vec("\x01a\x01b\x03\x7f\x00")), wasm.ErrUnsupported, "imported global a.b"},
		{"imported tag", header + section(2, vec("\x01a\x01b\x04\x00\x00")), wasm.ErrUnsupported, "tag"},
		{"import name not UTF-8", header + section(2, vec("\x01\xff\x01b\x03\x7f\x00")), wasm.ErrMalformed, "UTF-8"},
		{"import of unknown type", header + section(2, vec("\x01a\x01b\x00\x00")), wasm.ErrMalformed, "unknown type 0"},
		{"two memories", header + section(5, vec("\x00\x01", "\x00\x01")), wasm.ErrUnsupported, "more than one memory"},
		{"shared memory", memory("\x03\x01\x01"), wasm.ErrUnsupported, "threads"},
		{"memory64", memory("\x04\x01"), wasm.ErrUnsupported, "64-bit memory"},
		{"memory range", memory("\x01\x02\x01"), wasm.ErrMalformed, "above its maximum"},
		{"memory of 4 GiB", memory("\x00" + u(65536)), wasm.ErrLimit, "pages"},
		{"memory beyond 4 GiB", memory("\x00" + u(65537)), wasm.ErrMalformed, "65536"},
		{"table of 130 million", header + section(4, vec("\x70\x00"+u(130_000_000))), wasm.ErrLimit, "entries of a table"},
		{"tables", header + section(4, vec(strings.Split(strings.Repeat("\x70\x00\x01,", 9)[:35], ",")...)), wasm.ErrLimit, "tables"},
		{"table with initial value", header + section(4, vec("\x40\x00\x70\x00\x01\xd0\x70\x0b")), wasm.ErrUnsupported, "typed function references"},
		{"globals", header + section(6, u(5000)), wasm.ErrLimit, "globals"},
		{"mutability", header + section(6, vec("\x7f\x02\x41\x00\x0b")), wasm.ErrMalformed, "mutability"},
		{"extended constant", header + section(6, vec("\x7f\x00\x41\x00\x41\x00\x6a\x0b")), wasm.ErrUnsupported, "extended constant"},
		{"constant without instruction", header + section(6, vec("\x7f\x00\x0b")), wasm.ErrMalformed, "empty constant"},
		{"constant refers to later global", header + section(6, vec("\x7f\x00\x23\x00\x0b")), wasm.ErrMalformed, "not imported"},
		{"export twice", header + section(5, vec("\x00\x01")) + section(7, vec("\x01a\x02\x00", "\x01a\x02\x00")), wasm.ErrMalformed, "duplicate export"},
		{"export of nothing", header + section(7, vec("\x01a\x00\x00")), wasm.ErrMalformed, "unknown function 0"},
		{"start of nothing", header + section(8, "\x00"), wasm.ErrMalformed, "unknown function 0"},
		{"functions without code", header + section(1, vec("\x60\x00\x00")) + section(3, vec("\x00")), wasm.ErrMalformed, "without a code"},
		{"element segments", header + section(9, u(20_000)), wasm.ErrLimit, "element segments"},
		{"elements", header + section(4, vec("\x70\x00\x01")) + section(9, "\x01\x00\x41\x00\x0b"+u(500_000)), wasm.ErrLimit, "elements"},
		{"data count differs", header + section(12, "\x02") + section(11, vec("\x01\x00")), wasm.ErrMalformed, "data count is 2"},
		{"data without memory", header + section(11, vec("\x00\x41\x00\x0b\x00")), wasm.ErrMalformed, "unknown memory"},
		{"data segments", header + section(11, u(200_000)), wasm.ErrLimit, "data segments"},
		{"custom sections", header + strings.Repeat(section(0, "\x01a"), 201), wasm.ErrLimit, "custom sections"},
		{"local bomb", function("\x01\xff\xff\xff\xff\x0f\x7f", "\x0b"), wasm.ErrLimit, "locals"},
		{"local bomb in parts", function("\x02"+u(2000)+"\x7f"+u(49)+"\x7e", "\x0b"), wasm.ErrLimit, "locals"},
		{"locals of all functions", header + section(1, vec("\x60\x00\x00")) + section(3, u(2000)+strings.Repeat("\x00", 2000)) +
			section(10, u(2000)+strings.Repeat(sized("\x01"+u(2001)+"\x7f\x0b"), 2000)), wasm.ErrLimit, "locals of all functions"},
		{"parameters of all types", header + section(1, u(500)+strings.Repeat("\x60"+u(201)+strings.Repeat("\x7f", 201)+"\x00", 500)), wasm.ErrLimit, "of all types"},
		{"nesting", fn(strings.Repeat("\x02\x40", 9000) + strings.Repeat("\x0b", 9000)), wasm.ErrLimit, "nested blocks"},
		{"br_table", fn("\x41\x00\x0e" + u(9000) + strings.Repeat("\x00", 9001)), wasm.ErrLimit, "targets of a br_table"},
		{"br_table without input", fn("\x41\x00\x0e" + "\xff\xff\xff\xff\x0f"), wasm.ErrMalformed, "br_table"},
		{"all br_tables", fn(strings.Repeat("\x41\x00\x0e"+u(8000)+strings.Repeat("\x00", 8001), 126)), wasm.ErrLimit, "targets of all"},
		{"body", fn(strings.Repeat("\x01", 1<<20)), wasm.ErrLimit, "bytes of a function"},
		{"bulk operations", fn(strings.Repeat("\x41\x00\x41\x00\x41\x00\xfc\x0b\x00", 4097)), wasm.ErrLimit, "bulk operations"},
		{"unknown label", fn("\x0c\x01"), wasm.ErrMalformed, "label 1"},
		{"unknown local", fn("\x20\x00\x1a"), wasm.ErrMalformed, "local 0"},
		{"unknown global", fn("\x23\x00\x1a"), wasm.ErrMalformed, "global 0"},
		{"unknown function", fn("\x10\x01"), wasm.ErrMalformed, "function 1"},
		{"unknown type", fn("\x41\x00\x11\x01\x00"), wasm.ErrMalformed, "type 1"},
		{"unknown table", fn("\x41\x00\x25\x01\x1a"), wasm.ErrMalformed, "table 1"},
		{"unknown data", fn("\xfc\x09\x01"), wasm.ErrMalformed, "data segment 1"},
		{"unknown element", fn("\xfc\x0d\x01"), wasm.ErrMalformed, "element segment 1"},
		{"else without if", fn("\x05"), wasm.ErrMalformed, "else"},
		{"unfinished", function("\x00", "\x02\x40\x0b"), wasm.ErrMalformed, "unexpected end"},
		{"code after the end", function("\x00", "\x0b\x0b"), wasm.ErrMalformed, "after the end"},
		{"alignment", fn("\x41\x00\x28\x05\x00\x1a"), wasm.ErrMalformed, "alignment"},
		{"load from memory 1", fn("\x41\x00\x28\x42\x01\x00\x1a"), wasm.ErrUnsupported, "more than one memory"},
		{"size of memory 1", fn("\x3f\x01\x1a"), wasm.ErrUnsupported, "more than one memory"},
		{"shuffle lane", fn("\xfd\x0d" + strings.Repeat("\x20", 16)), wasm.ErrMalformed, "shuffle"},
		{"unknown instruction", fn("\x16"), wasm.ErrMalformed, "unknown instruction 0x16"},
		{"throw", fn("\x08\x00"), wasm.ErrUnsupported, "exception handling"},
		{"try_table", fn("\x1f\x40\x00"), wasm.ErrUnsupported, "exception handling"},
		{"return_call", fn("\x12\x00"), wasm.ErrUnsupported, "tail calls"},
		{"call_ref", fn("\x14\x00"), wasm.ErrUnsupported, "typed function references"},
		{"struct.new", fn("\xfb\x00\x00"), wasm.ErrUnsupported, "garbage collection"},
		{"atomic.fence", fn("\xfe\x03\x00"), wasm.ErrUnsupported, "threads"},
		{"relaxed SIMD", fn("\xfd\x80\x02"), wasm.ErrUnsupported, "relaxed SIMD"},
		{"hole in SIMD", fn("\xfd\x9a\x01"), wasm.ErrMalformed, "unknown instruction 0xfd9a"},
		{"SIMD number padded to 6 bytes", fn("\xfd\x80\x80\x80\x80\x80\x00"), wasm.ErrMalformed, "longer than 5"},
		{"wide arithmetic", fn("\xfc\x13"), wasm.ErrUnsupported, "0xfc 0x13"},
		{"constant of 33 bits", fn("\x41\x80\x80\x80\x80\x08\x1a"), wasm.ErrMalformed, "too large for 32 bits"},
		{"constant of 65 bits", fn("\x42" + strings.Repeat("\x80", 9) + "\x02\x1a"), wasm.ErrMalformed, "too large for 64 bits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wasm.Decode([]byte(tt.module), wasm.Limits{ModuleBytes: 64 << 20})
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.reason) {
				t.Fatalf("got %v, want %v: %s", err, tt.kind, tt.reason)
			}
		})
	}
	if _, err := wasm.Decode([]byte(fn("\x01")), wasm.Limits{ModuleBytes: 20}); !errors.Is(err, wasm.ErrLimit) {
		t.Errorf("a module above its size was not refused: %v", err)
	}
	if _, err := wasm.Decode([]byte(fn("\x01")), wasm.Limits{Memories: -1}); !errors.Is(err, wasm.ErrLimit) {
		t.Errorf("a memory was not refused although it is forbidden: %v", err)
	}
}

// TestErrorSaysWhere checks function index, section and offset.
func TestErrorSaysWhere(t *testing.T) {
	module := header + section(1, vec("\x60\x00\x00")) + section(2, vec("\x01a\x01b\x00\x00")) +
		section(3, vec("\x00", "\x00")) + section(10, vec(sized("\x00\x0b"), sized("\x00\x01\x16\x0b")))
	_, err := wasm.Decode([]byte(module), wasm.Limits{})
	var e *wasm.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	if e.Function != 2 || e.Section != "code" || module[e.Offset-1] != 0x16 && module[e.Offset] != 0x16 {
		t.Errorf("got %+v in %q", e, module)
	}
}

// TestPaddingIsRemoved has an instruction whose legally padded number engines
// read as another one.
func TestPaddingIsRemoved(t *testing.T) {
	padded := function("\x00", "\x41\x00\xfd\x8f\x80\x00\xfd\x61\x1a\x0b") // i8x16.splat, i8x16.neg
	m, err := wasm.Decode([]byte(padded), wasm.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if out := m.Encode(); !bytes.Contains(out, []byte("\x41\x00\xfd\x0f\xfd\x61\x1a\x0b")) {
		t.Errorf("the padding is still there: %x", out)
	}
}

// TestNames covers the name section: kept, cut, and ignored when it lies.
func TestNames(t *testing.T) {
	names := func(body string) string {
		return function("\x00", "\x0b") + section(0, sized("name")+body)
	}
	m, err := wasm.Decode([]byte(names("\x01"+sized(vec("\x00"+sized("handle"))))), wasm.Limits{})
	if err != nil || len(m.FuncNames) != 1 || m.FuncNames[0].Name != "handle" {
		t.Fatalf("got %v, %v", m.FuncNames, err)
	}
	if !bytes.Contains(m.Encode(), []byte("handle")) {
		t.Error("the name is lost")
	}
	for what, body := range map[string]string{
		"4 billion names": "\x01" + sized("\xff\xff\xff\xff\x0f"),
		"descending":      "\x01" + sized("\x02\x01\x01a\x00\x01b"),
		"length beyond":   "\x01" + sized("\x01\x00\xff\xff\xff\xff\x0f"),
	} {
		m, err := wasm.Decode([]byte(names(body)), wasm.Limits{})
		if err != nil || len(m.FuncNames) != 0 {
			t.Errorf("%s: got %v, %v", what, m.FuncNames, err)
		}
	}
	far := names("\x01" + sized(vec("\x00"+sized("near"), "\x80\xf1\x04"+sized("far"))))
	if m, err := wasm.Decode([]byte(far), wasm.Limits{}); err != nil || len(m.FuncNames) != 1 || m.FuncNames[0].Name != "near" {
		t.Errorf("a name of a function that no module can have: got %v, %v", m.FuncNames, err)
	}
	forged := names("\x01" + sized(vec("\x00"+sized("a\n\tmain.b()"))))
	if m, err := wasm.Decode([]byte(forged), wasm.Limits{}); err != nil || m.FuncNames[0].Name != "a??main.b()" {
		t.Errorf("name of two lines: got %v, %v", m.FuncNames, err)
	}
	long := names("\x01" + sized(vec("\x00"+sized(strings.Repeat("x", 9000)))))
	if m, err := wasm.Decode([]byte(long), wasm.Limits{}); err != nil || len(m.FuncNames[0].Name) != 4096 {
		t.Errorf("long name: %v", err)
	}
}

// TestTruncated cuts a module everywhere: an error each time, never a panic.
func TestTruncated(t *testing.T) {
	module := function("\x01\x02\x7f", "\x02\x40\x41\x00\x0e\x00\x00\x0b\xfc\x09\x00\x0b")
	if _, err := wasm.Decode([]byte(module), wasm.Limits{}); err != nil {
		t.Fatal(err)
	}
	whole := 0
	for n := range len(module) {
		if _, err := wasm.Decode([]byte(module[:n]), wasm.Limits{}); err == nil {
			whole++ // ends between sections, and nothing that follows is required
		}
	}
	if whole > 3 {
		t.Errorf("%d truncations were accepted", whole)
	}
}

// TestHugeCountsAllocateLittle puts the largest counts everywhere.
func TestHugeCountsAllocateLittle(t *testing.T) {
	huge := wasm.Limits{
		Types: 1 << 31, Params: 1 << 31, Imports: 1 << 31, Exports: 1 << 31, Functions: 1 << 31, Locals: 1 << 31,
		Globals: 1 << 31, Tables: 1 << 31, Elements: 1 << 31, ElementEntries: 1 << 31, DataSegments: 1 << 31,
		BranchTargets: 1 << 31, AllTargets: 1 << 31, NameBytes: 1 << 31,
	}
	count := "\xff\xff\xff\xff\x07"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for id := byte(1); id <= 12; id++ {
		if _, err := wasm.Decode([]byte(header+section(id, count)), huge); err == nil {
			t.Errorf("section %d was accepted", id)
		}
	}
	for _, code := range []string{"\x0e" + count, "\x1c" + count} {
		if _, err := wasm.Decode([]byte(function("\x00", code)), huge); err == nil {
			t.Errorf("%x was accepted", code)
		}
	}
	if _, err := wasm.Decode([]byte(function(count, "\x0b")), huge); err == nil {
		t.Error("runs of locals were accepted")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
}

// TestGoGuestRoundTrip encodes a real module and reads it again.
func TestGoGuestRoundTrip(t *testing.T) {
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, "../../testdata/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Decode(module, wasm.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Code) < 1000 || len(m.FuncNames) < 1000 {
		t.Fatalf("%d functions with %d names", len(m.Code), len(m.FuncNames))
	}
	checkRoundTrip(t, m)
}

func checkRoundTrip(t *testing.T, m *wasm.Module) {
	t.Helper()
	first := m.Encode()
	again, err := wasm.Decode(first, wasm.Limits{ImportedState: true})
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	if !bytes.Equal(first, again.Encode()) {
		t.Fatal("reading and writing changes what was written")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(function("\x01\x02\x7f", "\x02\x40\x41\x00\x0e\x00\x00\x0b\xfc\x09\x00\x0b")))
	f.Add([]byte(function("\x00", "\x41\x00\xfd\x8f\x80\x00\xfd\x61\x1a\x0b")))
	f.Add([]byte(header + section(2, vec("\x01a\x01b\x02\x00\x01", "\x01a\x01b\x03\x7f\x00"))))
	f.Add([]byte(header + section(0, sized("name")+"\x01"+sized("\xff\xff\xff\xff\x0f"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := wasm.Decode(b, wasm.Limits{ImportedState: true}); err == nil {
			checkRoundTrip(t, m)
		}
	})
}
