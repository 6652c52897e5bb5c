package capability

import (
	"context"
	"log/slog"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestAGrantCoversItsVerbsOnly(t *testing.T) {
	for verb, allowed := range map[string]bool{"get": true, "list": false, "*": true} {
		b := NewBroker(func(context.Context, *host.Question) host.Decision { return host.Decision{Allow: true} },
			slog.New(slog.DiscardHandler), &tank{})
		granted, err := b.Grant("p", map[string][]Grant{"tank": {{ResourceGroups: []string{"*"}, Verbs: []string{verb}}}})
		if err != nil {
			t.Fatal(err)
		}
		caller := &Caller{Principal: &host.Principal{User: "ann"}, Authority: &authority{}}
		_, err = granted.Fetch(t.Context(), caller, "tank", &abi.Request{Method: "GET", URL: "tank://x/rg1"})
		if (err == nil) != allowed {
			t.Errorf("a call with the verb get, granted %q: %v", verb, err)
		}
	}
}
