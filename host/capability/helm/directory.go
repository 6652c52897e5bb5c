package helm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/ignore"
)

// directory is a repository on the host's disk. Its path is resolved again for each
// chart, because git-sync and Kubernetes volumes replace the directory by switching a
// symbolic link. ".." and symbolic links cannot lead out of the directory.
type directory struct{ path string }

func (d *directory) close() {}

// load reads a chart from the present directory. If the directory is replaced and
// removed meanwhile, load resolves it again.
func (d *directory) load(_ context.Context, chartName, version string) (*chart.Chart, error) {
	for again := false; ; again = true {
		root, err := os.OpenRoot(d.path)
		if err != nil {
			return nil, &private{"its repository cannot be read", err}
		}
		t := &tree{root}
		ch, err := t.load(chartName, version)
		gone := err != nil && !again && !t.current(d.path)
		_ = root.Close()
		if !gone {
			return ch, fileFailure(err)
		}
	}
}

// fileFailure returns err so that the user does not see the path of a file on the host.
func fileFailure(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &private{"one of its files cannot be read: " + e.Err.Error(), err}
	}
	return err
}

// tree is one version of a directory.
type tree struct{ root *os.Root }

// current reports whether path is still this version.
func (t *tree) current(path string) bool {
	now, err := os.Stat(path)
	if err != nil {
		return false
	}
	before, err := t.root.Stat(".")
	return err == nil && os.SameFile(now, before)
}

// load prefers an unpacked chart of the version to archives. If no version is requested,
// the unpacked chart may be a pre-release, since unpacked charts are under development.
func (t *tree) load(chartName, version string) (*chart.Chart, error) {
	ch, err := t.unpacked(chartName)
	if err == nil && (version == "" || satisfies(ch.Metadata.Version, version)) {
		return ch, nil
	}
	if err != nil && !errors.Is(err, errNoChart) {
		return nil, err
	}
	return t.packed(chartName, version)
}

func (t *tree) unpacked(chartName string) (*chart.Chart, error) {
	if _, err := t.root.Stat(chartName + "/Chart.yaml"); errors.Is(err, fs.ErrNotExist) {
		return nil, errNoChart
	} else if err != nil {
		return nil, err
	}
	sub, err := fs.Sub(t.root.FS(), chartName)
	if err != nil {
		return nil, err
	}
	rules, err := ignored(sub)
	if err != nil {
		return nil, err
	}
	r := &reader{fsys: sub, rules: rules}
	if err := fs.WalkDir(sub, ".", r.visit); err != nil {
		return nil, err
	}
	u := &unpacker{left: maxChart - r.size, files: maxFiles - len(r.files)}
	files, err := u.expand(r.files, 0)
	if err != nil {
		return nil, err
	}
	return loadFiles(files)
}

func ignored(fsys fs.FS) (*ignore.Rules, error) {
	rules := ignore.Empty()
	text, err := fs.ReadFile(fsys, ignore.HelmIgnore)
	if err == nil {
		rules, err = ignore.Parse(bytes.NewReader(text))
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	rules.AddDefaults()
	return rules, nil
}

// reader collects an unpacked chart's files within the bounds.
type reader struct {
	fsys  fs.FS
	rules *ignore.Rules
	files []*loader.BufferedFile
	size  int64
}

func (r *reader) visit(file string, entry fs.DirEntry, err error) error {
	if err != nil || file == "." {
		return err
	}
	info, err := fs.Stat(r.fsys, file) // follows symbolic links within the root
	if err != nil {
		return err
	}
	if r.rules.Ignore(file, info) {
		if entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if entry.IsDir() {
		return nil
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file)
	}
	if r.size += info.Size(); r.size > maxChart || len(r.files) == maxFiles {
		return fmt.Errorf("it is over %d bytes or %d files", maxChart, maxFiles)
	}
	f, err := r.fsys.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := readAll(f, maxChart)
	if err == nil {
		r.files = append(r.files, &loader.BufferedFile{Name: file, Data: data})
	}
	return err
}

// packed loads the newest archive that satisfies version.
func (t *tree) packed(chartName, version string) (*chart.Chart, error) {
	entries, err := fs.ReadDir(t.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, e := range entries {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".tgz"), chartName+"-")
		if !ok || path.Ext(e.Name()) != ".tgz" {
			continue
		}
		if v, ok := parseVersion(rest); ok && satisfies(rest, version) {
			found = append(found, candidate{e.Name(), v})
		}
	}
	if len(found) == 0 {
		return nil, errNoChart
	}
	f, err := t.root.Open(slices.MaxFunc(found, candidate.compare).name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readAll(f, maxArchive)
	if err != nil {
		return nil, err
	}
	return loadArchive(data)
}

// candidate is a version of a chart and its file or tag.
type candidate struct {
	name    string
	version *semver.Version
}

// compare returns less than 0 if c is older than d; for equal versions the name decides.
func (c candidate) compare(d candidate) int {
	return cmp.Or(c.version.Compare(d.version), cmp.Compare(c.name, d.name))
}

// parseVersion parses a complete version, which may begin with "v" as in the file names
// of helm package. ok is false for part of a version, which may belong to the name before
// it: hello-2-1.0.0.tgz is the chart hello-2.
func parseVersion(text string) (*semver.Version, bool) {
	v, err := semver.StrictNewVersion(strings.TrimPrefix(text, "v"))
	return v, err == nil
}

// satisfies reports whether version v satisfies a constraint. As in helm, every version
// that is not a pre-release satisfies an empty constraint, and an exact version itself.
func satisfies(v, constraint string) bool {
	if v == constraint {
		return true
	}
	version, err := semver.NewVersion(v)
	if err != nil {
		return false
	}
	c, err := semver.NewConstraint(cmp.Or(constraint, "*"))
	return err == nil && c.Check(version)
}
