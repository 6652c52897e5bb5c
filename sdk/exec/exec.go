// Package exec is the client of capability "exec": a process in a container,
// started as the person whom the plugin serves. The plugin decides the target
// and hands the stream to its session; the host moves the bytes.
package exec

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// Target is what to run where. An empty Container is the pod's default one.
// Cols and Rows matter with TTY; zero leaves them to the host.
type Target struct {
	Cluster, Namespace, Pod string
	Container               string
	Command                 []string // at least one
	TTY                     bool
	Cols, Rows              int
}

// Open starts the process and returns its stream for session.Splice. A name
// that is empty or is no name is a 400. Other errors are *sdk.Error as the host
// made them, for the handler to return: 403 from policy or grant, 404, 502.
func Open(t Target) (sdk.Stream, error) {
	target, err := rest.URL("exec", t.Cluster, "namespace", t.Namespace, "pod", t.Pod)
	if err != nil {
		return 0, err
	}
	if len(t.Command) == 0 {
		return 0, &abi.Error{Code: abi.CodeInvalid, Status: 400, Message: "command is required"}
	}
	resp, err := guest.Call(open, &abi.Request{Method: "GET", URL: target + "?" + t.query().Encode()})
	if err != nil {
		return 0, err
	}
	return streamOf(resp)
}

func (t *Target) query() url.Values {
	q := url.Values{"command": t.Command}
	if t.Container != "" {
		q.Set("container", t.Container)
	}
	if t.TTY {
		q.Set("tty", "true")
	}
	if t.Cols > 0 {
		q.Set("cols", strconv.Itoa(t.Cols))
	}
	if t.Rows > 0 {
		q.Set("rows", strconv.Itoa(t.Rows))
	}
	return q
}

func streamOf(resp *abi.Response) (sdk.Stream, error) {
	for _, h := range resp.Header {
		if !strings.EqualFold(h.Name, abi.HeaderStream) {
			continue
		}
		if n, err := strconv.ParseInt(h.Value, 10, 32); err == nil {
			return sdk.Stream(n), nil
		}
	}
	return 0, &abi.Error{
		Code: abi.CodeUpstream, Origin: abi.OriginHost, Status: 502,
		Message: "no terminal was opened", Detail: "status " + strconv.Itoa(resp.Status) + " without a stream",
	}
}
