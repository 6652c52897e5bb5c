package helm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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

// directory is a repository on the host's disk. Nothing outside the root is
// reached, by ".." or by symbolic link.
type directory struct{ root *os.Root }

func (d *directory) close() { _ = d.root.Close() }

// load prefers an unpacked chart of that version over archives. With no version
// asked for, it may be a pre-release: whoever unpacks a chart works on it.
func (d *directory) load(_ context.Context, chartName, version string) (*chart.Chart, error) {
	ch, err := d.unpacked(chartName)
	if err == nil && (version == "" || satisfies(ch.Metadata.Version, version)) {
		return ch, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return d.packed(chartName, version)
}

func (d *directory) unpacked(chartName string) (*chart.Chart, error) {
	if _, err := d.root.Stat(chartName + "/Chart.yaml"); err != nil {
		return nil, err
	}
	sub, err := fs.Sub(d.root.FS(), chartName)
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
	return loader.LoadFiles(r.files)
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
	info, err := fs.Stat(r.fsys, file) // through symbolic links, as far as the root lets them
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
		return fmt.Errorf("%s is no regular file", file)
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
		data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
		r.files = append(r.files, &loader.BufferedFile{Name: file, Data: data})
	}
	return err
}

// packed loads the newest archive that satisfies version.
func (d *directory) packed(chartName, version string) (*chart.Chart, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	type archive struct {
		file    string
		version *semver.Version
	}
	var found []archive
	for _, e := range entries {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".tgz"), chartName+"-")
		if !ok || path.Ext(e.Name()) != ".tgz" {
			continue
		}
		if v, err := semver.StrictNewVersion(rest); err == nil && satisfies(rest, version) {
			found = append(found, archive{e.Name(), v})
		}
	}
	if len(found) == 0 {
		return nil, errNoChart
	}
	newest := slices.MaxFunc(found, func(a, b archive) int { return cmp.Or(a.version.Compare(b.version), cmp.Compare(a.file, b.file)) })
	f, err := d.root.Open(newest.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return loadArchive(f)
}

func loadArchive(r io.Reader) (*chart.Chart, error) {
	data, err := readAll(r, maxArchive)
	if err != nil {
		return nil, err
	}
	return loader.LoadArchive(bytes.NewReader(data)) // bounds what it unpacks
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is over %d bytes", limit)
	}
	return data, err
}

// satisfies reports whether version v meets a constraint. An empty one is met
// by every release, as helm has it; an exact one by itself.
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
