// Package exec is the client of the capability "exec", which starts a process in a
// container as the user. The plugin chooses the target and passes the stream to its
// session; the host moves the bytes.
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

// Target is the container and the command to run in it. An empty Container means the pod's
// default container. Cols and Rows apply with TTY only; zero means the host's default.
type Target struct {
	Cluster, Namespace, Pod string
	Container               string
	Command                 []string // at least one
	TTY                     bool
	Cols, Rows              int
}

// Open starts the process and returns its stream for session.Splice. An empty or invalid
// name is an error with status 400. Other errors are *sdk.Error from the host, which the
// handler can return: 403 from policy or grant, 404, 502.
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
