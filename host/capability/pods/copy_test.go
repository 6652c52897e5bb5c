package pods

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

func TestAPathIsCheckedBeforeTheContainerSeesIt(t *testing.T) {
	for _, bad := range []string{
		"download?path=", "download?path=etc", "download?path=/etc/../shadow", "download?path=/etc//x", "download?path=/etc/", "download?path=/a%0Ab", "download?path=/a%00b",
		"download?path=/" + strings.Repeat("a", maxPath), "download?path=/a&offset=-1", "upload?path=/a", "upload?path=/a&size=-1", "upload?path=/a&size=99999999999999",
		"upload?path=/a&size=1&sha256=xyz", "list?path=/a&size=1",
	} {
		if got, err := classify(&abi.Request{Method: "GET", URL: "pods://dev/shop/web/" + bad}); host.KindOf(err) != host.Invalid {
			t.Errorf("%.80s: %v, %v", bad, got.Call, err)
		}
	}
	for good, want := range map[string]string{"list?path=/": "pods download pods/copy dev/shop/web", "upload?path=/a&size=0": "pods upload pods/copy dev/shop/web"} {
		if got, err := classify(&abi.Request{Method: "GET", URL: "pods://dev/shop/web/" + good}); err != nil || got.Call.String() != want {
			t.Errorf("%s: %v, %v", good, got.Call.String(), err)
		}
	}
}

// content returns random bytes, the same for the same size.
func content(size int) []byte {
	b := make([]byte, size)
	source := rand.NewChaCha8([32]byte{byte(size)})
	source.Read(b)
	return b
}

func sumOf(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

// received collects the binary messages until the last text message, and returns it.
func (s *socket) received(t *testing.T) (all []byte, last map[string]any) {
	t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case m := <-s.out:
			if m.binary {
				all = append(all, m.data...)
				continue
			}
			last = nil
			if err := json.Unmarshal(m.data, &last); err != nil {
				t.Fatal(err)
			}
			if last["type"] == "end" || last["type"] == "error" {
				return all, last
			}
		case <-deadline:
			t.Fatal("the copy does not end")
		}
	}
}

// The dev cluster's containers share this machine's files.
func TestAFileArrivesWholeInBothDirections(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	for _, size := range []int{0, 1, 1 << 20, 5<<20 + 7} {
		file, want := filepath.Join(t.TempDir(), "a b'c"), content(size)
		up, done := x.start(t, FileProtocol, fmt.Sprintf("%s/upload?path=%s&size=%d&sha256=%s", x.pod, url.QueryEscape(file), size, sumOf(want)))
		for chunk := range slices.Chunk(want, 1<<19) {
			up.send(t, true, string(chunk))
		}
		if _, last := up.received(t); last["sha256"] != sumOf(want) || last["bytes"] != float64(size) {
			t.Errorf("%d bytes: %v", size, last)
		}
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes became %d, %v", size, len(got), err)
		}
		if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
			t.Errorf("it left %v", left)
		}
		for _, offset := range []int{0, size / 2} {
			down, done := x.start(t, FileProtocol, fmt.Sprintf("%s/download?path=%s&offset=%d", x.pod, url.QueryEscape(file), offset))
			got, last := down.received(t)
			if !bytes.Equal(got, want[offset:]) || last["sha256"] != sumOf(want[offset:]) {
				t.Errorf("%d bytes from %d: got %d, %v", size, offset, len(got), last)
			}
			if err := wait(t, done); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAnUploadTakesEffectWholeOrNotAtAll(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	for name, c := range map[string]struct {
		sum   string
		send  string
		leave bool
	}{
		"wrong checksum": {sumOf([]byte("other")), "abc", false}, "too many bytes": {"", "abcd", false}, "the client leaves": {"", "ab", true},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			s, done := x.start(t, FileProtocol, x.pod+"/upload?size=3&path="+url.QueryEscape(file)+"&sha256="+c.sum)
			s.send(t, true, c.send)
			if c.leave {
				_ = s.Close(1001, "")
			}
			if err := wait(t, done); err == nil {
				t.Error("it went well")
			}
			if got, _ := os.ReadFile(file); string(got) != "before" {
				t.Errorf("the file is %q", got)
			}
		})
	}
}

func TestWhatIsNoFileOfTheDirectoryIsRefused(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "d"), 0o700), os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600),
		os.Symlink("/etc/passwd", filepath.Join(dir, "link")), os.Symlink("/etc", filepath.Join(dir, "out")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for target, want := range map[string]string{
		"download?path=" + dir + "/absent": "does not exist", "download?path=" + dir + "/link": "is a link", "download?path=" + dir + "/out/passwd": "through one",
		"download?path=" + dir + "/d": "not a regular file", "download?path=/dev/null": "not a regular file", "list?path=" + dir + "/f": "does not exist",
		"list?path=" + dir + "/out": "is a link", "upload?size=0&path=" + dir + "/link": "is a link", "upload?size=0&path=" + dir + "/d": "not a regular file",
		"upload?size=0&path=" + dir + "/absent/f": "does not exist",
	} {
		s, done := x.start(t, FileProtocol, x.pod+"/"+target)
		if _, last := s.received(t); !strings.Contains(fmt.Sprint(last["error"]), want) {
			t.Errorf("%s: %v", target, last)
		}
		<-done
	}
}

func TestADirectoryIsListed(t *testing.T) {
	x := newScene(t, clustertest.Editor, host.Obligations{})
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "d"), 0o700), os.WriteFile(filepath.Join(dir, "new\nline"), []byte("xyz"), 0o640), os.Symlink("/nowhere", filepath.Join(dir, ".link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, done := x.start(t, FileProtocol, x.pod+"/list?path="+dir)
	var got struct{ Entries []entry }
	if err := json.Unmarshal((<-s.out).data, &got); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
	var all []string
	for _, e := range got.Entries {
		all = append(all, fmt.Sprintf("%q %s %o %v", e.Name, e.Kind, e.Mode, e.Kind != "file" || e.Size == 3))
	}
	want := []string{`".link" link 777 true`, `"d" directory 700 true`, `"new\nline" file 640 true`}
	if slices.Sort(all); !slices.Equal(all, want) {
		t.Errorf("got  %q\nwant %q", all, want)
	}
}
