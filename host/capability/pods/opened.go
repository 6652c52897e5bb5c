package pods

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/host/stream"
)

// opened is a stream that was opened and is not pumped yet.
type opened struct {
	provider  *Pods
	permit    *capability.Permit
	recording *recording.Recording // nil if it is not recorded
	protocols []string
	events    bool // an event stream, which has no subprotocol, can carry it
	start     func(protocol string) stream.Upstream
	used      atomic.Bool
}

// Subprotocols returns those of the operation.
func (s *opened) Subprotocols() []string { return s.protocols }

// MaxMessage is one byte more than the pump accepts, so that the pump can report a
// message that is slightly too large.
func (*opened) MaxMessage() int { return stream.MaxMessage + 1 }

// Close makes the stream unusable; nothing is running yet.
func (s *opened) Close() error {
	if !s.used.Swap(true) && s.recording != nil {
		return s.recording.Discard()
	}
	return nil
}

// Splice runs the operation and moves its data.
func (s *opened) Splice(ctx context.Context, c capability.Client) error {
	if s.used.Swap(true) {
		return host.E(host.Conflict, name, "the stream was used or closed")
	}
	protocol := c.Subprotocol()
	if !slices.Contains(s.protocols, protocol) && !(s.events && protocol == "") {
		return host.E(host.Invalid, name, "the subprotocol is not %s", strings.Join(s.protocols, " or "))
	}
	o := &s.permit.Obligations
	options := stream.Options{Op: name, Client: c, Authority: s.permit.Caller.Authority, MaxSession: o.MaxSession, Idle: o.Idle}
	if s.recording != nil {
		options.Recorder = s.recording
	}
	return stream.Run(ctx, options, s.start(protocol))
}
