package guest

import (
	"fmt"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Func is fetch or open of a capability: it passes the request's frame and a buffer for
// the answer to the host, and returns the answer's length. The host keeps an answer that
// is longer than resp until it is taken.
type Func func(req, resp []byte) int64

// The buffers of outbound calls. The lock is for handlers that call from
// several goroutines.
var (
	callMu   sync.Mutex
	callReq  []byte
	callResp []byte
)

const firstAnswer = 16 << 10

// Call makes one capability call and decodes its answer. The error is an *abi.Error if the
// host, or the service that it called, refused or failed.
func Call(f Func, req *abi.Request) (*abi.Response, error) {
	if err := sendable(req); err != nil {
		return nil, err
	}
	callMu.Lock()
	defer callMu.Unlock()
	if callResp == nil {
		callResp = make([]byte, firstAnswer)
	}
	callReq = abi.AppendRequest(callReq[:0], req)
	frame, err := Receive(f(callReq, callResp), &callResp)
	if err != nil {
		return nil, err
	}
	return abi.DecodeReply(frame)
}

// Receive returns the n bytes that the host wrote into *buf, or takes them from
// the host after making *buf large enough.
func Receive(n int64, buf *[]byte) ([]byte, error) {
	if n < 0 || n > abi.MaxFrame {
		return nil, noAnswer(n)
	}
	if n <= int64(len(*buf)) {
		return (*buf)[:n], nil
	}
	*buf = make([]byte, n)
	if got := take(*buf); got != n {
		return nil, noAnswer(got)
	}
	return *buf, nil
}

func noAnswer(n int64) error {
	return &abi.Error{
		Code: abi.CodeInternal, Origin: abi.OriginHost, Status: 500,
		Message: fmt.Sprintf("the host gave no answer (%d)", n),
	}
}

// sendable refuses a request that does not fit into a frame.
func sendable(r *abi.Request) error {
	switch {
	case len(r.Method) > abi.MaxString, len(r.URL) > abi.MaxString:
		return &abi.Error{Code: abi.CodeTooLarge, Status: 413, Message: "the URL of a capability call is over 64 KiB"}
	case len(r.Body) > abi.MaxBody:
		return &abi.Error{Code: abi.CodeTooLarge, Status: 413, Message: "the body of a capability call is over 8 MiB"}
	}
	if what := badHeader(r.Header); what != "" {
		return &abi.Error{Code: abi.CodeTooLarge, Status: 413, Message: "a capability call " + what}
	}
	return nil
}
