package compile

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
)

func section(id byte, content []byte) []byte {
	return append(binary.AppendUvarint([]byte{id}, uint64(len(content))), content...)
}

func oneFunction(body []byte) []byte { return function([]byte{0}, body) }

// function is a module that exports one function "f" of type () → i32.
func function(locals, body []byte) []byte {
	m := []byte("\x00asm\x01\x00\x00\x00")
	m = append(m, section(1, []byte{1, 0x60, 0, 1, 0x7f})...)
	m = append(m, section(3, []byte{1, 0})...)
	m = append(m, section(7, []byte{1, 1, 'f', 0, 0})...)
	code := append(append(locals, body...), 0x0b)
	return append(m, section(10, append(binary.AppendUvarint([]byte{1}, uint64(len(code))), code...))...)
}

// asItIs is wasm, as if it had been admitted, and its own stub.
func asItIs(wasm []byte) (*Admitted, error) {
	file, again, err := unnamed()
	if err != nil {
		return nil, err
	}
	defer again.Close()
	n := int64(len(wasm))
	a := &Admitted{Result: &rewrite.Result{Stub: wasm}, file: file, stub: n, size: n, codeBytes: 1 << 30}
	for range 2 {
		if _, err := file.Write(wasm); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// answer returns n, which must be below 64.
func answer(n byte) []byte { return oneFunction([]byte{0x41, n}) }

// bomb is a br_table of n targets, for which wazero's compiler needs time in
// the square of n: 160,000 of them take it more than ten seconds.
func bomb(n int) []byte {
	body := append([]byte{0x02, 0x40, 0x41, 0, 0x0e}, binary.AppendUvarint(nil, uint64(n))...)
	body = append(body, make([]byte, n+1)...)
	return oneFunction(append(body, 0x0b, 0x41, 1))
}

// hog is n loops, one after the other, in a function of n locals, each of
// which is changed by one loop and read at the end: it passes through all the
// loops, so the compiler needs memory in the square of n.
func hog(n int) []byte {
	locals := append(binary.AppendUvarint([]byte{1}, uint64(n)), 0x7f) // i32
	var body []byte
	sum := []byte{0x41, 0}
	for i := range n {
		index := binary.AppendUvarint(nil, uint64(i))
		body = append(body, 0x03, 0x40, 0x41, 1, 0x21) // loop, i32.const 1, local.set i
		body = append(body, index...)
		body = append(body, 0x20, 0, 0x0d, 0, 0x0b) // local.get 0, br_if 0, end
		sum = append(append(append(sum, 0x20), index...), 0x6a)
	}
	return function(locals, append(body, sum...))
}

// huge would take the compiler minutes.
var huge = sync.OnceValue(func() []byte { return bomb(1_000_000) })

var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "compile-guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, "../../testdata/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the guest: %w\n%s", err, text)
	}
	return os.ReadFile(out)
})

func guest(t testing.TB) []byte {
	t.Helper()
	wasm, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}
