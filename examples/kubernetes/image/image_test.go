package main

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

func made(t *testing.T, out string, programs ...string) v1.Hash {
	t.Helper()
	wasm, err := os.ReadFile(packtest.Build(t, "plugins/echo"))
	if err != nil {
		t.Fatal(err)
	}
	plugins := t.TempDir()
	if err := os.WriteFile(filepath.Join(plugins, "echo.wasm"), wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{out: out, version: "v1.2.3", commit: "c0ffee", plugins: plugins, created: time.Unix(1_700_000_000, 0).UTC()}
	if err := o.parse(programs); err != nil {
		t.Fatal(err)
	}
	digest, err := write(&o)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// images returns the index of a layout and its images, by platform.
func images(t *testing.T, dir string) (*v1.IndexManifest, map[string]v1.Image) {
	t.Helper()
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	index, err := root.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]v1.Image{}
	for _, d := range m.Manifests {
		if out[d.Platform.String()], err = index.Image(d.Digest); err != nil {
			t.Fatal(err)
		}
	}
	return top, out
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheSameInputGivesTheSameDigest(t *testing.T) {
	dir := t.TempDir()
	first := made(t, filepath.Join(dir, "a"), "linux/amd64="+self(t), "linux/arm64="+self(t))
	if second := made(t, filepath.Join(dir, "b"), "linux/amd64="+self(t), "linux/arm64="+self(t)); second != first {
		t.Errorf("%s, then %s", first, second)
	}
	if other := made(t, filepath.Join(dir, "c"), "linux/amd64="+self(t)); other == first {
		t.Error("another input has the same digest")
	}
}

func TestAnImageHasWhatItNeedsAndAnSBOM(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	made(t, dir, "linux/amd64="+self(t), "linux/arm64="+self(t))
	top, list := images(t, dir)
	if len(list) != 2 || top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "v1.2.3" {
		t.Fatalf("%v, %v", list, top.Manifests)
	}
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, platform := range []string{"linux/amd64", "linux/arm64"} {
		c, err := list[platform].ConfigFile()
		if err != nil || c.Config.User != "65532:65532" || c.OS+"/"+c.Architecture != platform || c.Config.Labels["org.opencontainers.image.revision"] != "c0ffee" {
			t.Errorf("%s: %v, %+v", platform, err, c)
		}
		bom, err := root.Image(top.Manifests[i+1].Digest)
		if err != nil {
			t.Fatal(err)
		}
		m, err := bom.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		digest, _ := list[platform].Digest()
		if m.Subject == nil || m.Subject.Digest != digest || m.Config.MediaType != spdx {
			t.Errorf("%s: the SBOM is of %+v, a %s", platform, m.Subject, m.Config.MediaType)
		}
		layers, _ := bom.Layers()
		r, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		var d document
		if err := json.NewDecoder(r).Decode(&d); err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, p := range d.Packages {
			names[p.Name] = true
		}
		for _, want := range []string{"/usr/bin/bulkhead", "/plugins/echo.wasm", "go", "github.com/google/go-containerregistry"} {
			if !names[want] {
				t.Errorf("%s: the SBOM lacks %s", platform, want)
			}
		}
	}
}

func TestWhatCannotBePackedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		programs []string
		want     string
	}{
		{nil, "required"}, {[]string{"amd64"}, "is not PLATFORM=FILE"}, {[]string{"linux/amd64=" + filepath.Join(dir, "absent")}, "absent"},
		{[]string{"linux/amd64=/etc/passwd"}, "/etc/passwd: "},
	} {
		o := options{out: filepath.Join(dir, "image"), version: "v1"}
		err := o.parse(c.programs)
		if err == nil {
			_, err = write(&o)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.programs, err, c.want)
		}
	}
	odd := options{out: filepath.Join(dir, "image"), version: "(devel)"}
	if err := odd.parse([]string{"linux/amd64=/etc/passwd"}); err == nil || !strings.Contains(err.Error(), "cannot be a tag") {
		t.Errorf("a version that is no tag: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := write(&options{out: dir, version: "v1"}); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("over a directory that exists: %v", err)
	}
}

// unpack extracts the layers of an image, as a container engine does.
func unpack(t *testing.T, image v1.Image, to string) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(to, h.Name)
			if h.Typeflag == tar.TypeDir {
				err = os.Mkdir(path, 0o700)
			} else {
				var f *os.File
				if f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
					_, err = io.Copy(f, tr)
					err = errors.Join(err, f.Close())
				}
			}
			if err == nil {
				err = os.Chmod(path, h.FileInfo().Mode())
			}
			if err == nil && os.Geteuid() == 0 {
				err = os.Chown(path, h.Uid, h.Gid)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTheImageRuns builds the host as `make image` does, and starts it from its layout: in
// a root directory of its own that holds the image's files alone, as the image's user.
func TestTheImageRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the host")
	}
	dir := t.TempDir()
	host := filepath.Join(dir, "bulkhead")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", host, "../../../cmd/bulkhead")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	made(t, filepath.Join(dir, "image"), "linux/amd64="+host)
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	_, list := images(t, filepath.Join(dir, "image"))
	unpack(t, list["linux/amd64"], root)
	if err := os.WriteFile(filepath.Join(root, "etc/bulkhead/bulkhead.yaml"), []byte(`
listen: 127.0.0.1:0
data: /data
auth: {dev: {}}
directory: {files: /etc/bulkhead/people}
plugins: [{name: echo, source: /plugins/echo.wasm}]
`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/bulkhead/people", "dev"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c, err := list["linux/amd64"].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	// Namespaces of its own, so that nothing stays mounted and no process is left, whatever
	// ends the test.
	script, unshare := fmt.Sprintf(`mount -t proc proc %[1]s/proc && mount --rbind /dev %[1]s/dev && chroot %[2]s %[1]s "$@"`, root, "--userspec="+c.Config.User), []string{"--mount", "--pid", "--fork", "--kill-child"}
	if os.Geteuid() != 0 { // whoever runs the test is root there, and the files' owner
		script = strings.Replace(script, "--userspec="+c.Config.User, "", 1)
		unshare = append(unshare, "--map-root-user")
	}
	args := append(append(unshare, "sh", "-c", script, "sh"), append(c.Config.Entrypoint, c.Config.Cmd...)...)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Dir = "/"
	var logged strings.Builder
	cmd.Stderr = &logged
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(c.Config.Env, "PATH="+os.Getenv("PATH")) // of unshare and chroot
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "bulkhead serves at ")
	if err != nil || !ok {
		cancel()
		_ = cmd.Wait()
		t.Fatalf("%q, %v: %s", line, err, logged.String())
	}
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get(url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Errorf("%d: %s", resp.StatusCode, text)
	}
	info, err := os.Stat(filepath.Join(root, "data", "host.key"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := ownerOf(info); os.Geteuid() == 0 && uid != user {
		t.Errorf("the host runs as user %d", uid)
	}
}
