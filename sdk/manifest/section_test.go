package manifest

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// custom is a custom section with a name and contents.
func custom(name, body string) []byte {
	inner := binary.AppendUvarint(nil, uint64(len(name)))
	inner = append(append(inner, name...), body...)
	return append(binary.AppendUvarint([]byte{0}, uint64(len(inner))), inner...)
}

func module(sections ...[]byte) []byte {
	return append(bytes.Clone(wasmHeader), bytes.Join(sections, nil)...)
}

func TestWhatIsEmbeddedIsExtracted(t *testing.T) {
	memory := []byte{5, 3, 1, 0, 1}
	plain := module(memory, custom("other", "kept"))
	first, err := Embed(plain, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Embed(first, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Extract(second); err != nil || string(got) != "two" {
		t.Errorf("extracted %q, %v", got, err)
	}
	if !bytes.HasPrefix(second, plain) || bytes.Contains(second, []byte("one")) {
		t.Error("the other sections did not stay as they were")
	}
}

func TestExtractRefusesWhatIsNoPlugin(t *testing.T) {
	one := custom(Section, "{}")
	for _, c := range []struct {
		why    string
		module []byte
		want   string
	}{
		{"empty", nil, "not a WebAssembly"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "not a WebAssembly"},
		{"no section", module(), "no custom section"},
		{"twice", module(one, one), "2 custom sections"},
		{"section without length", module([]byte{1}), "byte 8"},
		{"length past the end", module([]byte{1, 200, 1, 0}), "byte 8"},
		{"length of six bytes", module([]byte{1, 0x80, 0x80, 0x80, 0x80, 0x80, 0}), "byte 8"},
		{"length beyond 64 bits", module([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}), "byte 8"},
		{"custom name past the end", module([]byte{0, 2, 100, 'a'}), "no custom section"},
	} {
		t.Run(c.why, func(t *testing.T) {
			_, err := Extract(c.module)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(module(custom(Section, "{}")))
	f.Add(module([]byte{5, 3, 1, 0, 1}, custom("name", "x")))
	f.Add(module([]byte{0, 2, 100, 'a'}))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Extract(data)
		out, err := Embed(data, []byte("{}"))
		if err != nil {
			return
		}
		if got, err := Extract(out); err != nil || string(got) != "{}" {
			t.Fatalf("embedded, then extracted %q, %v", got, err)
		}
	})
}
