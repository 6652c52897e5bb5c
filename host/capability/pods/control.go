package pods

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/stream"
)

// controlProtocol is bulkhead.exec.v1: binary messages are bytes of a stream,
// named by their first byte as in v5; text messages are JSON objects with a
// "type".
//
//	client  {"type":"resize","cols":80,"rows":24}  {"type":"eof"}
//	server  {"type":"started"}  {"type":"exit","exitCode":0}  {"type":"error","error":"…"}
//	        {"type":"warning","reason":"session was idle too long","seconds":60}
//
// A warning says that the session will end and why, a minute before a limit ends it. As in
// every protocol of this package, {"type":"ping"} of the client is answered with
// {"type":"pong"} and does not count as use of the session.
//
// "started" has "recorded":true if the session is recorded, so that the client can tell
// the user.
type controlProtocol struct{ recorded bool }

type control struct {
	Type string `json:"type"`
	Cols uint16 `json:"cols,omitempty"`
	Rows uint16 `json:"rows,omitempty"`
}

func (controlProtocol) receive(t *terminal, p *stream.Pump, binary bool, data []byte) error {
	if binary {
		if len(data) == 0 {
			return &stream.Violation{Code: host.CloseMalformed, Text: "a binary message is empty"}
		}
		if data[0] != channelStdin {
			return &stream.Violation{Code: host.CloseViolation, Text: fmt.Sprintf("stream %d is not the client's", data[0])}
		}
		return t.write(p, data[1:])
	}
	var c control
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || d.More() {
		return &stream.Violation{Code: host.CloseMalformed, Text: "a text message must be one JSON object with type, and cols and rows within 0 to 65535"}
	}
	switch {
	case c.Type == "eof" && c == control{Type: "eof"}:
		return t.closeInput()
	case c.Type == "resize" && c.Cols > 0 && c.Rows > 0:
		return t.resize(p, cluster.Size{Cols: c.Cols, Rows: c.Rows})
	case c.Type == "eof":
		return &stream.Violation{Code: host.CloseMalformed, Text: "eof has no other fields"}
	case c.Type == "resize":
		return &stream.Violation{Code: host.CloseMalformed, Text: "resize: cols and rows must be 1 or more"}
	}
	return &stream.Violation{Code: host.CloseViolation, Text: "the type of a text message is neither resize nor eof"}
}

func (controlProtocol) output(stderr bool, b []byte) []byte {
	return channelProtocol{}.output(stderr, b)
}

func (c controlProtocol) started(p *stream.Pump) error {
	m := map[string]any{"type": "started"}
	if c.recorded {
		m["recorded"] = true
	}
	return sendJSON(p, m)
}

func (controlProtocol) finished(p *stream.Pump, exitCode int, err error) error {
	if err == nil {
		return sendJSON(p, map[string]any{"type": "exit", "exitCode": exitCode})
	}
	return sendJSON(p, map[string]any{"type": "error", "error": told(err)})
}

func (controlProtocol) warn(p *stream.Pump, cause error, left time.Duration) error {
	return warn(p, cause, left)
}

// warn sends the warning of the protocols with text messages.
func warn(p *stream.Pump, cause error, left time.Duration) error {
	body, err := json.Marshal(map[string]any{"type": "warning", "reason": told(cause), "seconds": int(left.Round(time.Second).Seconds())})
	if err != nil {
		return err
	}
	return p.Notify(body)
}

// told returns what the client may read of err.
func told(err error) string {
	if v, ok := errors.AsType[*stream.Violation](err); ok {
		return v.Text
	}
	x := capability.ErrorFrame(err)
	if x.Detail != "" {
		return x.Message + ": " + x.Detail
	}
	return x.Message
}

func sendJSON(p *stream.Pump, m any) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return p.Send(false, body)
}
