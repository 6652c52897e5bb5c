package sdktest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

// host is the host's side of one entry. A handler may call it from several goroutines.
type host struct {
	h        *Harness
	starting bool
	script   *script // nil outside a session

	mu      sync.Mutex
	kept    []byte
	streams int
}

const maxStreams = 16 // open per entry, as in the host

// enter runs an entry on a frame in the plugin's own buffer. A panic becomes the trap that
// ends an instance.
func (c *host) enter(entry func([]byte) []byte, frame []byte) (out []byte, trap *abi.Error) {
	in := guest.Alloc(uint32(len(frame)))
	if in == nil {
		return nil, &abi.Error{Code: abi.CodeTooLarge, Origin: abi.OriginHost, Status: 413, Message: "the request is too large for a plugin"}
	}
	copy(in, frame)
	before := guest.Native
	guest.Native = c
	defer func() {
		guest.Native = before
		if p := recover(); p != nil {
			c.h.t.Logf("sdktest: the plugin panicked: %v\n%s", p, debug.Stack())
			trap = &abi.Error{Code: abi.CodeTrap, Origin: abi.OriginHost, Status: 502, Message: "the plugin failed"}
		}
	}()
	return bytes.Clone(entry(in)), nil
}

func (c *host) Fetch(capability string, req, resp []byte) int64 {
	r, err := c.call(capability, req)
	return c.answer(resp, r, err)
}

// Open gives the stream of an answer below 400 a number, unless the test has given one.
func (c *host) Open(capability string, req, resp []byte) int64 {
	r, err := c.call(capability, req)
	if err == nil && r.Status < 400 {
		r, err = c.stream(r)
	}
	return c.answer(resp, r, err)
}

func (c *host) stream(r *abi.Response) (*abi.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams++; c.streams > maxStreams {
		return nil, &abi.Error{Code: abi.CodeLimited, Origin: abi.OriginHost, Status: 429, Message: "too many open streams"}
	}
	header := []abi.Pair{{Name: abi.HeaderStream, Value: strconv.Itoa(c.streams)}}
	return &abi.Response{Status: r.Status, Header: append(header, r.Header...), Body: r.Body}, nil
}

func (c *host) call(capability string, frame []byte) (*abi.Response, error) {
	r, err := abi.DecodeRequest(bytes.Clone(frame))
	switch {
	case err != nil:
		return nil, &abi.Error{Code: abi.CodeInvalid, Origin: abi.OriginHost, Status: 400, Message: err.Error()}
	case r.Host != nil:
		return nil, &abi.Error{Code: abi.CodeInvalid, Origin: abi.OriginHost, Status: 400, Message: "a guest may not write the host section"}
	case !c.h.asks(capability):
		c.h.t.Errorf("sdktest: the plugin called capability %q, which its manifest does not request: it would not load", capability)
		return nil, notGranted(c.h.instance, capability)
	case c.starting:
		return nil, &abi.Error{Code: abi.CodeUnavailable, Origin: abi.OriginHost, Status: 503, Retryable: true,
			Message: "capabilities are not available while the plugin starts"}
	case c.h.capabilities[capability] == nil:
		return nil, notGranted(c.h.instance, capability)
	}
	resp, err := c.h.capabilities[capability](r)
	if err == nil && resp == nil {
		err = fmt.Errorf("capability %q returned neither a response nor an error", capability)
	}
	return resp, err
}

// answer writes the frame of a call's outcome, or keeps it for Take.
func (c *host) answer(buf []byte, r *abi.Response, err error) int64 {
	if err == nil {
		return c.deliver(buf, abi.AppendResponse(nil, r))
	}
	x, ok := errors.AsType[*abi.Error](err)
	if !ok {
		x = &abi.Error{Code: abi.CodeUpstream, Origin: abi.OriginUpstream, Status: 502, Message: "upstream failed", Detail: err.Error()}
	}
	return c.deliver(buf, abi.AppendError(nil, x))
}

func (c *host) deliver(buf, frame []byte) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = nil
	if len(frame) > len(buf) {
		c.kept = frame
		return int64(len(frame))
	}
	return int64(copy(buf, frame))
}

func (c *host) Take(buf []byte) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) > len(buf) {
		return int64(len(c.kept))
	}
	n := copy(buf, c.kept)
	c.kept = nil
	return int64(n)
}

func (c *host) Write(level int32, text string) { c.h.t.Logf("log %+d: %s", level, text) }

func (c *host) Record(level int32, text string, attributes []byte) {
	list, err := abi.DecodeAttributes(attributes)
	if err != nil {
		c.h.t.Errorf("sdktest: attributes of the log record %q: %v", text, err)
	}
	for _, p := range list {
		text += fmt.Sprintf(" %s=%q", p.Name, p.Value)
	}
	c.Write(level, text)
}
