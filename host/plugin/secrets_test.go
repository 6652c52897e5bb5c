package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// overheard keeps the frames that cross between guest and capability.
type overheard struct {
	*azure.Azure
	frames *logtest.Log
}

func (o *overheard) Kind() *capability.Kind {
	k := *o.Azure.Kind()
	classify := k.Classify
	k.Classify = func(r *abi.Request) (capability.Prepared, error) {
		_, _ = o.frames.Write(abi.AppendRequest(nil, r))
		return classify(r)
	}
	return &k
}

func (o *overheard) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	resp, err := o.Azure.Fetch(ctx, p)
	if err != nil {
		_, _ = o.frames.Write(abi.AppendError(nil, capability.ErrorFrame(err)))
	} else {
		_, _ = o.frames.Write(abi.AppendResponse(nil, resp))
	}
	return resp, err
}

// clear seals nothing, so that everything sealed is searched too.
type clear struct{}

func (clear) Seal(_ string, v any) (string, error) {
	data, err := json.Marshal(v)
	return string(data), err
}
func (clear) Unseal(_, text string, v any) error { return json.Unmarshal([]byte(text), v) }

type always struct{ lost atomic.Bool }

func (a *always) Alive() bool { return !a.lost.Load() }
func (*always) Cause() error  { return nil }

// TestNoSecretReachesTheGuest runs every kind of request of the azure plugin,
// good ones and failing ones, and searches the guest's whole memory after each,
// before it is restored, as well as the frames and the log.
func TestNoSecretReachesTheGuest(t *testing.T) {
	f := azuretest.Start(t)
	frames, logged := new(logtest.Log), new(logtest.Log)
	log := slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	box, err := sandbox.New(sandbox.Config{CacheDir: filepath.Join(cache, "bulkhead", "compiled"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	subscriptions, err := azure.New([]azure.Config{f.Config("prod")}, clear{}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer subscriptions.Close()
	allow := func(context.Context, *host.Question) host.Decision { return host.Decision{Allow: true} }
	registry, err := NewRegistry(Options{Sandbox: box, Broker: capability.NewBroker(allow, log, &overheard{subscriptions, frames}), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := registry.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	any := []string{"*"}
	_, err = registry.Swap(t.Context(), Swap{Origin: File, Config: Config{Name: "azure", Source: packtest.Build(t, "plugins/azure"), Grants: map[string][]capability.Grant{
		"azure": {{Instances: any, Resources: any, ResourceGroups: any, Verbs: any}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	g := registry.Get("azure")

	canaries := []string{azuretest.Secret, "fake-token-", "client_secret", "Bearer "}
	search := func(where, what string) {
		t.Helper()
		for _, c := range canaries {
			if strings.Contains(what, c) {
				t.Errorf("%q is in %s", c, where)
			}
		}
	}
	web := "?resourceGroup=rg1&containerGroup=web"
	ask := func(request string) {
		t.Helper()
		method, target, _ := strings.Cut(request, " ")
		memory := run(t, g, log, method, target)
		search("the guest's memory after "+request, memory)
		if name := strings.TrimPrefix(target, "/prod/"); !strings.Contains(memory, strings.SplitN(name, "?", 2)[0]) {
			t.Fatalf("the guest's memory after %s is not what was searched", request)
		}
	}
	for _, request := range []string{
		"GET /prod/resourcegroups", "GET /prod/containerinstances/containergroups", "GET /prod/containerinstances/containergroup/details" + web,
		"GET /prod/containerinstances/containergroup/logs" + web + "&container=web", "PUT /prod/containerinstances/containergroup/restart" + web,
		"PUT /prod/containerinstances/containergroup/stop" + web, "GET /prod/kubernetesservices/managedclusters",
		"GET /prod/virtualmachinescalesets/virtualmachinescaleset/virtualmachines?resourceGroup=rg1&virtualMachineScaleSet=pool",
		"GET /prod/costmanagement/actualcost", "GET /prod/containerinstances/containergroup/details?resourceGroup=rg1&containerGroup=absent",
		"GET /prod/monitor/metricdefinitions?resourceGroup=rg1&provider=Microsoft.Compute/virtualMachines/vm-1", "GET /nowhere/resourcegroups",
	} {
		ask(request)
	}
	for _, fault := range []azuretest.Fault{{Status: 401, Code: "InvalidAuthenticationToken"}, {Status: 500}, {Drop: true}, {Body: "nonsense"}} {
		f.Fail(fault)
		ask("GET /prod/containerinstances/containergroup/details" + web)
		f.Heal()
	}
	f.Stop()
	ask("GET /prod/resourcegroups")
	search("the frames", frames.String())
	search("the log", logged.String())
	for name, in := range map[string]string{"frames": frames.String(), "log": logged.String()} {
		if !strings.Contains(in, "containerGroups") {
			t.Errorf("%s: not what was to be searched: %.200q", name, in)
		}
	}
}

// run does what Handle does and returns the guest's memory as the call left it.
func run(t *testing.T, g *Generation, log *slog.Logger, method, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := g.Match(false, method, u.Path, u.Query())
	if m == nil {
		t.Fatalf("no route for %s %s", method, target)
	}
	c := &Call{Match: m, URL: target, Caller: &capability.Caller{
		Plugin: "azure", Principal: &host.Principal{User: "ann@example.com"}, Route: m.Route, Resource: m.Resource,
		Authority: &always{}, RequestID: "r1", Logger: log,
	}}
	i, release, err := g.acquire(t.Context(), c.Caller.Principal.User)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	state := &call{caller: c.Caller, log: c.Caller.Logger}
	defer state.release()
	_, _, err = enter(withCall(t.Context(), state), i, abi.ExportHandle, abi.AppendRequest(nil, c.request(t.Context())))
	if _, refused := errors.AsType[*abi.Error](err); err != nil && !refused {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	var memory bytes.Buffer
	const page = 64 << 10
	for at := uint32(0); ; at += page {
		part, ok := i.Memory().Copy(at, page)
		if !ok {
			return memory.String()
		}
		memory.Write(part)
	}
}
