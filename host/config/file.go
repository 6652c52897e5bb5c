package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// File is a configuration file as it was read. It is immutable.
type File struct {
	Path string
	// Dir is the file's directory, absolute: relative paths in the file are relative
	// to it.
	Dir string
	// Ignored are variables BULKHEAD_… that are no key, sorted.
	Ignored []string

	lines     map[string]int    // of the file, by path
	variables map[string]string // that set fields, by path
}

// Read reads the YAML file at path and then the environment into the struct that into
// points to, by its JSON tags. A key that the struct does not have is an error, and so
// are two documents and a repeated key. A variable BULKHEAD_KEY, with the key's path in
// capitals joined by "_" (BULKHEAD_DIRECTORY_FILES), replaces the file's value and is
// itself YAML; variables that are no key are left to the caller in Ignored.
func Read(path string, environ []string, into any) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := strictyaml.Unmarshal(text, into, strictyaml.Small); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &File{Path: path, Dir: dir, lines: strictyaml.Lines(text, strictyaml.Small)}
	if err := f.override(reflect.ValueOf(into).Elem(), environ); err != nil {
		return nil, err
	}
	return f, nil
}

// Has reports whether the file or the environment gives the field at path, be it as
// nothing.
func (f *File) Has(path string) bool { return f.lines[path] > 0 || f.variables[path] != "" }

// Locate returns err with the place of each Problem in it: the variable that set the
// field, or the file and the line of the field or of what it belongs to. Other errors
// in it begin with the file. A nil File returns err.
func (f *File) Locate(err error) error {
	if err == nil || f == nil {
		return err
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, f.Locate(one))
		}
		return errors.Join(all...)
	}
	return fmt.Errorf("%s: %w", f.place(err), err)
}

func (f *File) place(err error) string {
	problem, ok := errors.AsType[*Problem](err)
	if !ok {
		return f.Path
	}
	for path := problem.Path; path != ""; path = above(path) {
		if name := f.variables[path]; name != "" {
			return name
		}
		if line := f.lines[path]; line > 0 {
			return fmt.Sprintf("%s: line %d", f.Path, line)
		}
	}
	return f.Path
}

// above returns the path of what the field at path belongs to, "" for the root.
func above(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }
