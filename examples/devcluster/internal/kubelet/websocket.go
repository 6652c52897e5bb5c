package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"
)

// execWebSocket serves the protocol that kubectl and client-go prefer today. The nodes declare that their kubelet does
// (ExtendWebSocketsToKubelet), so the API server passes the connection through. Its own translation to SPDY, the
// alternative, leaves the connection to the kubelet open when a client without a terminal goes away, and with it the
// command.
func execWebSocket(w http.ResponseWriter, r *http.Request, e executor, command []string, opts *remotecommand.Options) {
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		remotecommand.StreamProtocolV5Name: {Binary: true, Channels: channels(opts)},
	})
	conn.SetIdleTimeout(idleTimeout)
	_, streams, err := conn.Open(w, r)
	if err != nil {
		log.Printf("exec: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	// An empty message tells the client that the streams are there.
	_, _ = streams[remotecommand.StreamStdOut].Write(nil)

	var in io.Reader
	if opts.Stdin {
		in = streams[remotecommand.StreamStdIn]
	}
	resize := make(chan remotecommand.TerminalSize)
	go readSizes(streams[remotecommand.StreamResize], resize)
	err = e.ExecInContainer(r.Context(), "", "", "", command, in, streams[remotecommand.StreamStdOut],
		streams[remotecommand.StreamStdErr], opts.TTY, resize, 0)
	_ = json.NewEncoder(streams[remotecommand.StreamErr]).Encode(status(err))
}

func channels(opts *remotecommand.Options) []wsstream.ChannelType {
	c := make([]wsstream.ChannelType, 5)
	c[remotecommand.StreamErr] = wsstream.WriteChannel
	c[remotecommand.StreamResize] = wsstream.ReadChannel
	if opts.Stdin {
		c[remotecommand.StreamStdIn] = wsstream.ReadChannel
	}
	if opts.Stdout {
		c[remotecommand.StreamStdOut] = wsstream.WriteChannel
	}
	if opts.Stderr {
		c[remotecommand.StreamStdErr] = wsstream.WriteChannel
	}
	return c
}

// readSizes ends with the connection, and then closes the channel.
func readSizes(from io.Reader, to chan<- remotecommand.TerminalSize) {
	defer close(to)
	sizes := json.NewDecoder(from)
	for {
		var size remotecommand.TerminalSize
		if sizes.Decode(&size) != nil {
			return
		}
		to <- size
	}
}

// status returns the message about the end of a command for the client's error channel.
func status(err error) metav1.Status {
	var exit utilexec.CodeExitError
	switch {
	case err == nil:
		return metav1.Status{Status: metav1.StatusSuccess}
	case errors.As(err, &exit):
		return metav1.Status{
			Status:  metav1.StatusFailure,
			Reason:  remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %v", exit),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{
				{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exit.Code)},
			}},
		}
	default:
		return metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
			Message: fmt.Sprintf("error executing command in container: %v", err),
		}
	}
}
