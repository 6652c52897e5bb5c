package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/util"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

type dir struct {
	path  string
	watch *dirwatch.Watcher
	last  string // digest of what was loaded last
}

// A change counts once two readings at this interval are equal, because half of a data file,
// or of a checkout, may be well-formed.
const (
	readAgain = 150 * time.Millisecond
	readings  = 20 // at most, for one load
)

func openDir(path string, log *slog.Logger) (Source, error) {
	watch, err := dirwatch.Open(path, log)
	if err != nil {
		return nil, err
	}
	return &dir{path: path, watch: watch}, nil
}

func (d *dir) Load(ctx context.Context) (*Content, error) {
	c, err := ReadDir(d.path)
	for n := 1; d.last != "" && (err != nil || c.Digest != d.last); n++ {
		if n == readings {
			return nil, fmt.Errorf("the files in %s are changing", d.path)
		}
		timer := time.NewTimer(readAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		before, failed := c, err
		if c, err = ReadDir(d.path); equal(before, failed, c, err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	d.last = c.Digest
	return c, nil
}

// equal reports whether two readings had the same result.
func equal(a *Content, err error, b *Content, err2 error) bool {
	if err != nil || err2 != nil {
		return err != nil && err2 != nil && err.Error() == err2.Error()
	}
	return a.Digest == b.Digest
}

func (d *dir) Run(ctx context.Context, changed func()) { d.watch.Run(ctx, changed) }

func (*dir) Publish(*Content) error { return nil }

func (d *dir) Close() error { return d.watch.Close() }

// Read reads the directory or bundle file at path once, without verifying a signature, for
// tools.
func Read(path string) (*Content, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return ReadDir(path)
	}
	text, err := artifact.ReadFile(path, maxPacked)
	if err != nil {
		return nil, err
	}
	return Unpack(text, path)
}

// Unpack reads a bundle without verifying its signature.
func Unpack(packed []byte, origin string) (*Content, error) { return unpack(packed, origin, nil) }

// ReadDir reads the directory at path once.
func ReadDir(path string) (*Content, error) {
	files, err := dirwatch.Read(path, ".rego", ".json", ".yaml", ".yml")
	if err != nil {
		return nil, err
	}
	var modules []Module
	data := map[string]any{}
	var errs []error
	for _, f := range files {
		switch {
		case f.Err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", f.Name, f.Err))
		case strings.HasSuffix(f.Name, ".rego"):
			modules = append(modules, Module{f.Name, f.Data})
		default:
			errs = append(errs, addData(data, f))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c := newContent(path, "", modules, data)
	c.Unread = unread(path)
	return c, nil
}

// unread lists what an operator may consider part of the policy in dir, but is not read: Rego
// in subdirectories, and in files whose names do not end in .rego.
func unread(dir string) (list []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name, ext := e.Name(), filepath.Ext(e.Name())
		below, _ := fs.Glob(os.DirFS(filepath.Join(dir, name)), "*.rego")
		switch {
		case strings.HasPrefix(name, "."):
		case len(below) > 0:
			list = append(list, name+"/")
		case strings.EqualFold(ext, ".rego") && ext != ".rego":
			list = append(list, name)
		}
	}
	return list
}

func addData(data map[string]any, f dirwatch.File) error {
	var v any
	var err error
	if strings.HasSuffix(f.Name, ".json") {
		err = DecodeJSON(f.Data, &v)
	} else {
		err = decodeYAML(f.Data, &v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: data is not an object", f.Name)
	}
	if conflict := merge(data, object, ""); conflict != "" {
		return fmt.Errorf("%s: %s is also in another file", f.Name, conflict)
	}
	return nil
}

// limits are the limits of one data file.
var limits = strictyaml.Limits{
	Bytes: strictyaml.Large.Bytes, Nodes: strictyaml.Large.Nodes, Depth: strictyaml.Large.Depth, NoAliases: true,
}

// decodeYAML decodes text, which must be one document.
func decodeYAML(text []byte, v any) error {
	value, err := strictyaml.JSON(text, limits)
	if err != nil {
		return err
	}
	return util.NewJSONDecoder(bytes.NewReader(value)).Decode(v)
}
