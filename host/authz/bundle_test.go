package authz

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// shelf serves a bundle, or answers 404 without one.
type shelf struct{ text atomic.Pointer[[]byte] }

func (p *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := p.text.Load()
	if text == nil {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(*text)
}

func (p *shelf) put(t *testing.T, rego string) {
	t.Helper()
	var b bytes.Buffer
	c := &source.Content{Data: map[string]any{}, Modules: []source.Module{{Name: "policy.rego", Text: []byte(rego)}}}
	if err := source.Pack(&b, c, "r", nil); err != nil {
		t.Fatal(err)
	}
	text := b.Bytes()
	p.text.Store(&text)
}

// What is known of the newest bundle stays known: the copy on disk, which is
// older, counts at a start only.
func TestAPlaceThatGoesAwayChangesNothing(t *testing.T) {
	var p shelf
	srv := httptest.NewServer(&p)
	defer srv.Close()
	keep, d := t.TempDir(), staff(t)
	p.put(t, freeze)
	start := func() *Engine {
		t.Helper()
		e, err := Open(t.Context(), Config{
			Source:    Source{Bundle: &Bundle{Location: artifact.Location{URL: srv.URL, Poll: host.Duration(time.Second)}, Unsigned: true}},
			Keep:      keep,
			Directory: d,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	reload := func(e *Engine) Status {
		t.Helper()
		e.note(e.reload(t.Context()))
		return e.Status()
	}
	e := start()
	e.stop() // it is reloaded by hand
	e.done.Wait()
	p.put(t, broken["syntax"].text)
	if s := reload(e); s.Revision != 1 || s.Problem == "" || s.SourceOut != "" {
		t.Errorf("a broken bundle: %+v", s)
	}
	p.put(t, broken["failing test"].text)
	before := reload(e)
	if !strings.Contains(before.Problem, "policy.rego:11") {
		t.Errorf("another: %+v", before)
	}
	p.text.Store(nil)
	if s := reload(e); s.Revision != 1 || s.Problem != before.Problem || !strings.Contains(s.SourceOut, "404") || e.Ready() == nil {
		t.Errorf("the place has gone: %+v", s)
	}
	if again := start(); again.Revision() != 1 || again.Status().Digest != e.Status().Digest {
		t.Errorf("a start then, by what was published last: %+v", again.Status())
	}
	p.put(t, broken["failing test"].text)
	if s := reload(e); s.Revision != 1 || s.Problem != before.Problem || s.SourceOut != "" {
		t.Errorf("it is back: %+v", s)
	}
	p.put(t, freeze)
	if s := reload(e); s.Revision != 1 || s.Problem != "" || e.Ready() != nil {
		t.Errorf("the mistake is taken back: %+v", s)
	}
	p.text.Store(nil)
	if reload(e); e.Ready() == nil || !strings.Contains(e.Ready().Error(), "cannot be reached") || e.Deciding() != nil {
		t.Errorf("readiness without the place: %v, %v", e.Ready(), e.Deciding())
	}
	e = start()
	if s := e.Status(); s.Revision != 1 || s.Origin != srv.URL+" (the copy on disk)" {
		t.Errorf("a start: %+v", s)
	}
	e.stop()
	e.done.Wait()
	p.put(t, freeze)
	if s := reload(e); s.Revision != 1 || s.Origin != srv.URL {
		t.Errorf("the same from its place: %+v", s)
	}
}

// So that what "policy build" prints is found again in the status and the
// decision log.
func TestADirectoryAndItsBundleHaveOneDigest(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "policy.rego", freeze)
	write(t, dir, "a.yaml", "site: {numbers: [1.0, 1e3, 0x10, 12345678901234567890], text: 'a<b \u2028'}\n")
	write(t, dir, "b.json", `{"more": {"z": 1.50, "a": null}}`)
	built := readPolicy(t, dir)
	for _, revision := range []string{"", "v7"} {
		path := filepath.Join(t.TempDir(), "site.tar.gz")
		var packed bytes.Buffer
		if err := built.Pack(&packed, revision, nil); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Dir(path), filepath.Base(path), packed.String())
		e, err := Open(t.Context(), Config{Source: Source{Bundle: &Bundle{Location: artifact.Location{File: path}}}, Directory: staff(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		if s := e.Status(); s.Digest != built.Digest() || s.Bundle != revision || readPolicy(t, path).Digest() != s.Digest {
			t.Errorf("built as %s, and it serves as %+v", built.Digest(), s)
		}
	}
}

// A bundle that does not hold together, or that somebody else made, changes
// nothing: what served before goes on, and readiness says why.
func TestABrokenBundleLeavesTheOldServing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "ours", strings.Repeat("our secret of 32 bytes and more ", 2))
	write(t, dir, "theirs", strings.Repeat("another secret of 32 bytes, too ", 2))
	pack := func(text, key string) string {
		t.Helper()
		var s *source.Signing
		if key != "" {
			s = &source.Signing{KeyFile: filepath.Join(dir, key), Algorithm: "HS256", KeyID: "ops"}
		}
		c := &source.Content{Data: map[string]any{}}
		if text != "" {
			c.Modules = []source.Module{{Name: "policy.rego", Text: []byte(text)}}
		}
		var b bytes.Buffer
		if err := source.Pack(&b, c, "r", s); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	good := pack(freeze, "ours")
	write(t, dir, "b.tar.gz", good)
	e, err := Open(t.Context(), Config{
		Source: Source{Bundle: &Bundle{
			Location: artifact.Location{File: filepath.Join(dir, "b.tar.gz")},
			Keys:     []Key{{ID: "ops", File: filepath.Join(dir, "ours"), Algorithm: "HS256"}},
		}},
		Directory: staff(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	upgrade := ask(ada, "gitops", "helm.upgrade")
	upgrade.Route.Mutates = true
	for name, c := range map[string]struct{ bundle, says string }{
		"no signature":    {pack(freeze, ""), "not signed"},
		"another's":       {pack(freeze, "theirs"), "verif"},
		"syntax":          {pack(broken["syntax"].text, "ours"), "policy.rego:"},
		"missing package": {pack("package bulkhead.autz\n\ndecision := true\n", "ours"), "is a package misspelt?"},
		"wrong type":      {pack("package bulkhead.authz\n\ndecision := 1 + \"a\"\n", "ours"), "policy.rego:3"},
		"failing tests":   {pack(broken["failing test"].text, "ours"), "policy.rego:11"},
		"no policy in it": {pack("", "ours"), ""},
		"empty file":      {"", ""},
		"cut short":       {good[:len(good)/2], ""},
	} {
		serving := e.Revision()
		write(t, dir, "b.tar.gz", c.bundle)
		await(t, name, func() bool { err := e.Ready(); return err != nil && strings.Contains(err.Error(), c.says) })
		if d := e.Decide(t.Context(), upgrade); d.Reason.Code != "freeze" || d.Revision != serving {
			t.Errorf("%s: revision %d decided %+v", name, e.Revision(), d)
		}
		t.Logf("%s: %v", name, e.Ready())
		write(t, dir, "b.tar.gz", good)
		await(t, "repair", func() bool { return e.Ready() == nil })
	}
}
