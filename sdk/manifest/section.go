package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

var wasmHeader = []byte("\x00asm\x01\x00\x00\x00")

// Extract returns the manifest's JSON from a wasm module. The module must have exactly one
// custom section named Section.
func Extract(module []byte) ([]byte, error) {
	found, err := find(module, Section)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("module has no custom section %q; `bulkhead plugin build` writes it", Section)
	case len(found) > 1:
		return nil, fmt.Errorf("module has %d custom sections %q, want one", len(found), Section)
	}
	return found[0], nil
}

// Embed returns module with the manifest as its last section. It replaces a manifest that
// the module has.
func Embed(module, manifest []byte) ([]byte, error) { return embed(module, Section, manifest) }

// find returns the contents of the custom sections of this name.
func find(module []byte, section string) (found [][]byte, err error) {
	err = sections(module, func(id byte, body []byte, _ []byte) {
		if name, rest, ok := customName(id, body); ok && name == section {
			found = append(found, rest)
		}
	})
	return found, err
}

// embed returns module with content as its last section, in place of any of that name.
func embed(module []byte, section string, content []byte) ([]byte, error) {
	out, err := without(module, section)
	if err != nil {
		return nil, err
	}
	body := binary.AppendUvarint(nil, uint64(len(section)))
	body = append(append(body, section...), content...)
	out = binary.AppendUvarint(append(out, 0), uint64(len(body)))
	return append(out, body...), nil
}

// without returns a copy of module that has no custom section of this name.
func without(module []byte, section string) ([]byte, error) {
	out := slices.Clone(wasmHeader)
	err := sections(module, func(id byte, body []byte, whole []byte) {
		if name, _, ok := customName(id, body); !ok || name != section {
			out = append(out, whole...)
		}
	})
	return out, err
}

// sections calls visit for each section (WebAssembly Core 2.0, section 5.5.2)
// with its id, its contents, and both with their header.
func sections(module []byte, visit func(id byte, body, whole []byte)) error {
	if len(module) < len(wasmHeader) || string(module[:len(wasmHeader)]) != string(wasmHeader) {
		return errors.New("not a WebAssembly 1 core module")
	}
	for off := len(wasmHeader); off < len(module); {
		size, n := binary.Uvarint(module[off+1:])
		body := off + 1 + n
		if n <= 0 || n > 5 || size > uint64(len(module)-body) {
			return fmt.Errorf("module: the section at byte %d runs past the end", off)
		}
		end := body + int(size)
		visit(module[off], module[body:end], module[off:end])
		off = end
	}
	return nil
}

func customName(id byte, body []byte) (name string, rest []byte, ok bool) {
	if id != 0 {
		return "", nil, false
	}
	size, n := binary.Uvarint(body)
	if n <= 0 || n > 5 || size > uint64(len(body)-n) {
		return "", nil, false
	}
	end := n + int(size)
	return string(body[n:end]), body[end:], true
}
