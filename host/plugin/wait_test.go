package plugin

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// busy is a capability whose upstream asks to wait.
type busy struct{}

func (busy) Kind() *capability.Kind {
	return &capability.Kind{
		Name: "busy", Dimensions: []capability.Dimension{{Name: capability.Verbs}},
		Classify: func(*abi.Request) (capability.Prepared, error) {
			return capability.Prepared{Call: host.CapabilityCall{Verb: "get", Effect: host.EffectRead}}, nil
		},
	}
}
func (busy) Fetch(context.Context, *capability.Permit) (*abi.Response, error) {
	return nil, &host.Error{Kind: host.Limited, Status: 429, RetryAfter: 37 * time.Second}
}

type alive struct{}

func (alive) Alive() bool  { return true }
func (alive) Cause() error { return nil }

// A plugin in any language hands an upstream's refusal on, without knowing that it
// says how long to wait.
func TestARefusalThatAPluginHandsOnSaysHowLongToWait(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	allow := func(context.Context, *host.Question) host.Decision { return host.Decision{Allow: true} }
	granted, err := capability.NewBroker(allow, log, busy{}).Grant("p", map[string][]capability.Grant{"busy": {{Verbs: []string{"*"}}}})
	if err != nil {
		t.Fatal(err)
	}
	caller := &capability.Caller{Principal: &host.Principal{User: "ann"}, Authority: alive{}, Logger: log}
	c := &Call{Match: &Match{Route: host.Route{Name: "r"}}, Caller: caller}
	g := &Generation{name: "p"}
	_, refused := granted.Fetch(t.Context(), caller, "busy", &abi.Request{})
	for frame, want := range map[*abi.Error]time.Duration{
		capability.ErrorFrame(refused):        37 * time.Second,
		{Status: 429, Message: "in my words"}: 37 * time.Second,
		{Status: 404, Message: "not there"}:   0,
	} {
		e, ok := errors.AsType[*host.Error](g.failure(t.Context(), c, frame))
		if !ok || e.RetryAfter != want {
			t.Errorf("%+v: %+v, want %v", frame, e, want)
		}
	}
}
