package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/sandboxtest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// hostile packs a module of testdata/hostile as a plugin with the route GET /run,
// and, where socket is true, a socket at /.
func hostile(t testing.TB, name string, socket bool) plugin.Config {
	t.Helper()
	m := manifest.Manifest{
		Name: "hostile", Version: "1.0.0", Description: "Hostile.",
		Routes:       []manifest.Route{{Name: "run", Method: "GET", Path: "/run", Action: "run.read"}},
		Capabilities: []manifest.Capability{{Name: "helm", Reason: "To see what comes of it.", Optional: true}},
	}
	if socket {
		m.Routes = append(m.Routes, manifest.Route{Name: "chat", Kind: manifest.Socket, Method: "GET", Path: "/", Action: "chat.read"})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := manifest.Embed(sandboxtest.Assemble(t, filepath.Join("testdata", "hostile", name+".wat")), raw)
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(t.TempDir(), name+".wasm")
	if err := os.WriteFile(source, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return plugin.Config{Name: "hostile", Source: source, Grants: everything}
}

// large is a capability's answer of 8 MiB.
func large(context.Context) (*abi.Response, error) {
	return &abi.Response{Status: 200, Body: make([]byte, abi.MaxBody)}, nil
}

// What the host keeps for a guest counts: the frame with which it asks, what is
// answered and not taken yet, and its own answer until that was written. The
// guests' memory is 16 MiB and a bit; a person who may have so much and no more
// than half of the frame is refused, one who has room for it is not, again and
// again.
func TestFramesCountForPersonAndPlugin(t *testing.T) {
	for _, c := range []struct {
		module         string
		little, enough int // MiB
	}{
		{"one-large-frame", 24, 36},
		{"never-taken", 24, 36},
		{"large-answer", 20, 30},
	} {
		for who, limits := range map[string]func(mib int) (plugin.Limits, plugin.UserLimits){
			"person": func(mib int) (plugin.Limits, plugin.UserLimits) {
				return plugin.Limits{}, plugin.UserLimits{MemoryMiB: mib}
			},
			"plugin": func(mib int) (plugin.Limits, plugin.UserLimits) {
				return plugin.Limits{MemoryMiB: 17, TotalMiB: mib}, plugin.UserLimits{}
			},
		} {
			t.Run(c.module+"/"+who, func(t *testing.T) {
				kind := map[string]host.Kind{"person": host.Limited, "plugin": host.Unavailable}[who]
				config := hostile(t, c.module, false)
				run := func(mib int) (*plugin.Generation, func() (*plugin.Call, error)) {
					module, user := limits(mib)
					f := newFixtureWith(t, module, user)
					f.helm.fetch = large
					g := f.load(t, config)
					return g, func() (*plugin.Call, error) {
						in := call(t, g, &authority{}, "GET", "/run")
						_, err := g.Handle(t.Context(), in)
						return in, err
					}
				}
				_, refused := run(c.little)
				if _, err := refused(); host.KindOf(err) != kind {
					t.Errorf("with %d MiB: %v, want %v", c.little, err, kind)
				}
				_, served := run(c.enough)
				for range 3 {
					in, err := served()
					if err != nil {
						t.Fatalf("with %d MiB: %v", c.enough, err)
					}
					if c.module == "large-answer" {
						// Not written yet: there is no room for another.
						if _, err := served(); host.KindOf(err) != kind {
							t.Errorf("while an answer is written: %v, want %v", err, kind)
						}
					}
					in.Release()
					in.Release()
				}
			})
		}
	}
}

// However many calls hold large frames, the process has no more than the plugin
// may have, and what the collector has not freed yet.
func TestLargeFramesStayWithinThePluginsMemory(t *testing.T) {
	const total = 128 // MiB
	f := newFixtureWith(t, plugin.Limits{TotalMiB: total}, plugin.UserLimits{})
	var upstream sync.Mutex // what has not arrived yet is not counted, so one at a time
	f.helm.fetch = func(ctx context.Context) (*abi.Response, error) {
		upstream.Lock()
		defer upstream.Unlock()
		return large(ctx)
	}
	for _, module := range []string{"undecodable-frames", "keeps-an-answer"} {
		config := hostile(t, module, false)
		config.Name = module
		g := f.load(t, config)
		debug.FreeOSMemory() // what another left would be used again, and not be seen
		before := resident(t)
		var most int
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		var calls sync.WaitGroup
		for person := range 4 {
			for range 16 {
				in := call(t, g, &authority{}, "GET", "/run")
				in.Caller.Principal = &host.Principal{User: host.UserID(fmt.Sprintf("person%d@example.com", person))}
				calls.Go(func() {
					for ctx.Err() == nil {
						_, _ = g.Handle(ctx, in) // refused or ended, and both is fine
						in.Release()
					}
				})
			}
		}
		for ctx.Err() == nil {
			most = max(most, resident(t))
			time.Sleep(time.Millisecond)
		}
		calls.Wait()
		cancel()
		t.Logf("%s: at most %d MiB more than before", module, (most-before)>>20)
		if most-before > 3*total<<20 {
			t.Errorf("%s: %d MiB, the plugin may have %d", module, (most-before)>>20, total)
		}
	}
}

// resident is the process's resident memory in bytes.
func resident(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("needs /proc")
	}
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize()
}

// Nothing is wrong with a start section that calls the host: it gets no more than
// the plugin's start does.
func TestAStartSectionMayCallTheHost(t *testing.T) {
	f := newFixture(t)
	g := f.load(t, hostile(t, "start-calls-the-host", false))
	if _, err := g.Handle(t.Context(), call(t, g, &authority{}, "GET", "/run")); err != nil {
		t.Error(err)
	}
	if log := f.logged.String(); strings.Contains(log, "panic") || !strings.Contains(log, "//dev/") {
		t.Errorf("the log lacks what the start section wrote, or has a panic:\n%s", log)
	}
}

// A session that never waits ends, and the log says why.
func TestASessionThatNeverWaitsEnds(t *testing.T) {
	g := newFixture(t).load(t, hostile(t, "next-without-waiting", true))
	var log bytes.Buffer
	in := call(t, g, &authority{}, "GET", "/run")
	in.Match, _ = g.Match(true, "GET", "/", nil)
	in.Caller.Logger = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, accepted, err := g.Session(ctx, in, newClient())
	if !accepted || !errors.Is(err, sandbox.ErrBurst) {
		t.Errorf("accepted %v, ended with %v", accepted, err)
	}
	if !strings.Contains(log.String(), "computed too long at a time") {
		t.Errorf("the log says %q", log.String())
	}
}

// Each message of the client begins a new burst: together these take longer than
// one may.
func TestASessionMayComputeForEachMessage(t *testing.T) {
	g := newFixture(t).load(t, hostile(t, "computes-for-each-message", true))
	in := call(t, g, &authority{}, "GET", "/run")
	in.Match, _ = g.Match(true, "GET", "/", nil)
	s := newClient()
	go func() {
		defer s.End(nil)
		for range 60 {
			select {
			case s.in <- "go on":
			case <-s.ended:
			}
		}
	}()
	if _, accepted, err := g.Session(t.Context(), in, s); !accepted || err != nil {
		t.Errorf("accepted %v, ended with %v", accepted, err)
	}
}

// A client's message counts for whom it came from.
func TestAMessageThatDoesNotFitTheMemoryEndsTheSocket(t *testing.T) {
	for mib, fits := range map[int]bool{4: false, 24: true} {
		f := newFixtureWith(t, plugin.Limits{}, plugin.UserLimits{MemoryMiB: mib})
		g := f.load(t, hostile(t, "waits-for-a-message", true))
		in := call(t, g, &authority{}, "GET", "/run")
		in.Match, _ = g.Match(true, "GET", "/", nil)
		s := newClient()
		go func() {
			select {
			case s.in <- strings.Repeat("x", abi.MaxBody):
			case <-s.ended:
			}
		}()
		if _, _, err := g.Session(t.Context(), in, s); (err != nil) != fits {
			t.Errorf("8 MiB for somebody who may have %d: %v", mib, err)
		}
	}
}

// A plugin's attributes are in a group of their own, whatever their names, and a record with
// malformed ones is logged as such.
func TestAttributesOfARecordCannotPassForTheHosts(t *testing.T) {
	g := newFixture(t).load(t, hostile(t, "logs-attributes", false))
	c := call(t, g, &authority{}, "GET", "/run")
	var logged bytes.Buffer
	c.Caller.Logger = slog.New(slog.NewJSONHandler(&logged, nil))
	if _, err := g.Handle(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	c.Release()
	lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], `"plugin":"hostile","attributes":{"plugin":"other","a b":"x level=up"}`) {
		t.Errorf("logged %s", logged.String())
	}
	for _, line := range lines[1:] {
		if !strings.Contains(line, `"plugin":"hostile","attributes":{"malformed":true}`) {
			t.Errorf("logged %s", line)
		}
	}
}
