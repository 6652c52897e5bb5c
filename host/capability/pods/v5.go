package pods

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/stream"
)

// Channels of v5.channel.k8s.io: the first byte of each message
// (k8s.io/apimachinery/pkg/util/remotecommand).
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelError  = 3
	channelResize = 4
	channelClose  = 255
)

// channelProtocol is the protocol of kubectl and the API server.
type channelProtocol struct{}

func (channelProtocol) receive(t *terminal, p *stream.Pump, binary bool, data []byte) error {
	if !binary || len(data) == 0 {
		return &stream.Violation{Code: host.CloseMalformed, Text: "a message is not binary or has no channel"}
	}
	switch body := data[1:]; data[0] {
	case channelStdin:
		return t.write(p, body)
	case channelResize:
		var size struct{ Width, Height uint16 }
		if err := json.Unmarshal(body, &size); err != nil || size.Width == 0 || size.Height == 0 {
			return &stream.Violation{Code: host.CloseMalformed, Text: "a resize is malformed"}
		}
		return t.resize(p, cluster.Size{Cols: size.Width, Rows: size.Height})
	case channelClose:
		if len(body) != 1 || body[0] != channelStdin {
			return &stream.Violation{Code: host.CloseViolation, Text: "only channel 0 can be closed"}
		}
		return t.closeInput()
	}
	return &stream.Violation{Code: host.CloseViolation, Text: fmt.Sprintf("channel %d is unknown", data[0])}
}

func (channelProtocol) output(stderr bool, b []byte) []byte {
	channel := byte(channelStdout)
	if stderr {
		channel = channelStderr
	}
	return append([]byte{channel}, b...)
}

// started tells the client that its channels are open, as the API server does.
func (channelProtocol) started(p *stream.Pump) error {
	return p.Send(true, []byte{channelStdout})
}

// statusOf is a metav1.Status.
type statusOf struct {
	Metadata struct{}       `json:"metadata"`
	Status   string         `json:"status"`
	Message  string         `json:"message,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Details  *statusDetails `json:"details,omitempty"`
	Code     int            `json:"code,omitempty"`
}

type statusDetails struct {
	Causes []statusCause `json:"causes"`
}

type statusCause struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (channelProtocol) finished(p *stream.Pump, exitCode int, err error) error {
	s := statusOf{Status: "Success"}
	switch {
	case err != nil:
		x := capability.ErrorFrame(violated(err))
		s = statusOf{Status: "Failure", Message: x.Message, Reason: "InternalError", Code: x.Status}
	case exitCode != 0:
		s = statusOf{Status: "Failure", Reason: "NonZeroExitCode",
			Message: fmt.Sprintf("command terminated with non-zero exit code: %d", exitCode),
			Details: &statusDetails{[]statusCause{{"ExitCode", strconv.Itoa(exitCode)}}}}
	}
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return p.Send(true, append([]byte{channelError}, body...))
}

// warn does nothing: the protocol has no message for it, and its clients are programs.
func (channelProtocol) warn(*stream.Pump, error, time.Duration) error { return nil }

// violated converts a violation of the protocol to an error for the client.
func violated(err error) error {
	if v, ok := err.(*stream.Violation); ok {
		return &host.Error{Kind: host.Invalid, Op: name, Message: v.Text}
	}
	return err
}
