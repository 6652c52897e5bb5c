package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"regexp"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// maxNested is how deep archives of charts may be nested.
const maxNested = 8

// chartLimits bound a YAML file of a chart. Charts may repeat a key, as in helm.
var chartLimits = strictyaml.Limits{Bytes: 5 << 20, Nodes: 500_000, Depth: strictyaml.Small.Depth, RepeatedKeys: true}

// parsedFile matches the files that helm parses as YAML when it loads a chart, including
// those of its dependencies.
var parsedFile = regexp.MustCompile(`^(charts/[^/]+/)*(Chart\.yaml|Chart\.lock|values\.yaml|requirements\.yaml|requirements\.lock)$`)

// nestedArchive matches archives that helm unpacks when it loads a chart.
var nestedArchive = regexp.MustCompile(`^(charts/[^/]+/)*charts/[^/._][^/]*\.tgz$`)

func loadArchive(data []byte) (*chart.Chart, error) {
	u := &unpacker{left: maxChart, files: maxFiles}
	files, err := u.unpack(data, 0)
	if err != nil {
		return nil, err
	}
	return loadFiles(files)
}

// unpacker unpacks an archive and the archives in it. Unlike helm's own bounds, its
// bounds apply to all of them together.
type unpacker struct {
	left  int64 // bytes
	files int   // how many more
}

func (u *unpacker) unpack(data []byte, depth int) ([]*loader.BufferedFile, error) {
	if err := u.measure(data); err != nil {
		return nil, err
	}
	files, err := loader.LoadArchiveFiles(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return u.expand(files, depth)
}

// measure reads an archive without keeping it.
func (u *unpacker) measure(data []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	for t := tar.NewReader(z); ; u.files-- {
		h, err := t.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if u.left -= h.Size; u.left < 0 || u.files <= 0 {
			return errTooMuch
		}
	}
}

var errTooMuch = fmt.Errorf("unpacked it is over %d bytes or %d files", maxChart, maxFiles)

// expand replaces archives of charts by their files, in a directory whose name no file
// of a chart and no archive can have.
func (u *unpacker) expand(files []*loader.BufferedFile, depth int) ([]*loader.BufferedFile, error) {
	var all []*loader.BufferedFile
	for _, f := range files {
		if !nestedArchive.MatchString(f.Name) {
			all = append(all, f)
			continue
		}
		if depth == maxNested {
			return nil, fmt.Errorf("it has charts in charts over %d levels deep", maxNested)
		}
		inner, err := u.unpack(f.Data, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		for _, i := range inner {
			all = append(all, &loader.BufferedFile{Name: f.Name + "!/" + i.Name, Data: i.Data})
		}
	}
	return all, nil
}

// loadFiles makes a chart of files, after measuring those that helm parses. Its default
// values keep the digits of numbers.
func loadFiles(files []*loader.BufferedFile) (*chart.Chart, error) {
	for _, f := range files {
		if !parsedFile.MatchString(f.Name) {
			continue
		}
		f.Data = strictyaml.TrimBOM(f.Data)
		for _, d := range strictyaml.Split(f.Data) {
			if _, err := d.Parse(chartLimits); err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
		}
	}
	ch, err := loader.LoadFiles(files)
	if err != nil {
		return nil, err
	}
	return ch, exactDefaults(ch)
}

// exactDefaults reads the default values of the chart and of its dependencies again,
// with the digits of their numbers. As in helm, the first document counts.
func exactDefaults(ch *chart.Chart) error {
	for _, f := range ch.Raw {
		if f.Name != "values.yaml" {
			continue
		}
		for _, d := range strictyaml.Split(f.Data) {
			v, err := d.Value(chartLimits)
			if err != nil {
				return fmt.Errorf("values.yaml of %s: %w", ch.Name(), err)
			}
			if m, ok := plain(v).(map[string]any); ok {
				ch.Values = m
				break
			}
		}
	}
	for _, dependency := range ch.Dependencies() {
		if err := exactDefaults(dependency); err != nil {
			return err
		}
	}
	return nil
}
