package kubelet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// forwarder answers on every port of a pod: it is a small HTTP responder, since pods have no processes.
type forwarder struct{ pod pod }

// PortForward answers requests on the stream until the client closes it.
func (f forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer func() { _ = stream.Close() }()
	in := bufio.NewReader(stream)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return nil // the client closed the stream, or uses another protocol
		}
		_, _ = io.Copy(io.Discard, req.Body)
		body := fmt.Sprintf("%s/%s port %d: %s %s\n", f.pod.namespace, f.pod.name, port, req.Method, req.URL.Path)
		resp := &http.Response{
			StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Close: req.Close, Request: req,
			Header:        http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
			ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
		}
		if err := resp.Write(stream); err != nil || req.Close {
			return err
		}
	}
}
