package guest

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Both buffers belong to the guest and stay reachable, so the garbage collector does not
// free them while the host reads or writes them. They are allocated before the first
// request, so that an ordinary request does not grow memory.
var (
	inbound  = make([]byte, 64<<10)
	outbound = make([]byte, 0, 64<<10)
)

// Alloc returns the inbound buffer with n bytes, nil if n exceeds the size of a frame. It
// invalidates the result of an earlier call.
func Alloc(n uint32) []byte {
	if n > abi.MaxFrame {
		return nil
	}
	if int(n) > len(inbound) {
		inbound = make([]byte, n)
	}
	return inbound[:n]
}

// Start runs the start functions with a Start frame and returns a Response or
// Error frame, valid until the next entry.
func Start(frame []byte) []byte {
	s, err := abi.DecodeStart(frame)
	if err != nil {
		return refuse(hostFault(err))
	}
	for _, f := range starters {
		if err := f(s); err != nil {
			return refuse(startFault(err))
		}
	}
	return answer(&abi.Response{Status: 204})
}

// Handle runs the handler that a Request frame names and returns a Response or
// Error frame, valid until the next entry.
func Handle(frame []byte) []byte {
	r, x := decodeRequest(frame)
	if x != nil {
		return refuse(x)
	}
	f, ok := handlers[r.Host.Route]
	if !ok {
		f, ok = unary.find(r)
	}
	if !ok {
		return refuse(noHandler(r.Host.Route))
	}
	resp, err := f(r)
	if err != nil {
		return refuse(publicError(r.Host.Route, err))
	}
	return answer(resp)
}

// Handlers lists the registered handlers as abi.ExportRoutes does.
func Handlers() []byte {
	var body []byte
	for _, name := range Routes() {
		body = append(append(append(body, "unary "...), name...), '\n')
	}
	for _, name := range Sessions() {
		body = append(append(append(body, "session "...), name...), '\n')
	}
	return answer(&abi.Response{Status: 200, Body: body})
}

// Session runs a session route to its end. The client gets the returned frame only if the
// session was never used; see abi.ModuleSession.
func Session(frame []byte) []byte {
	r, x := decodeRequest(frame)
	if x != nil {
		return refuse(x)
	}
	f, ok := sessions[r.Host.Route]
	if !ok {
		f, ok = streams.find(r)
	}
	if !ok {
		return refuse(noHandler(r.Host.Route))
	}
	if err := f(r); err != nil {
		return refuse(publicError(r.Host.Route, err))
	}
	return answer(&abi.Response{Status: 204})
}

func decodeRequest(frame []byte) (*abi.Request, *abi.Error) {
	r, err := abi.DecodeRequest(frame)
	if err != nil {
		return nil, hostFault(err)
	}
	if r.Host == nil {
		return nil, hostFault(&abi.FrameError{Field: "host section", What: "is missing"})
	}
	return r, nil
}

func answer(r *abi.Response) []byte {
	if r == nil {
		r = &abi.Response{Status: 204}
	}
	if what := unsendable(r); what != "" {
		Log(levelError, "response "+what)
		return refuse(internalError())
	}
	outbound = abi.AppendResponse(outbound[:0], r)
	return outbound
}

// unsendable returns why the host could not decode the frame of r.
func unsendable(r *abi.Response) string {
	switch {
	case r.Status < 200 || r.Status > 599:
		return "status must be from 200 to 599"
	case len(r.Body) > abi.MaxBody:
		return "body is over the limit of 8 MiB"
	}
	return badHeader(r.Header)
}

func badHeader(header []abi.Pair) string {
	if len(header) > abi.MaxHeaders {
		return "has more than 256 headers"
	}
	for _, p := range header {
		if len(p.Name) > abi.MaxString || len(p.Value) > abi.MaxString {
			return "has a header over 64 KiB"
		}
	}
	return ""
}

func refuse(x *abi.Error) []byte {
	outbound = abi.AppendError(outbound[:0], x)
	return outbound
}
