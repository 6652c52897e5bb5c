package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// listName is where a package keeps its list.
const listName = "testdata/mutants.txt"

// mutant is one change and the promise that it breaks.
type mutant struct {
	Package string `json:"package"` // its folder, slash-separated, from the root
	File    string `json:"file"`    // in Package
	Promise string `json:"promise"`
	Test    string `json:"test,omitempty"` // a pattern for -run; empty: all tests
	Tested  string `json:"tested"`         // the package whose tests run

	old, replacement string
	line             int // of the list
}

// readAll returns the changes of the named packages, or of all packages below
// root in the order of their names.
func readAll(root string, packages []string) ([]mutant, error) {
	if len(packages) == 0 {
		err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() && (e.Name() == "node_modules" || e.Name() == ".git") {
				return fs.SkipDir
			}
			if rel, _ := filepath.Rel(root, p); strings.HasSuffix(filepath.ToSlash(rel), "/"+listName) {
				packages = append(packages, strings.TrimSuffix(filepath.ToSlash(rel), "/"+listName))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		slices.Sort(packages)
	}
	var all []mutant
	for _, p := range packages {
		p = path.Clean(filepath.ToSlash(p))
		name := filepath.Join(root, p, listName)
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		list, err := parse(p, string(text))
		if err != nil {
			return nil, fmt.Errorf("%s/%s:%w", p, listName, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// parse reads one list. Changes are separated by empty lines. Errors begin with
// the line's number.
func parse(pkg, text string) ([]mutant, error) {
	var all []mutant
	m := mutant{Package: pkg, Tested: pkg}
	finish := func(line int) error {
		if m == (mutant{Package: pkg, Tested: pkg}) {
			return nil
		}
		switch {
		case m.Promise == "":
			return fmt.Errorf("%d: the change has no promise: begin it with \"# …\"", line)
		case m.File == "":
			return fmt.Errorf("%d: the change names no file", line)
		case m.old == "":
			return fmt.Errorf("%d: the change replaces nothing: add a line \"- …\"", line)
		case m.old == m.replacement:
			return fmt.Errorf("%d: the change changes nothing", line)
		}
		all = append(all, m)
		m = mutant{Package: pkg, Tested: pkg}
		return nil
	}
	add := func(to *string, s string) {
		if *to != "" {
			*to += "\n"
		}
		*to += s
	}
	for i, l := range strings.Split(text, "\n") {
		kind, rest, _ := strings.Cut(l, " ")
		switch {
		case l == "":
			if err := finish(i); err != nil {
				return nil, err
			}
			continue
		case kind == "#":
			add(&m.Promise, rest)
		case kind == "@":
			m.Test = "^(" + rest + ")$"
		case kind == ">":
			m.Tested = rest
		case kind == "-":
			add(&m.old, rest)
		case kind == "+":
			add(&m.replacement, rest)
		case rest == "" && m.File == "" && path.Base(l) == l:
			m.File = l
		default:
			return nil, fmt.Errorf("%d: %q is neither a promise (#), a file of the package, a test (@), a tested package (>), nor replaced (-) or new (+) text", i+1, l)
		}
		if m.line == 0 {
			m.line = i + 1
		}
	}
	if err := finish(strings.Count(text, "\n") + 1); err != nil {
		return nil, err
	}
	return all, nil
}

// apply returns the changed file.
func (m mutant) apply(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, m.Package, m.File))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s/%s:%d: the replaced text occurs %d times in %s, it must occur once", m.Package, listName, m.line, n, m.File)
	}
	return bytes.Replace(text, []byte(m.old), []byte(m.replacement), 1), nil
}

// testsNeeded returns for each tested package the pattern of the tests that its
// changes need; empty: all tests.
func testsNeeded(all []mutant) map[string]string {
	patterns := map[string]string{}
	for _, m := range all {
		have, ok := patterns[m.Tested]
		switch {
		case !ok, m.Test == "":
			patterns[m.Tested] = m.Test
		case have != "" && !slices.Contains(strings.Split(have, "|"), m.Test):
			patterns[m.Tested] = have + "|" + m.Test
		}
	}
	return patterns
}

func matching(all []mutant, text string) []mutant {
	return slices.DeleteFunc(all, func(m mutant) bool { return !strings.Contains(m.Promise, text) })
}
