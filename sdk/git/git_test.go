package git_test

import (
	"errors"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/git"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

const manifest = `{
  "name": "probe", "version": "1.0.0",
  "routes": [{"name": "run", "method": "GET", "path": "/", "action": "read"}],
  "capabilities": [{"name": "git", "reason": "test"}]
}`

// use is what the handler of the test at hand does.
var use func() error

func init() {
	sdk.Handle("run", func(*sdk.Request) (*sdk.Response, error) { return nil, use() })
}

// asked runs f in a plugin, answers its calls with body, and returns their URLs.
func asked(t *testing.T, body string, f func() error) (urls []string, err error) {
	t.Helper()
	h := sdktest.New(t, manifest)
	h.Capability("git", func(r *abi.Request) (*abi.Response, error) {
		urls = append(urls, r.Method+" "+r.URL)
		return &abi.Response{Status: 200, Body: []byte(body)}, nil
	})
	use = func() error { err = f(); return nil }
	if r := h.Do(sdktest.Request{Path: "/"}); r.Status != 204 {
		t.Fatalf("the plugin answered %d %s", r.Status, r.Text())
	}
	return urls, err
}

func TestCallsAreWhatTheHostExpects(t *testing.T) {
	for want, f := range map[string]func() error{
		"GET git://shop?as=files": func() error { _, err := git.Source("shop", "").Files("", ""); return err },
		"GET git://all/team/shop.git?as=manifests&path=a+b%2Fc&ref=refs%2Fheads%2Fx%26y": func() error {
			_, err := git.Source("all", "team/shop.git").Manifests(git.Branch("x&y"), "a b/c")
			return err
		},
		"GET git://url?as=refs&url=git%40example.com%3Ashop.git": func() error { _, err := git.At("git@example.com:shop.git").Refs(); return err },
	} {
		if urls, err := asked(t, `{}`, f); err != nil || len(urls) != 1 || urls[0] != want {
			t.Errorf("got %v, %v\nwant %s", urls, err, want)
		}
	}
}

func TestTheAnswerIsDecoded(t *testing.T) {
	var got *git.Files
	_, err := asked(t, `{"source":"shop","commit":"c","files":[{"path":"a","content":"aGk=","lfs":true}]}`, func() (err error) {
		got, err = git.Source("shop", "").Files("", "")
		return err
	})
	if err != nil || got.Source != "shop" || got.Commit != "c" || string(got.Files[0].Content) != "hi" || !got.Files[0].LFS {
		t.Errorf("got %+v, %v", got, err)
	}
	var m *git.Manifests
	_, err = asked(t, `{"form":"manifests","objects":[{"file":"f","line":3,"object":{"kind":"A"}}],"problems":[{"file":"g","line":2,"text":"x"}]}`, func() (err error) {
		m, err = git.Source("shop", "").Manifests("", "")
		return err
	})
	if err != nil || m.Form != git.FormManifests || string(m.Objects[0].Object) != `{"kind":"A"}` || m.Problems[0] != (git.Problem{File: "g", Line: 2, Text: "x"}) {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestARepositoryIsRequired(t *testing.T) {
	urls, err := asked(t, `{}`, func() error { _, err := git.At("").Refs(); return err })
	if x, ok := errors.AsType[*sdk.Error](err); !ok || x.Status != 400 || len(urls) != 0 {
		t.Errorf("got %v, %v", urls, err)
	}
}
