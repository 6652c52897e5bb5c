package azure_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
)

type outcome struct {
	Status, ID string
	Error      struct{ Code, Message string }
	Target     struct{ Type, ResourceGroup, Name string }
}

func stateOf(id, wait string) string {
	return "azure://prod/operations?id=" + strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "&", "%26", "?", "%3F", "/", "%2F", "=", "%3D", "+", "%2B", "%", "%25").Replace(id) + "&wait=" + wait
}

func TestALongRestartIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	f.Hold()
	var begun, now outcome
	if resp := p.get("POST", web+"/restart", &begun); resp.Status != 202 || begun.Status != "InProgress" || begun.ID == "" || begun.Target.Name != "web" {
		t.Fatalf("got %d %+v", resp.Status, begun)
	}
	if p.get("GET", stateOf(begun.ID, "0"), &now); now.Status != "InProgress" {
		t.Errorf("held: %+v", now)
	}
	f.Release()
	for range 3 {
		if now.Status != "Succeeded" {
			p.get("GET", stateOf(begun.ID, "20"), &now)
		}
	}
	if now.Status != "Succeeded" || now.Target.ResourceGroup != "rg1" {
		t.Errorf("released: %+v", now)
	}
	var group struct {
		Properties struct {
			Containers []struct {
				Properties struct{ InstanceView struct{ RestartCount int } }
			}
		}
	}
	p.get("GET", web, &group)
	if n := group.Properties.Containers[0].Properties.InstanceView.RestartCount; n != 1 {
		t.Errorf("it was restarted %d times", n)
	}
	// A change that Azure makes at once has no state to ask for.
	if resp := p.get("POST", web+"/stop", &begun); resp.Status != 200 || begun.Status != "Succeeded" {
		t.Errorf("stop: %d %+v", resp.Status, begun)
	}
	for _, path := range []string{
		web + "/start", "azure://prod/resourceGroups/rg1/providers/Microsoft.ContainerService/managedClusters/aks-a/stop",
		"azure://prod/resourceGroups/rg1/providers/Microsoft.ContainerService/managedClusters/aks-a/start",
		"azure://prod/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/1/restart",
	} {
		if resp := p.get("POST", path, &begun); resp.Status != 202 || begun.ID == "" {
			t.Errorf("%s: %d %+v", path, resp.Status, begun)
		}
	}
}

func TestLogoutEndsALongPollAndTheStateStaysReadable(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	f.Hold()
	var begun outcome
	p.get("POST", web+"/restart", &begun)
	ctx, end := context.WithCancelCause(t.Context())
	p.ctx = ctx
	ended := make(chan error, 1)
	go func() {
		_, err := p.do("GET", stateOf(begun.ID, "20"))
		ended <- err
	}()
	polled := func() bool { return len(f.Requests()) > 1 }
	for deadline := time.Now().Add(time.Minute); !polled(); {
		if time.Now().After(deadline) {
			t.Fatal("nobody asks")
		}
	}
	p.authority.cause.Store(host.ErrLoggedOut) // as a session does: authority first
	end(host.ErrLoggedOut)
	select {
	case err := <-ended:
		if !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("the poll ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the poll goes on")
	}
	f.Forget()
	if _, err := p.do("GET", web); !errors.Is(err, host.ErrLoggedOut) || len(f.Requests()) != 0 {
		t.Errorf("after logout: %v, and Azure was asked %v", err, f.Requests())
	}
	f.Release()
	again := newPerson(t, f.Config("prod")) // another login, or another replica
	var now outcome
	again.get("GET", stateOf(begun.ID, "20"), &now)
	if now.Status != "Succeeded" && now.Status != "InProgress" {
		t.Errorf("got %+v", now)
	}
}

// Azure's answer may name two addresses. That of the operation counts, and its body
// says how the change stands.
func TestAnOperationsOwnStateCounts(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	f.Fail(azuretest.Fault{Method: "POST", Status: 202, Body: "{}", Location: f.Endpoint + "/subscriptions/" + f.Subscription + "/operationStatuses/7", Times: 1})
	var begun, now outcome
	if resp := p.get("POST", web+"/restart", &begun); resp.Status != 202 || begun.ID == "" {
		t.Fatalf("%d %+v", resp.Status, begun)
	}
	for body, want := range map[string]string{`{"status":"Updating"}`: "InProgress", `{"status":"Canceled"}`: "Canceled", `{"status":"Succeeded"}`: "Succeeded"} {
		f.Heal()
		f.Fail(azuretest.Fault{Method: "GET", Path: "operationStatuses/7", Body: body})
		if p.get("GET", stateOf(begun.ID, "0"), &now); now.Status != want {
			t.Errorf("%s: %+v", body, now)
		}
	}
	for _, wait := range []string{"-1", "21", "soon", "18446744074"} {
		if _, err := p.do("GET", stateOf(begun.ID, wait)); host.KindOf(err) != host.Invalid {
			t.Errorf("a wait of %s seconds: %v", wait, err)
		}
	}
}
