package git

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/git/gittest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// sourceAt is a source of the repositories below the server.
func sourceAt(w *gittest.Web, name, below string) Config {
	return Config{Name: name, URL: w.URL + below, User: gittest.User, TokenFile: w.TokenFile, CAFile: w.CAFile}
}

// authority is a host.Authority that a test can revoke.
type authority struct{ cause atomic.Pointer[error] }

func (a *authority) Alive() bool { return a.cause.Load() == nil }

func (a *authority) Cause() error {
	if p := a.cause.Load(); p != nil {
		return *p
	}
	return nil
}

func (a *authority) lose(cause error) { a.cause.Store(&cause) }

// reader is a user of a provider whose policy allows everything.
type reader struct {
	t    testing.TB
	git  *Git
	auth *authority
	ctx  context.Context
	seen *host.CapabilityCall // the last call that policy saw
}

func open(t testing.TB, list ...Config) *reader {
	t.Helper()
	g, err := New(list, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return &reader{t: t, git: g, auth: new(authority), ctx: t.Context()}
}

func (r *reader) fetch(target string) (*abi.Response, error) {
	r.t.Helper()
	b := capability.NewBroker(func(_ context.Context, q *host.Question) host.Decision {
		r.seen = q.Capability
		return host.Decision{Allow: true}
	}, slog.New(slog.DiscardHandler), r.git)
	granted, err := b.Grant("p", map[string][]capability.Grant{"git": {{Repositories: []string{"*"}, Verbs: []string{"*"}}}})
	if err != nil {
		r.t.Fatal(err)
	}
	caller := &capability.Caller{Principal: &host.Principal{User: "x"}, Authority: r.auth}
	return granted.Fetch(r.ctx, caller, "git", &abi.Request{Method: "GET", URL: target})
}

// get is fetch of something that exists.
func get[T any](r *reader, target string) (out T) {
	r.t.Helper()
	resp, err := r.fetch(target)
	if err != nil {
		r.t.Fatalf("%s: %v", target, err)
	}
	if err := json.Unmarshal(resp.Body, &out); err != nil {
		r.t.Fatalf("%s: %v in %s", target, err, resp.Body)
	}
	return out
}

type gotFiles struct {
	Source, Repository, Ref, Commit, Path string
	Files                                 []file
}

func (g *gotFiles) paths() string {
	var all []string
	for _, f := range g.Files {
		all = append(all, f.Path)
	}
	return strings.Join(all, " ")
}

type gotManifests struct {
	Commit string
	manifests
}

// refused requires an error of a kind whose text has the words.
func (r *reader) refused(target string, kind host.Kind, words string) {
	r.t.Helper()
	resp, err := r.fetch(target)
	if err == nil {
		r.t.Errorf("%s: answered %.300s", target, resp.Body)
		return
	}
	if host.KindOf(err) != kind || !strings.Contains(err.Error(), words) {
		r.t.Errorf("%s: %v (%v), want %v with %q", target, err, host.KindOf(err), kind, words)
	}
	if strings.Contains(err.Error(), gittest.Token) {
		r.t.Errorf("%s: the error has the token: %v", target, err)
	}
}
