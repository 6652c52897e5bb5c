package git

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/git/gittest"
)

func TestFilesBelowAPathAreRead(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{"README.md": "old"})
	commit := repo.Commit(map[string]string{
		"README.md": "hello", "deploy/web.yaml": "kind: A\n", "deploy/more/db.yaml": "kind: B\n", "deploy with a space/x": "1",
		"big.bin": lfsText,
	})
	r := open(t, sourceAt(gittest.Serve(t, repo.Root), "shop", "/shop.git"))
	got := get[gotFiles](r, "git://shop?path=deploy&ref=refs/heads/main")
	if got.paths() != "deploy/more/db.yaml deploy/web.yaml" || got.Commit != commit || got.Source != "shop" || got.Path != "deploy" || string(got.Files[1].Content) != "kind: A\n" {
		t.Errorf("got %+v", got)
	}
	if got := get[gotFiles](r, "git://shop?path=README.md"); got.paths() != "README.md" || got.Ref != "HEAD" || string(got.Files[0].Content) != "hello" {
		t.Errorf("got %+v", got)
	}
	if got := get[gotFiles](r, "git://shop?path=deploy%20with%20a%20space"); got.paths() != "deploy with a space/x" {
		t.Errorf("got %+v", got)
	}
	all := get[gotFiles](r, "git://shop")
	if len(all.Files) != 5 {
		t.Errorf("got %s", all.paths())
	}
	for _, f := range all.Files {
		if f.LFS != (f.Path == "big.bin") {
			t.Errorf("%s: reported as a pointer of LFS: %v", f.Path, f.LFS)
		}
	}
	r.refused("git://shop?path=deploy/web.yaml/x", host.NotFound, "is a file")
	r.refused("git://shop?path=nothing/here", host.NotFound, `no path "nothing"`)
	r.refused("git://shop?ref=refs/heads/gone", host.NotFound, "refs/heads/gone")
}

const lfsText = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"

func TestRefsAreBranchesTagsAndCommits(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	first := repo.Commit(map[string]string{"a": "1"})
	repo.Run(repo.Work, "tag", "-a", "v1", "-m", "one")
	repo.Run(repo.Work, "tag", "plain")
	second := repo.Commit(map[string]string{"a": "2"})
	third := repo.Commit(map[string]string{"a": "3"})
	r := open(t, sourceAt(gittest.Serve(t, repo.Root), "shop", "/shop.git"))
	for ref, want := range map[string][2]string{
		"HEAD": {third, "3"}, "refs/heads/main": {third, "3"}, "refs/tags/v1": {first, "1"}, "refs/tags/plain": {first, "1"}, third: {third, "3"}, first: {first, "1"},
	} {
		got := get[gotFiles](r, "git://shop?ref="+ref)
		if got.Commit != want[0] || string(got.Files[0].Content) != want[1] {
			t.Errorf("%s: got %+v", ref, got)
		}
	}
	r.refused("git://shop?ref="+second, host.NotFound, "not the end of a branch or tag")
	repo.Run(repo.Bare, "config", "uploadpack.allowReachableSHA1InWant", "true")
	if got := get[gotFiles](r, "git://shop?ref="+second); got.Commit != second || string(got.Files[0].Content) != "2" {
		t.Errorf("got %+v", got)
	}
	list := get[refs](r, "git://shop?as=refs")
	if list.Head != "refs/heads/main" || len(list.Refs) != 3 || list.Refs[0] != (ref{"refs/heads/main", third}) || list.Refs[2] != (ref{"refs/tags/v1", first}) {
		t.Errorf("got %+v", list)
	}
	if r.seen.Verb != "list" || r.seen.Ref != "" {
		t.Errorf("policy saw %+v", r.seen)
	}
}

// A source whose address ends with "/" is every repository below it, and nothing else.
func TestARepositoryIsFoundByItsAddress(t *testing.T) {
	repo := gittest.New(t, "team/shop.git")
	repo.Commit(map[string]string{"a": "1"})
	w := gittest.Serve(t, repo.Root)
	r := open(t, sourceAt(w, "all", "/team/"))
	for _, target := range []string{"git://all/shop.git", "git://url?url=" + w.URL + "/team/shop.git"} {
		if got := get[gotFiles](r, target); got.Source != "all" || got.Repository != strings.TrimPrefix(w.URL, "https://")+"/team/shop" {
			t.Errorf("%s: got %+v", target, got)
		}
	}
	want := host.CapabilityCall{Name: "git", Verb: "get", Instance: "all", Group: "git", Resource: "repositories", Subresource: "all",
		Host: strings.TrimPrefix(w.URL, "https://"), Path: "/team/shop", Ref: "HEAD", Effect: host.EffectRead}
	if *r.seen != want {
		t.Errorf("policy saw %+v", r.seen)
	}
	r.refused("git://all/gone.git", host.NotFound, "does not exist")
	before := w.Lists.Load()
	for _, target := range []string{
		"git://url?url=" + w.URL + "/other/shop.git", "git://url?url=" + w.URL + "/team", "git://url?url=https://example.com/team/shop.git",
		"git://url?url=" + strings.Replace(w.URL, "https", "http", 1) + "/team/shop.git", "git://url?url=" + w.URL + "/team/../team/shop.git",
		"git://url?url=file:///etc", "git://url?url=/etc", "git://url?url=git://example.com/x", "git://url?url=ext::sh", "git://url?url=-x",
		"git://url?url=https://u:p@example.com/x", "git://url", "git://url/x?url=" + w.URL + "/team/shop.git", "git://all", "git://all/../x", "git://nothing",
		"git://all/shop.git?path=../x", "git://all/shop.git?path=/x", "git://all/shop.git?path=a//b", "git://all/shop.git?path=.git/config",
		"git://all/shop.git?ref=main", "git://all/shop.git?ref=-x", "git://all/shop.git?ref=refs/heads/../x", "git://all/shop.git?ref=refs/heads/-x",
		"git://all/shop.git?as=tar", "git://all/shop.git?depth=2", "git://all/shop.git?as=refs&ref=HEAD",
	} {
		r.refused(target, host.Invalid, "")
	}
	if w.Lists.Load() != before {
		t.Error("the server was asked")
	}
}

func TestLinksAndSubmodulesAreRefused(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	commit := repo.Commit(map[string]string{"plain/a": "1", "links/a": "1", "up/a": "1"})
	for link, to := range map[string]string{"links/b": "a", "up/etc": "/etc/passwd", "dir": "plain"} {
		if err := os.Symlink(to, filepath.Join(repo.Work, link)); err != nil {
			t.Fatal(err)
		}
	}
	repo.Run(repo.Work, "update-index", "--add", "--cacheinfo", "160000,"+commit+",sub/module")
	repo.Run(repo.Work, "add", "-A", "links", "up", "dir")
	repo.Run(repo.Work, "commit", "-q", "-m", "links")
	repo.Run(repo.Work, "push", "-q", "origin", "main")
	r := open(t, sourceAt(gittest.Serve(t, repo.Root), "shop", "/shop.git"))
	if got := get[gotFiles](r, "git://shop?path=plain"); got.paths() != "plain/a" {
		t.Errorf("got %s", got.paths())
	}
	r.refused("git://shop?path=links", host.Unprocessable, `"links/b" is a symbolic link`)
	r.refused("git://shop?path=up/etc", host.Unprocessable, "is a symbolic link")
	r.refused("git://shop?path=dir/a", host.Unprocessable, `"dir" is a symbolic link`)
	r.refused("git://shop?path=sub", host.Unprocessable, `"sub/module" is a submodule`)
	r.refused("git://shop", host.Unprocessable, "is a symbolic link")
}

// A commit is fetched once, but the server is asked for the ref each time, so that it can
// refuse the credential.
func TestAKeptCommitNeedsTheServersConsent(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{"a": "1"})
	w := gittest.Serve(t, repo.Root)
	config := sourceAt(w, "shop", "/shop.git")
	r := open(t, config)
	for range 3 {
		get[gotFiles](r, "git://shop")
	}
	if w.Packs.Load() != 1 || w.Lists.Load() != 3 {
		t.Errorf("%d fetches, %d lists", w.Packs.Load(), w.Lists.Load())
	}
	repo.Commit(map[string]string{"a": "2"})
	if got := get[gotFiles](r, "git://shop"); string(got.Files[0].Content) != "2" || w.Packs.Load() != 2 {
		t.Errorf("got %+v after %d fetches", got, w.Packs.Load())
	}
	w.Accept("another")
	r.refused("git://shop", host.Upstream, "refuses the host's credentials")
	// Another credential does not read what the first one could.
	other := config
	other.TokenFile = gittest.Put(t, "token", "another")
	next := open(t, other)
	next.git.cache = r.git.cache
	get[gotFiles](next, "git://shop")
	if w.Packs.Load() != 3 {
		t.Errorf("%d fetches", w.Packs.Load())
	}
	if info, err := os.Stat(r.git.cache.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestKeptCommitsAreBounded(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	r := open(t, sourceAt(gittest.Serve(t, repo.Root), "shop", "/shop.git"))
	r.git.cache.most = 1 // each commit replaces the one before
	for _, text := range []string{"1", "2", "3"} {
		repo.Commit(map[string]string{"a": text})
		get[gotFiles](r, "git://shop")
	}
	kept, err := filepath.Glob(filepath.Join(r.git.cache.dir, "*", "*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("kept %v, %v", kept, err)
	}
}

func TestACommitOverTheBoundIsNotKept(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{"a": strings.Repeat("no pattern ", 100)})
	w := gittest.Serve(t, repo.Root)
	r := open(t, sourceAt(w, "shop", "/shop.git"))
	r.git.most = 100
	r.refused("git://shop", host.Unprocessable, "too large")
	if kept, _ := filepath.Glob(filepath.Join(r.git.cache.dir, "*", "*")); len(kept) != 0 {
		t.Errorf("kept %v", kept)
	}
	r.git.most = maxPack
	get[gotFiles](r, "git://shop")
}

// A server that breaks off, lies or sends nonsense changes nothing that is kept.
func TestABrokenServerIsNotBelieved(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{"a": "1"})
	w := gittest.Serve(t, repo.Root)
	r := open(t, sourceAt(w, "shop", "/shop.git"))
	half := "PACK\x00\x00\x00\x02\x00\x00\x00\x01" + strings.Repeat("x", 100)
	cut := func(rw http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodPost {
			return false
		}
		rw.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = rw.Write([]byte("0034shallow 0123456789012345678901234567890123456789" + "0000" + "0008NAK\n" + fmt.Sprintf("%04x\x01%s", 5+len(half), half)))
		return true
	}
	w.Intercept(cut)
	r.refused("git://shop", host.Upstream, "does not answer as it should")
	for name, answer := range map[string]http.HandlerFunc{
		"is not one of a git server": func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("<html>")) },
		"has moved": func(rw http.ResponseWriter, req *http.Request) {
			http.Redirect(rw, req, "https://example.com/"+req.URL.Path, http.StatusFound)
		},
		"failed": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) },
		"does not answer as it should": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = rw.Write([]byte("zzzz"))
		},
	} {
		w.Intercept(func(rw http.ResponseWriter, req *http.Request) bool { answer(rw, req); return true })
		r.refused("git://shop", host.Upstream, name)
	}
	w.Intercept(nil)
	if got := get[gotFiles](r, "git://shop"); string(got.Files[0].Content) != "1" {
		t.Errorf("got %+v", got)
	}
}

// A logout ends a call that waits for the server, and no request is sent after it.
func TestALogoutEndsACall(t *testing.T) {
	repo := gittest.New(t, "shop.git")
	repo.Commit(map[string]string{"a": "1"})
	w := gittest.Serve(t, repo.Root)
	r := open(t, sourceAt(w, "shop", "/shop.git"))
	ctx, end := context.WithCancelCause(t.Context())
	r.ctx = ctx
	w.Intercept(func(rw http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, req.Body) // only then the server notices that the client is gone
			r.auth.lose(host.ErrLoggedOut)
			end(host.ErrLoggedOut)
			<-req.Context().Done()
			return true
		}
		return false
	})
	if _, err := r.fetch("git://shop"); err == nil || !strings.Contains(err.Error(), host.ErrLoggedOut.Error()) {
		t.Errorf("got %v", err)
	}
	before := w.Lists.Load()
	if _, err := r.fetch("git://shop"); err == nil {
		t.Error("a call after the logout was answered")
	}
	if w.Lists.Load() != before {
		t.Error("the server was asked after the logout")
	}
}

func TestCallsAtATimeAreBounded(t *testing.T) {
	r := open(t, Config{Name: "shop", URL: "https://127.0.0.1:1/shop.git"})
	for range maxCalls {
		r.git.slots <- struct{}{}
	}
	r.git.wait = time.Millisecond
	r.refused("git://shop", host.Limited, "no more are read at a time")
	<-r.git.slots
	r.refused("git://shop", host.Unavailable, "cannot be reached")
}
