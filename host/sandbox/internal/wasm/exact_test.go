package wasm_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// bare is a module with functions of type () -> () and these bodies, and nothing else.
func bare(bodies ...string) string {
	sizedBodies := make([]string, len(bodies))
	for i, b := range bodies {
		sizedBodies[i] = sized(b)
	}
	return header + section(1, vec("\x60\x00\x00")) + section(3, u(len(bodies))+strings.Repeat("\x00", len(bodies))) +
		section(10, vec(sizedBodies...))
}

// TestNothingReachesBeyondItsEnd: what follows a function or a section is not
// read as a part of it.
func TestNothingReachesBeyondItsEnd(t *testing.T) {
	rest := "\x00\x01\x01\x01\x01\x01\x01\x0b"
	for what, test := range map[string]struct{ module, reason string }{
		"a constant":         {bare("\x00\x43\x00\x00", rest), "length 4, but only 2"},
		"a vector":           {bare("\x00\xfd\x0c\x00\x00", rest), "length 16, but only 2"},
		"a number":           {bare("\x00\x0c", rest), "unexpected end"},
		"a number's rest":    {bare("\x00\x41\x80", rest), "unexpected end"},
		"an instruction":     {bare("\x00\x01", rest), "unexpected end"},
		"a name":             {header + section(2, "\x01\x09a") + section(3, "\x01234567"), "length 9"},
		"a count":            {header + section(1, "\x09") + section(3, "\x01234567"), "9 types in 0 bytes"},
		"targets of a table": {bare("\x00\x0e\x05\x00", rest), "br_table of 5 targets in 1 bytes"},
	} {
		if _, err := wasm.Decode([]byte(test.module), wasm.Limits{}); !errors.Is(err, wasm.ErrMalformed) || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v, want %s", what, err, test.reason)
		}
	}
}

// TestEachIndexIsOneThatIsThere: the first that is not is refused, of each space,
// wherever an index stands.
func TestEachIndexIsOneThatIsThere(t *testing.T) {
	fn := func(code string) string { return function("\x00", code+"\x0b") } // one of each thing
	global := func(init string) string { return header + section(6, vec("\x70\x00"+init+"\x0b")) }
	for what, test := range map[string]struct{ module, reason string }{
		"ref.func in a constant":    {global("\xd2\x00"), "unknown function 0"},
		"a constant's own global":   {header + section(6, vec("\x7f\x00\x41\x00\x0b", "\x7f\x00\x23\x00\x0b")), "not imported"},
		"table of a segment":        {header + section(9, vec("\x00\x41\x00\x0b\x00")), "unknown table 0"},
		"function of a segment":     {header + section(9, vec("\x01\x00"+vec("\x00"))), "unknown function 0"},
		"table of call_indirect":    {fn("\x41\x00\x11\x00\x01"), "unknown table 1"},
		"table.copy, destination":   {fn("\xfc\x0e\x01\x00"), "unknown table 1"},
		"table.copy, source":        {fn("\xfc\x0e\x00\x01"), "unknown table 1"},
		"table of table.init":       {fn("\xfc\x0c\x00\x01"), "unknown table 1"},
		"table.get without tables":  {bare("\x00\x25\x00\x0b"), "unknown table 0"},
		"load without memory":       {bare("\x00\x28\x00\x00\x0b"), "unknown memory 0"},
		"lane without memory":       {bare("\x00\xfd\x54\x00\x00\x00\x0b"), "unknown memory 0"},
		"memory.size":               {bare("\x00\x3f\x00\x0b"), "unknown memory 0"},
		"memory.fill":               {bare("\x00\xfc\x0b\x00\x0b"), "unknown memory 0"},
		"memory.copy":               {bare("\x00\xfc\x0a\x00\x00\x0b"), "unknown memory 0"},
		"label":                     {fn("\x0c\x01"), "unknown label 1"},
		"label of a br_table":       {fn("\x0e\x01\x01\x00"), "unknown label 1"},
		"default of a br_table":     {fn("\x0e\x00\x01"), "unknown label 1"},
		"type of a block":           {fn("\x02\x01\x0b"), "unknown type 1"},
		"export of a global":        {header + section(7, vec("\x01a\x03\x00")), "unknown global 0"},
		"type of a function":        {header + section(3, vec("\x00")), "unknown type 0"},
		"memory.init, not counted":  {bare("\x00\xfc\x08\x00\x00\x0b"), "unknown memory 0"},
		"data.drop, not counted":    {bare("\x00\xfc\x09\x00\x0b"), "data count section required"},
		"data count without data":   {header + section(12, "\x01"), "data count without a data section"},
		"fewer bodies":              {header + section(1, vec("\x60\x00\x00")) + section(3, vec("\x00", "\x00")) + section(10, vec(sized("\x00\x0b"))), "1 bodies for 2 functions"},
		"select of no type":         {fn("\x1c\x00"), "select with other than one type"},
		"a second else":             {fn("\x41\x00\x04\x40\x05\x05\x0b"), "else without if"},
		"else of a block":           {fn("\x02\x40\x05\x0b"), "else without if"},
		"ninth form of segment":     {header + section(9, "\x01\x08"), "unknown form of element segment 8"},
		"elements of another kind":  {header + section(9, "\x01\x01\x01\x00"), "unknown kind of element 0x1"},
		"memory that may grow more": {header + section(5, vec("\x01\x01"+u(65537))), "65536 pages"},
	} {
		if _, err := wasm.Decode([]byte(test.module), wasm.Limits{}); !errors.Is(err, wasm.ErrMalformed) || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v, want %s", what, err, test.reason)
		}
	}
}

// TestImportsAreOfTheirOwnSpace: an imported global is what constants may use, and
// it is no function.
func TestImportsAreOfTheirOwnSpace(t *testing.T) {
	l := wasm.Limits{ImportedState: true}
	imported := header + section(2, vec("\x01a\x01b\x03\x7f\x00"))
	if _, err := wasm.Decode([]byte(imported+section(6, vec("\x7f\x00\x23\x00\x0b"))), l); err != nil {
		t.Error(err)
	}
	if _, err := wasm.Decode([]byte(imported+section(7, vec("\x01a\x00\x00"))), l); err == nil {
		t.Error("the global was exported as a function")
	}
	m := &wasm.Module{
		Imports:   []wasm.Import{{Kind: wasm.KindGlobal}, {Kind: wasm.KindFunction, Function: 7}, {Kind: wasm.KindTable}, {Kind: wasm.KindFunction, Function: 8}},
		Functions: []uint32{9},
	}
	for index, want := range []uint32{7, 8, 9} {
		if got := m.FunctionType(uint32(index)); got != want {
			t.Errorf("function %d has type %d, want %d", index, got, want)
		}
	}
}

// TestSumsAreOfAll: limits on all things of a kind add them up.
func TestSumsAreOfAll(t *testing.T) {
	segments := header + section(1, vec("\x60\x00\x00")) + section(3, vec("\x00")) +
		section(9, vec("\x01\x00"+vec("\x00", "\x00"), "\x01\x00"+vec("\x00", "\x00"))) + section(10, vec(sized("\x00\x0b")))
	types := header + section(1, vec("\x60\x02\x7f\x7f\x01\x7f", "\x60\x00\x02\x7f\x7f"))
	table := "\x41\x00\x0e\x01\x00\x00"
	for limit, test := range map[string]struct {
		module string
		most   int
		limits func(n int) wasm.Limits
	}{
		"elementEntries": {segments, 4, func(n int) wasm.Limits { return wasm.Limits{ElementEntries: n} }},
		"allParams":      {types, 5, func(n int) wasm.Limits { return wasm.Limits{AllParams: n} }},
		"allLocals":      {bare("\x01\x02\x7f\x0b", "\x02\x01\x7f\x01\x7e\x0b"), 4, func(n int) wasm.Limits { return wasm.Limits{AllLocals: n} }},
		"allTargets":     {bare("\x00"+table+"\x0b", "\x00"+table+table+"\x0b"), 3, func(n int) wasm.Limits { return wasm.Limits{AllTargets: n} }},
		"bulkOperations": {function("\x00", "\xfc\x0b\x00\xfc\x0a\x00\x00\x0b"), 2, func(n int) wasm.Limits { return wasm.Limits{BulkOperations: n} }},
	} {
		if _, err := wasm.Decode([]byte(test.module), test.limits(test.most)); err != nil {
			t.Errorf("%s: %v", limit, err)
		}
		_, err := wasm.Decode([]byte(test.module), test.limits(test.most-1))
		if e, ok := errors.AsType[*wasm.Error](err); !ok || e.Kind != wasm.ErrLimit || e.Limit != limit {
			t.Errorf("%s: one more is %v", limit, err)
		}
	}
}

// TestNoLimitAllowsWhatCannotWork: a second memory, and one of 4 GiB.
func TestNoLimitAllowsWhatCannotWork(t *testing.T) {
	if l := (wasm.Limits{Memories: 2, MemoryPages: 1 << 20}).WithDefaults(); l.Memories != 1 || l.MemoryPages != 65535 {
		t.Errorf("%+v", l)
	}
	_, err := wasm.Decode([]byte(header+section(5, vec("\x00"+u(65536)))), wasm.Limits{MemoryPages: 65536})
	if e, ok := errors.AsType[*wasm.Error](err); !ok || e.Limit != "memory" {
		t.Errorf("a memory of 4 GiB: %v", err)
	}
}

// TestNamesAreBounded: their bytes together, their functions, and each subsection
// is there once.
func TestNamesAreBounded(t *testing.T) {
	names := func(subsections string) []byte {
		return []byte(function("\x00", "\x0b") + section(0, sized("name")+subsections))
	}
	two := "\x01" + sized(vec("\x00"+sized("here"), "\x01"+sized("gone")))
	m, err := wasm.Decode(names(two), wasm.Limits{AllNameBytes: 7})
	if err != nil || len(m.FuncNames) != 1 {
		t.Errorf("beyond the bytes: %v, %v", m.FuncNames, err)
	}
	m, err = wasm.Decode(names(two), wasm.Limits{})
	if err != nil || len(m.FuncNames) != 2 {
		t.Fatalf("%v, %v", m.FuncNames, err)
	}
	if out := m.Encode(); !bytes.Contains(out, []byte("here")) || bytes.Contains(out, []byte("gone")) {
		t.Error("the name of a function that is not there was written, or the other was not")
	}
	m, err = wasm.Decode(names(two+two), wasm.Limits{})
	if err != nil || len(m.FuncNames) != 0 {
		t.Errorf("names twice: %v, %v", m.FuncNames, err)
	}
	for name, malformed := range map[string][]byte{
		"export": []byte(header + section(5, vec("\x00\x01")) + section(7, vec("\x01\xff\x02\x00"))),
		"custom": []byte(header + section(0, "\x01\xff")),
	} {
		if _, err := wasm.Decode(malformed, wasm.Limits{}); !errors.Is(err, wasm.ErrMalformed) || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnEmptySegmentKeepsItsType: its form says what it is of.
func TestAnEmptySegmentKeepsItsType(t *testing.T) {
	m, err := wasm.Decode([]byte(header+section(9, vec("\x05\x6f\x00"))), wasm.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := wasm.Decode(m.Encode(), wasm.Limits{})
	if err != nil || len(again.Elements) != 1 || again.Elements[0].Type != wasm.ExternRef {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestAStubOnlyTraps, and says by its tag what it is the stub of.
func TestAStubOnlyTraps(t *testing.T) {
	m, err := wasm.Decode([]byte(function("\x01\x02\x7f", "\x01\x01\x0b")), wasm.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	one, two := m.EncodeStub([]byte("one")), m.EncodeStub([]byte("two"))
	if bytes.Equal(one, two) || !bytes.HasSuffix(one, []byte("one")) {
		t.Error("the tag is not in it")
	}
	stub, err := wasm.Decode(one, wasm.Limits{})
	if err != nil || len(stub.Code) != 1 || string(stub.Code[0].Code) != "\x00\x0b" || len(stub.Code[0].Locals) != 0 {
		t.Errorf("%+v, %v", stub, err)
	}
	if string(m.Code[0].Code) != "\x01\x01\x0b" {
		t.Error("the module itself was changed")
	}
}
