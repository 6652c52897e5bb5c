package cases

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// origins are the origins of errors, by their names. A service can carry out a call by further
// ones, which policy refuses.
var origins = map[string]abi.Origin{"policy": abi.OriginPolicy, "grant": abi.OriginGrant, "host": abi.OriginHost, "upstream": abi.OriginUpstream}

// script answers the capability calls of one case, and keeps what it was asked.
type script struct {
	mu       sync.Mutex
	session  bool   // other calls wait until it ends
	calls    []Call // that were not made yet
	others   []string
	recorded []Call
}

// begin makes s that of a case.
func (s *script) begin(calls []Call, session bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session, s.calls, s.others, s.recorded = session, slices.Clone(calls), nil, nil
}

// end returns what was wrong with the calls of the case. well says that the steps of a session
// were taken, so that nothing depends on its other calls.
func (s *script) end(well bool) (problems []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.session || !well {
		problems = s.others
	}
	for _, c := range s.calls {
		problems = append(problems, "this call was not made: "+c.Request.method()+" "+c.Request.URL)
	}
	return problems
}

// recording returns the calls since begin.
func (s *script) recording() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recorded
}

func (r *CallRequest) method() string { return cmp.Or(r.Method, "GET") }

// answer answers a call with the first of the case's that fits.
func (s *script) answer(ctx context.Context, x *capability.Exchange) {
	if s.outcome(x) {
		return
	}
	<-ctx.Done()
	x.Err = context.Cause(ctx)
}

// outcome sets the outcome of a call; false: it waits.
func (s *script) outcome(x *capability.Exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := slices.IndexFunc(s.calls, func(c Call) bool {
		r := &c.Request
		return r.method() == x.Request.Method && r.URL == x.Request.URL && (!r.given() || r.sameBody(x.Request.Body))
	})
	if k < 0 {
		what := x.Request.Method + " " + x.Request.URL
		if body := x.Request.Body; len(body) > 0 {
			what += fmt.Sprintf(" with the body %.200q", body)
		}
		s.others = append(s.others, "the case has no answer for this call: "+what)
		if s.session {
			return false
		}
		x.Err = &abi.Error{Status: 502, Code: abi.CodeUpstream, Origin: abi.OriginUpstream, Message: "the case has no answer for this call"}
		return true
	}
	c := s.calls[k]
	s.calls = slices.Delete(s.calls, k, k+1)
	if e := c.Error; e != nil {
		x.Err = &abi.Error{Status: e.Status, Code: abi.CodeOf(e.Status), Origin: origins[cmp.Or(e.Origin, "upstream")], Message: e.Message, Detail: e.Detail}
		return true
	}
	a := c.Answer
	x.Response = &abi.Response{Status: cmp.Or(a.Status, 200), Body: a.bytes()}
	for _, name := range sorted(a.Header) {
		x.Response.Header = append(x.Response.Header, abi.Pair{Name: name, Value: a.Header[name]})
	}
	return true
}

// keep records a call that a service has answered. One that the session's end has cut short
// has no answer.
func (s *script) keep(ctx context.Context, x *capability.Exchange) {
	if x.Err != nil && ctx.Err() != nil {
		return
	}
	c := Call{Request: CallRequest{Method: x.Request.Method, URL: x.Request.URL, Content: contentOf(x.Request.Body)}}
	if x.Err != nil {
		frame := capability.ErrorFrame(x.Err)
		c.Error = &CallError{Status: frame.Status, Origin: frame.Origin.String(), Message: frame.Message, Detail: frame.Detail}
	} else {
		c.Answer = &CallAnswer{Status: x.Response.Status, Content: contentOf(x.Response.Body)}
		for _, p := range x.Response.Header {
			if c.Answer.Header == nil {
				c.Answer.Header = map[string]string{}
			}
			if old, ok := c.Answer.Header[p.Name]; ok {
				p.Value = strings.Join([]string{old, p.Value}, ", ")
			}
			c.Answer.Header[p.Name] = p.Value
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorded = append(s.recorded, c)
}
