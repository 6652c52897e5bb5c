package exec

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
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

func (channelProtocol) receive(v *splice, binary bool, data []byte) error {
	if !binary || len(data) == 0 {
		return &violation{host.CloseMalformed, "a message is not binary or has no channel"}
	}
	switch body := data[1:]; data[0] {
	case channelStdin:
		return v.input(body)
	case channelResize:
		var size struct{ Width, Height uint16 }
		if err := json.Unmarshal(body, &size); err != nil || size.Width == 0 || size.Height == 0 {
			return &violation{host.CloseMalformed, "a resize is malformed"}
		}
		return v.resize(cluster.Size{Cols: size.Width, Rows: size.Height})
	case channelClose:
		if len(body) != 1 || body[0] != channelStdin {
			return &violation{host.CloseViolation, "only channel 0 can be closed"}
		}
		return v.closeInput()
	}
	return &violation{host.CloseViolation, fmt.Sprintf("channel %d is unknown", data[0])}
}

func (channelProtocol) output(stderr bool, p []byte) []byte {
	channel := byte(channelStdout)
	if stderr {
		channel = channelStderr
	}
	return append([]byte{channel}, p...)
}

// started tells the client that its channels are open, as the API server does.
func (channelProtocol) started(v *splice) error {
	return v.send(true, []byte{channelStdout})
}

// status is a metav1.Status.
type status struct {
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

func (channelProtocol) finished(v *splice, exitCode int, err error) error {
	s := status{Status: "Success"}
	switch {
	case err != nil:
		x := capability.ErrorFrame(describe(err))
		s = status{Status: "Failure", Message: x.Message, Reason: "InternalError", Code: x.Status}
	case exitCode != 0:
		s = status{Status: "Failure", Reason: "NonZeroExitCode",
			Message: fmt.Sprintf("command terminated with non-zero exit code: %d", exitCode),
			Details: &statusDetails{[]statusCause{{"ExitCode", strconv.Itoa(exitCode)}}}}
	}
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return v.send(true, append([]byte{channelError}, body...))
}

// describe converts a violation of the protocol to an error for the client.
func describe(err error) error {
	if b, ok := err.(*violation); ok {
		return &host.Error{Kind: host.Invalid, Op: name, Message: b.text}
	}
	return err
}
