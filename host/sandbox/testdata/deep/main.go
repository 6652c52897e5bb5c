// Command deep is the module for how deep an honest guest may go: it writes and
// reads JSON that is nested as deep as it is asked to.
package main

import (
	"encoding/json"
	"strings"
)

func main() {}

type nested struct {
	In *nested `json:"in,omitempty"`
}

//go:wasmexport marshal
func marshal(levels uint32) uint32 {
	top := &nested{}
	for range levels {
		top = &nested{In: top}
	}
	out, err := json.Marshal(top)
	if err != nil {
		return 0
	}
	return uint32(strings.Count(string(out), "in"))
}

//go:wasmexport unmarshal
func unmarshal(levels uint32) uint32 {
	in := strings.Repeat("[", int(levels)) + strings.Repeat("]", int(levels))
	var out any
	if err := json.Unmarshal([]byte(in), &out); err != nil {
		return 0
	}
	found := uint32(1)
	for list, ok := out.([]any); ok && len(list) > 0; list, ok = list[0].([]any) {
		found++
	}
	return found
}
