package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/account"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/admin"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/door"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.close != nil {
		shared.close()
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// surface is a gateway with all rooms and what they need, behind a real HTTP server:
// sign-in, the store, sessions, the shipped policy, and the plugin probe. ann is an
// admin, vic a viewer of everything, nia may do nothing.
type surface struct{ *surfacetest.Surface }

var shared struct {
	once sync.Once
	*surface
	close func()
}

// open returns the surface that tests share. Tests do not run in
// parallel.
func open(t *testing.T) *surface {
	t.Helper()
	shared.once.Do(func() {
		var undo []func()
		shared.surface = start(t, func(f func()) { undo = append(undo, f) })
		shared.close = func() {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	})
	if shared.surface == nil {
		t.Fatal("the shared surface did not start")
	}
	return shared.surface
}

const directoryYAML = `
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ann}
spec: {id: ann@example.com, roles: [admin]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: vic}
spec: {id: vic@example.com, roles: [viewer]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: eve}
spec: {id: eve@example.com, roles: [editor]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: nia}
spec: {id: nia@example.com}
`

type knownPeople struct{ *directory.Directory }

func (p knownPeople) PersonOf(who *host.Principal) (authn.Person, bool) {
	x, ok := p.Directory.PersonOf(who)
	return authn.Person{Name: x.Name, Roles: x.Roles, Teams: x.Teams}, ok
}

func start(t *testing.T, cleanup func(func())) *surface {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "bulkhead-gateway-")
	must(err)
	cleanup(func() { _ = os.RemoveAll(dir) })
	must(os.MkdirAll(filepath.Join(dir, "directory"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "directory", "people.yaml"), []byte(directoryYAML), 0o600))
	s := &surface{&surfacetest.Surface{Log: &logtest.Log{}}}
	log := slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx := context.Background()
	people, err := directory.Open(ctx, directory.Config{Dir: filepath.Join(dir, "directory"), Base: policies.Roles(), Kinds: new(all.Config).Catalog()})
	must(err)
	cleanup(func() { _ = people.Close() })
	var decisions audit.Config
	must(json.Unmarshal(fmt.Appendf(nil, `{"file":{"path":%q}}`, filepath.Join(dir, "decisions.jsonl")), &decisions))
	engine, err := authz.Open(ctx, authz.Config{Directory: people, Log: decisions})
	must(err)
	cleanup(func() { _ = engine.Close() })
	store, err := state.Open(ctx, state.Config{Dir: filepath.Join(dir, "data")})
	must(err)
	cleanup(func() { _ = store.Close() })
	s.Sessions = session.NewTable(store.Revoked, session.Options{Lapsed: store.Lapsed, Decide: engine.Decide})
	ender := session.NewEnder(s.Sessions, store)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s.Addr = listener.Addr().String()
	public := &url.URL{Scheme: "http", Host: s.Addr}
	s.URL = public.String()
	signIn, err := authn.New(authn.Config{
		PublicURL: public, State: store, Sessions: ender, Directory: knownPeople{people},
		Options: authn.Options{Dev: &struct{}{}}, Rates: authn.Rates{Client: -1, Account: -1}, Logger: log,
	})
	must(err)
	s.Gateway = gateway.New(gateway.Config{
		Listen: s.Addr, PublicURL: public, Authn: signIn, Sessions: s.Sessions, Decide: engine.Decide, Health: surfacetest.Healthy, Logger: log,
	})
	account.Mount(s.Gateway, account.Config{SignIn: signIn, Sessions: ender, Plugins: func(*host.Principal) []plugin.Info { return []plugin.Info{surfacetest.Probe{}.Info()} }, Would: engine.Would})
	admin.Mount(s.Gateway, admin.Config{
		Sessions: ender, Directory: people, HostView: func(string) *policytool.HostView { return &policytool.HostView{} },
		Kinds: new(all.Config).Catalog(), Uploads: store,
		Plugins:       fleet.New(fleet.Config{Store: store, Registry: noPlugins{}, Packages: noPackages{}, Logger: log}),
		Policy:        &policytool.Tools{Engine: engine, Kinds: new(all.Config).Catalog(), Directory: people, Log: decisions.File},
		Configuration: settings{},
	})
	door.Mount(s.Gateway, door.Config{Lease: probe, Behind: func(string) error { return nil }})
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: s.Gateway, MaxHeaderBytes: gateway.MaxHeaderBytes}}
	server.Start()
	cleanup(server.Close)
	cleanup(func() { s.Sessions.Shutdown(ctx) })
	return s
}

func probe(name string, _ *host.Principal) (door.Plugin, bool) {
	return surfacetest.Probe{}, name == "probe"
}

// as signs in at the surface; an empty name does not.
func (s *surface) as(t *testing.T, name string) *surfacetest.Person {
	t.Helper()
	p := s.Anonymous(t)
	if name == "" {
		return p
	}
	p.User = host.UserID(name + "@example.com")
	if got := p.Do("POST", "/auth/login", fmt.Sprintf(`{"user":%q}`, p.User)); got.Status != 200 {
		t.Fatalf("sign-in: %v", got)
	}
	return p
}

// settings is a configuration that serves and does not change.
type settings struct{}

func (settings) ConfigStatus() config.Status { return config.Status{Revision: "abc"} }

func (settings) Reload(context.Context, bool) (*config.Report, error) {
	return &config.Report{Outcome: config.Unchanged}, nil
}
