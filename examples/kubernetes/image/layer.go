package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const programPath = "/usr/bin/bulkhead"

// entry is a file, or a directory if its name ends in /, of the image.
type entry struct {
	name string
	mode int64
	uid  int
	text []byte
}

// files are what the image has: the program, the plugins, and what a program expects of
// a system. They belong to root and are read-only, except for /data and /tmp.
func (o *options) files(p program) ([]entry, error) {
	binary, err := os.ReadFile(p.path)
	if err != nil {
		return nil, err
	}
	list := []entry{
		{"data/", 0o700, user, nil}, {"etc/", 0o755, 0, nil}, {"etc/bulkhead/", 0o755, 0, nil},
		{"etc/group", 0o644, 0, fmt.Appendf(nil, "root:x:0:\nbulkhead:x:%d:\n", user)},
		{"etc/passwd", 0o644, 0, fmt.Appendf(nil, "root:x:0:0:root:/:/none\nbulkhead:x:%d:%[1]d:bulkhead:/tmp:/none\n", user)},
		{"plugins/", 0o755, 0, nil},
	}
	var plugins []string
	if o.plugins != "" {
		if plugins, err = filepath.Glob(filepath.Join(o.plugins, "*.wasm")); err != nil {
			return nil, err
		} else if len(plugins) == 0 {
			return nil, fmt.Errorf("%s has no plugins (*.wasm)", o.plugins)
		}
	}
	for _, path := range plugins {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		list = append(list, entry{"plugins/" + filepath.Base(path), 0o644, 0, text})
	}
	return append(list, entry{"proc/", 0o555, 0, nil}, entry{"tmp/", 0o1777, 0, nil}, entry{"usr/", 0o755, 0, nil}, entry{"usr/bin/", 0o755, 0, nil},
		entry{programPath[1:], 0o755, 0, binary}), nil
}

// layerOf is a layer of these files in this order.
func layerOf(files []entry, at time.Time) (v1.Layer, error) {
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, f := range files {
		kind := byte(tar.TypeReg)
		if f.name[len(f.name)-1] == '/' {
			kind = tar.TypeDir
		}
		h := &tar.Header{Typeflag: kind, Name: f.name, Mode: f.mode, Uid: f.uid, Gid: f.uid, Size: int64(len(f.text)), ModTime: at, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}
