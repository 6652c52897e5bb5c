package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	timeout     = 45 * time.Second // of a call
	slotTimeout = 2 * time.Second
	maxCalls    = 4 // at a time; each may have a child
)

// Git is the provider. Safe for concurrent use.
type Git struct {
	kind    *capability.Kind
	sources map[string]*source
	cache   *cache
	slots   chan struct{}
	wait    time.Duration // for a slot
	logger  *slog.Logger
	limits  child.Limits // of a child, except its time
	most    int64        // bytes of a commit's objects, packed
}

// New makes the provider. The configuration has been checked. New opens the files that
// it names, and its errors name the field. It sends nothing. Commits are kept below data.
// Call Close once.
func New(list []Config, data string, logger *slog.Logger) (*Git, error) {
	if !reading.Ready() {
		return nil, errors.New("git: main must call Child first")
	}
	g := &Git{
		kind: NewKind(list), sources: map[string]*source{}, logger: logger, slots: make(chan struct{}, maxCalls), wait: slotTimeout,
		cache: &cache{dir: filepath.Join(data, "git"), most: maxCache}, most: maxPack,
		limits: child.Limits{CPU: childCPU, Memory: childMemory},
	}
	var problems []error
	for i := range list {
		s, err := openSource(&list[i], logger)
		if err != nil {
			problems = append(problems, fmt.Errorf("git[%d].%w", i, err))
			continue
		}
		g.sources[list[i].Name] = s
	}
	if err := errors.Join(problems...); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Close closes idle connections.
func (g *Git) Close() {
	for _, s := range g.sources {
		s.close()
	}
}

// Kind returns the kind of NewKind.
func (g *Git) Kind() *capability.Kind { return g.kind }

// Fetch reads the repository.
//
// Errors: host.NotFound for a repository, ref or path that does not exist;
// host.Unprocessable for content that is refused or over a bound; host.Limited while too
// many calls are in progress; host.Upstream if the server refuses the host's credentials
// or fails; host.Unavailable if it cannot be reached.
func (g *Git) Fetch(ctx context.Context, p *capability.Permit) (*abi.Response, error) {
	q := p.Payload.(*request)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s := g.sources[q.source]
	if s == nil {
		return nil, host.E(host.NotFound, name, "the source %q does not exist", q.source)
	}
	if err := g.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-g.slots }()
	answer, err := g.read(ctx, s, q, p.Caller.Authority)
	if err != nil {
		return nil, failure(ctx, p.Caller.Authority, err)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	if len(body) > abi.MaxBody {
		return nil, host.E(host.Unprocessable, name, "the answer is over %d bytes; name a deeper path", abi.MaxBody)
	}
	return &abi.Response{Status: http.StatusOK, Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}}, Body: body}, nil
}

func (g *Git) acquire(ctx context.Context) error {
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return host.E(host.Limited, name, "%d repositories are being read; no more are read at a time", maxCalls)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// where is the part of an answer that says what was read.
type where struct {
	Source     string `json:"source"`
	Repository string `json:"repository"`
	Ref        string `json:"ref,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Path       string `json:"path"`
}

// refs is the answer of asRefs.
type refs struct {
	where
	Head string `json:"head,omitempty"` // the ref that HEAD means, if the server says it
	Refs []ref  `json:"refs"`
}

type ref struct {
	Name   string `json:"name"`
	Commit string `json:"commit"`
}

// maxRefs bounds the answer of asRefs.
const maxRefs = 10_000

// read asks the server for the ref, fetches the commit unless it is kept, and has a child
// read it.
func (g *Git) read(ctx context.Context, s *source, q *request, auth host.Authority) (any, error) {
	server, err := s.connect(ctx, q.at, auth)
	if err != nil {
		return nil, err
	}
	defer server.close()
	advertised, err := advertisedBy(server)
	if err != nil {
		return nil, err
	}
	at := where{Source: q.source, Repository: q.at.host + q.at.repository(), Ref: q.ref, Path: q.path}
	if q.as == asRefs {
		return listed(advertised, at)
	}
	tip, err := tipOf(advertised, q.ref)
	if err != nil {
		return nil, err
	}
	key, object := s.key(q.at), tip.want.String()
	pack, err := g.cache.pack(key, object, func(w *limited) error { return fetch(server, advertised, tip.want, w) }, g.most)
	if err != nil {
		return nil, err
	}
	defer pack.Close()
	at.Commit = tip.commit.String()
	answer, err := g.inChild(ctx, &order{Commit: at.Commit, Path: q.path, As: q.as}, pack, at)
	if errors.Is(err, errDamaged) {
		g.cache.drop(key, object)
	}
	return answer, err
}

func listed(a *packp.AdvRefs, at where) (*refs, error) {
	all := &refs{where: at, Refs: []ref{}}
	for n, hash := range a.References {
		if !strings.HasPrefix(n, "refs/heads/") && !strings.HasPrefix(n, "refs/tags/") || !validRef(n) {
			continue
		}
		if peeled, ok := a.Peeled[n]; ok {
			hash = peeled
		}
		all.Refs = append(all.Refs, ref{n, hash.String()})
	}
	if len(all.Refs) > maxRefs {
		return nil, host.E(host.Unprocessable, name, "the repository has over %d branches and tags", maxRefs)
	}
	slices.SortFunc(all.Refs, func(a, b ref) int { return strings.Compare(a.Name, b.Name) })
	for _, text := range a.Capabilities.Get("symref") {
		if target, ok := strings.CutPrefix(text, "HEAD:"); ok && validRef(target) {
			all.Head = target
		}
	}
	return all, nil
}

// tip is what a ref means: the object to ask the server for, which may be a tag's, and
// the commit.
type tip struct{ want, commit plumbing.Hash }

func tipOf(a *packp.AdvRefs, wanted string) (tip, error) {
	if wanted == "HEAD" {
		if a.Head == nil {
			return tip{}, host.E(host.NotFound, name, "the repository has no HEAD; name a branch")
		}
		return tip{*a.Head, *a.Head}, nil
	}
	if hash, ok := a.References[wanted]; ok {
		if peeled, ok := a.Peeled[wanted]; ok {
			return tip{hash, peeled}, nil
		}
		return tip{hash, hash}, nil
	}
	if !commitRE.MatchString(wanted) {
		return tip{}, host.E(host.NotFound, name, "the repository has no ref %s", wanted)
	}
	commit := plumbing.NewHash(wanted)
	for n, hash := range a.References {
		if hash == commit || a.Peeled[n] == commit {
			return tip{hash, commit}, nil
		}
	}
	if a.Capabilities.Supports("allow-reachable-sha1-in-want") || a.Capabilities.Supports("allow-any-sha1-in-want") {
		return tip{commit, commit}, nil
	}
	return tip{}, host.E(host.NotFound, name, "the server offers no commit %s that is not the end of a branch or tag", wanted)
}
