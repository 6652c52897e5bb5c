package exec

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
)

// controlProtocol is bulkhead.exec.v1: binary messages are bytes of a stream,
// named by their first byte as in v5; text messages are JSON objects with a
// "type".
//
//	client  {"type":"resize","cols":80,"rows":24}  {"type":"eof"}
//	server  {"type":"started"}  {"type":"exit","exitCode":0}  {"type":"error","error":"…"}
//
// "started" has "recorded":true if the session is recorded, so that the client can tell
// the user.
type controlProtocol struct{ recorded bool }

type control struct {
	Type string `json:"type"`
	Cols uint16 `json:"cols,omitempty"`
	Rows uint16 `json:"rows,omitempty"`
}

func (controlProtocol) receive(v *splice, binary bool, data []byte) error {
	if binary {
		if len(data) == 0 {
			return &violation{host.CloseMalformed, "a binary message is empty"}
		}
		if data[0] != channelStdin {
			return &violation{host.CloseViolation, fmt.Sprintf("stream %d is not the client's", data[0])}
		}
		return v.input(data[1:])
	}
	var c control
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || d.More() {
		return &violation{host.CloseMalformed, "a text message must be one JSON object with type, and cols and rows within 0 to 65535"}
	}
	switch {
	case c.Type == "eof" && c == control{Type: "eof"}:
		return v.closeInput()
	case c.Type == "resize" && c.Cols > 0 && c.Rows > 0:
		return v.resize(cluster.Size{Cols: c.Cols, Rows: c.Rows})
	case c.Type == "eof":
		return &violation{host.CloseMalformed, "eof has no other fields"}
	case c.Type == "resize":
		return &violation{host.CloseMalformed, "resize: cols and rows must be 1 or more"}
	}
	return &violation{host.CloseViolation, "the type of a text message is neither resize nor eof"}
}

func (controlProtocol) output(stderr bool, p []byte) []byte {
	return channelProtocol{}.output(stderr, p)
}

func (p controlProtocol) started(v *splice) error {
	m := map[string]any{"type": "started"}
	if p.recorded {
		m["recorded"] = true
	}
	return v.sendJSON(m)
}

func (controlProtocol) finished(v *splice, exitCode int, err error) error {
	if err == nil {
		return v.sendJSON(map[string]any{"type": "exit", "exitCode": exitCode})
	}
	x := capability.ErrorFrame(describe(err))
	text := x.Message
	if x.Detail != "" {
		text += ": " + x.Detail
	}
	return v.sendJSON(map[string]any{"type": "error", "error": text})
}

func (v *splice) sendJSON(m any) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return v.send(false, body)
}
