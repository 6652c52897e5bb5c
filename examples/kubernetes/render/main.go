// Command render prints plain manifests of the chart, for clusters without helm.
//
//	render [-name NAME] [-namespace NAMESPACE] VALUES.yaml…
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	name, namespace := flag.String("name", "bulkhead", "name of the release"), flag.String("namespace", "bulkhead", "namespace of the release")
	chart := flag.String("chart", "examples/kubernetes/chart", "directory of the chart")
	flag.Parse()
	values := chartutil.Values{}
	for _, file := range flag.Args() {
		more, err := chartutil.ReadValuesFile(file)
		if err != nil {
			fail(fmt.Errorf("%s: %w", file, err))
		}
		values = chartutil.CoalesceTables(more, values)
	}
	text, err := render(*chart, *name, *namespace, values)
	if err != nil {
		fail(err)
	}
	fmt.Print(text)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "render:", err)
	os.Exit(1)
}

// render returns the manifests of a release: its custom resources' definitions first, then
// the templates' objects by file. Values that the schema refuses are an error.
func render(dir, name, namespace string, values chartutil.Values) (string, error) {
	chart, err := loader.LoadDir(dir)
	if err != nil {
		return "", err
	}
	full, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, full)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	add := func(text string) {
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(&out, "---\n%s\n", strings.TrimPrefix(text, "---\n"))
		}
	}
	for _, crd := range chart.CRDObjects() {
		add(string(crd.File.Data))
	}
	if out.Len() == 0 {
		return "", errors.New("the chart has no custom resources: crds is a link to host/directory/crds")
	}
	names := make([]string, 0, len(files))
	for file := range files {
		names = append(names, file)
	}
	slices.Sort(names)
	for _, file := range names {
		if path.Ext(file) == ".yaml" {
			add(files[file])
		}
	}
	return out.String(), nil
}
