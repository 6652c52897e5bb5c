package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/repo"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

const indexLife = time.Minute // until it is revalidated

// index is the index of one remote repository. Concurrent requests share one fetch. The
// index is cached for indexLife and then revalidated if it has an ETag. Safe for
// concurrent use.
type index struct {
	remote *remote
	ctx    context.Context // of fetches, which serve several requests and outlive each of them
	stop   context.CancelFunc
	active sync.WaitGroup

	mu     sync.Mutex
	kept   *kept   // nil before the first fetch
	flight *flight // nil if no fetch is in progress
}

// kept is a cached answer. It is immutable.
type kept struct {
	file *repo.IndexFile
	etag string
	at   time.Time // when the server last confirmed it
}

// flight is a fetch in progress; its results are valid once done is closed.
type flight struct {
	done chan struct{}
	kept *kept
	err  error
}

func newIndex(r *remote) *index {
	x := &index{remote: r}
	x.ctx, x.stop = context.WithCancel(context.Background())
	return x
}

// close ends a fetch in progress. get must not be called afterwards.
func (x *index) close() {
	x.mu.Lock()
	x.stop()
	x.mu.Unlock()
	x.active.Wait()
}

// get returns the index, which is shared and must not be changed.
func (x *index) get(ctx context.Context) (*repo.IndexFile, error) {
	f, err := x.join()
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.kept.file, nil
}

// join returns a completed flight if the cached index is recent enough, else the one in
// progress, which it starts if necessary.
func (x *index) join() (*flight, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.ctx.Err(); err != nil {
		return nil, err
	}
	if x.kept != nil && time.Since(x.kept.at) < indexLife {
		done := make(chan struct{})
		close(done)
		return &flight{done: done, kept: x.kept}, nil
	}
	if x.flight == nil {
		f, before := &flight{done: make(chan struct{})}, x.kept
		x.flight = f
		x.active.Go(func() { x.land(f, before) })
	}
	return x.flight, nil
}

func (x *index) land(f *flight, before *kept) {
	f.kept, f.err = x.fetch(before)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.flight = nil
	if f.err == nil {
		x.kept = f.kept
	}
	close(f.done)
}

// fetch recovers panics of the parsers, since it runs in its own goroutine.
func (x *index) fetch(before *kept) (_ *kept, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the index makes its parser panic: %v", p)
		}
	}()
	now := time.Now()
	etag := ""
	if before != nil {
		etag = before.etag
	}
	a, err := x.remote.get(x.ctx, x.remote.base.JoinPath("index.yaml"), etag, maxIndex)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusNotModified {
		return &kept{before.file, before.etag, now}, nil
	}
	text, err := a.text(maxIndex)
	if err != nil {
		return nil, err
	}
	file, err := parseIndex(text)
	if err != nil {
		return nil, fmt.Errorf("the repository's index: %w", err)
	}
	return &kept{file, a.etag, now}, nil
}

// indexLimits bound an index. In the worst case its nodes take 1 GB for a moment.
var indexLimits = strictyaml.Limits{Bytes: maxIndex, Nodes: 6_000_000, Depth: 30, NoAliases: true}

// parseIndex keeps only the part of an index that is needed to find an archive. Entries
// with an invalid version are left out, as in helm.
func parseIndex(text []byte) (*repo.IndexFile, error) {
	var parsed struct {
		APIVersion string `yaml:"apiVersion"`
		Entries    map[string][]*struct {
			Name, Version, Digest string
			URLs                  []string
		}
	}
	var err error
	if text = strictyaml.TrimBOM(text); json.Valid(text) {
		err = json.Unmarshal(text, &parsed)
	} else if root, e := strictyaml.Parse(text, indexLimits); e != nil {
		err = e
	} else if root != nil {
		err = root.Decode(&parsed)
	}
	if err != nil {
		return nil, err
	}
	if parsed.APIVersion == "" {
		return nil, errors.New("has no apiVersion")
	}
	small := &repo.IndexFile{APIVersion: parsed.APIVersion, Entries: make(map[string]repo.ChartVersions, len(parsed.Entries))}
	for chartName, versions := range parsed.Entries {
		for _, v := range versions {
			if v == nil {
				continue
			}
			if _, err := semver.NewVersion(v.Version); err != nil {
				continue
			}
			small.Entries[chartName] = append(small.Entries[chartName], &repo.ChartVersion{
				Metadata: &chart.Metadata{Name: v.Name, Version: v.Version}, URLs: v.URLs[:min(len(v.URLs), 1)], Digest: v.Digest,
			})
		}
	}
	small.SortEntries()
	return small, nil
}
