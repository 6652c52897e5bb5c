package git

import (
	"bytes"
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/object"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// The forms of what a path declares.
const (
	formManifests     = "manifests"
	formKustomization = "kustomization"
	formChart         = "chart" // of Helm; it is not rendered here
)

const (
	maxManifests = 5000
	maxProblems  = 50
	// maxRepository bounds the files that a kustomization could read.
	maxRepository      = 64 << 20
	maxRepositoryFiles = 20_000
)

// manifests is the answer of asManifests, without where. If there are Problems, Objects is
// empty: what could be read of a broken directory is not what its author declares.
type manifests struct {
	Form     string     `json:"form"`
	Objects  []declared `json:"objects"`
	Problems []problem  `json:"problems,omitempty"`
}

// declared is one object and where it is declared. A kustomization has no lines.
type declared struct {
	File   string          `json:"file"`
	Line   int             `json:"line,omitempty"`
	Object json.RawMessage `json:"object"`
}

// problem is why a file is not a manifest.
type problem struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	Text string `json:"text"`
}

func (m *manifests) problem(file string, line int, what string) {
	if len(m.Problems) < maxProblems {
		m.Problems = append(m.Problems, problem{file, line, text.Clip(text.Printable(what), 1000)})
	}
}

var kustomizations = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// manifestsOf reads the objects that the file or directory at path declares: a directory
// with a kustomization is built, and of any other directory all files below it that end
// with .yaml, .yml or .json are read.
func manifestsOf(root *tree, at string) (*manifests, error) {
	out := &manifests{Form: formManifests, Objects: []declared{}}
	dir := root
	if at != "" {
		var err error
		if dir, _, err = root.at(at); err != nil {
			return nil, err
		}
	}
	if dir != nil {
		for _, file := range kustomizations {
			if dir.entry(file) != nil {
				out.Form = formKustomization
				return out, out.build(root, at, join(at, file))
			}
		}
		if dir.entry("Chart.yaml") != nil {
			out.Form = formChart
			return out, nil
		}
	}
	total, files := 0, 0
	err := root.each(at, func(file string, entry *object.TreeEntry) error {
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(file)) {
			return nil
		}
		data, err := root.content(file, entry)
		if err != nil {
			return err
		}
		if files++; files > maxFiles {
			return host.E(host.Unprocessable, name, "there are over %d manifests; name a deeper path", maxFiles)
		}
		if total += len(data); total > maxContent {
			return host.E(host.Unprocessable, name, "the manifests are over %d bytes; name a deeper path", maxContent)
		}
		return out.parse(file, data)
	})
	if len(out.Problems) > 0 {
		out.Objects = []declared{}
	}
	return out, err
}

// manifestLimits are those of one document. An alias would be expanded in what is applied.
var manifestLimits = strictyaml.Limits{Bytes: maxFile, Nodes: 200_000, Depth: 100}

// parse adds the objects of one file, of one document or several.
func (m *manifests) parse(file string, data []byte) error {
	if bytes.HasPrefix(data, lfsPrefix) {
		m.problem(file, 0, "is a pointer to a file in Git LFS, which is not read")
		return nil
	}
	for _, d := range strictyaml.Split(data) {
		v, err := d.Value(manifestLimits)
		line := d.Line + begins(d.Text)
		if e, ok := errors.AsType[*strictyaml.Error](err); ok {
			m.problem(file, e.Line, e.Text)
			continue
		} else if err != nil {
			m.problem(file, line, err.Error())
			continue
		}
		if v == nil {
			continue
		}
		if err := m.add(file, line, v, true); err != nil {
			return err
		}
	}
	return nil
}

// begins returns the line, from 1, at which a document has its first content.
func begins(doc []byte) int {
	n := 1
	for line := range bytes.SplitSeq(doc, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return n
		}
		n++
	}
	return 1
}

// add adds one object, or the items of a List.
func (m *manifests) add(file string, line int, v any, mayBeList bool) error {
	o, ok := v.(map[string]any)
	if !ok {
		m.problem(file, line, "is not a mapping")
		return nil
	}
	version, _ := o["apiVersion"].(string)
	kind, _ := o["kind"].(string)
	if version == "" || kind == "" {
		m.problem(file, line, "has no apiVersion or no kind; a manifest needs both")
		return nil
	}
	if items, ok := o["items"].([]any); ok && strings.HasSuffix(kind, "List") && mayBeList {
		for _, item := range items {
			if err := m.add(file, line, item, false); err != nil {
				return err
			}
		}
		return nil
	}
	metadata, _ := o["metadata"].(map[string]any)
	if objectName, _ := metadata["name"].(string); objectName == "" {
		m.problem(file, line, kind+" has no metadata.name; an object that is applied needs one")
		return nil
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if len(m.Objects) >= maxManifests {
		return host.E(host.Unprocessable, name, "there are over %d objects; name a deeper path", maxManifests)
	}
	m.Objects = append(m.Objects, declared{file, line, data})
	return nil
}

// build builds the kustomization in the directory at, whose file is named. It may use
// bases and components anywhere in the repository.
func (m *manifests) build(root *tree, at, file string) error {
	fs := filesys.MakeFsInMemory()
	const top = "/repository"
	total, files := int64(0), 0
	err := root.walk("", 0, func(path string, entry *object.TreeEntry) error {
		n, err := root.size(entry)
		if err != nil {
			return err
		}
		if files, total = files+1, total+n; files > maxRepositoryFiles || total > maxRepository {
			return host.E(host.Unprocessable, name, "the repository has over %d files or %d MiB, which is too much for a kustomization", maxRepositoryFiles, maxRepository>>20)
		}
		if n > maxFile {
			return nil // the build says that it is absent, if it needs it
		}
		data, err := root.content(path, entry)
		if err != nil {
			return err
		}
		return fs.WriteFile(join(top, path), data)
	}, func(error) error { return nil })
	if err != nil {
		return err
	}
	// Plugins, functions and charts stay disabled, and files outside of the root of each
	// kustomization cannot be read.
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, join(top, at))
	if err != nil {
		what := strings.ReplaceAll(err.Error(), top+"/", "")
		if errors.Is(err, errNoNetwork) || strings.Contains(what, errNoNetwork.Error()) || strings.Contains(what, "no 'git' program") {
			what = errNoNetwork.Error() + ", which is refused: " + what
		}
		m.problem(file, 0, what)
		return nil
	}
	for _, r := range built.Resources() {
		data, err := r.MarshalJSON()
		if err != nil {
			m.problem(file, 0, err.Error())
			continue
		}
		v, err := strictyaml.Value(data, manifestLimits)
		if err != nil {
			m.problem(file, 0, err.Error())
			continue
		}
		if err := m.add(file, 0, v, true); err != nil {
			return err
		}
	}
	if len(m.Problems) > 0 {
		m.Objects = []declared{}
	}
	return nil
}
