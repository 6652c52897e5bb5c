// Package scaffold writes the directory of a new plugin: code, manifest, tests, the
// configuration and users of its development host, and a copy of the SDK.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Options describe a new plugin.
type Options struct {
	Name     string // of the plugin
	Dir      string // directory to write; Name if empty
	Language string // one of Languages; "go" if empty
	Version  string // of the bulkhead command, for the SDK's copy
}

// templates are the files of a plugin, those of every language in template/all. The suffix
// .tmpl keeps Go and editors from treating them as sources; "dot." at the start of a name
// stands for a period.
//
//go:embed template
var templates embed.FS

// New writes a plugin and returns its directory. It refuses an invalid name, an unknown
// language, and a directory that has entries. After an error nothing is left.
func New(o Options) (dir string, err error) {
	if o.Dir == "" {
		o.Dir = o.Name
	}
	if o.Language == "" {
		o.Language = "go"
	}
	l, ok := languages[o.Language]
	switch {
	case !manifest.ValidName(o.Name) || o.Name == "admin":
		return "", fmt.Errorf("%q cannot be the name of a plugin: use lower-case letters, digits and dashes, beginning with a letter; admin is reserved", o.Name)
	case !ok:
		return "", fmt.Errorf("--lang: %q is not one of %s", o.Language, strings.Join(Languages(), ", "))
	}
	files, err := l.files(o)
	if err != nil {
		return "", err
	}
	return o.Dir, place(o.Dir, files)
}

// file is a file to write, by its slash-separated path.
type file struct {
	data []byte
	mode fs.FileMode
}

type files map[string]file

func (f files) add(name string, data []byte) {
	mode := fs.FileMode(0o644)
	if strings.HasSuffix(name, ".sh") {
		mode = 0o755
	}
	f[name] = file{data, mode}
}

// files are those of a new plugin.
func (l *language) files(o Options) (files, error) {
	out := files{}
	for _, dir := range []string{"all", o.Language} {
		if err := out.render("template/"+dir, o); err != nil {
			return nil, err
		}
	}
	for name, source := range l.code {
		data, err := l.read(source)
		if err != nil {
			return nil, err
		}
		out.add(name, l.adapt(data))
	}
	for name, f := range l.sdk(o.Version) {
		out[path.Join(SDKDir, name)] = f
	}
	return out, nil
}

// render adds the templates below dir.
func (f files) render(dir string, o Options) error {
	return fs.WalkDir(templates, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := templates.ReadFile(name)
		if err != nil {
			return err
		}
		t, err := template.New(name).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, o); err != nil {
			return err
		}
		target := strings.TrimSuffix(strings.TrimPrefix(name, dir+"/"), ".tmpl")
		if base, ok := strings.CutPrefix(path.Base(target), "dot."); ok {
			target = path.Join(path.Dir(target), "."+base)
		}
		f.add(target, out.Bytes())
		return nil
	})
}

// place writes files to dir, which is absent or empty, in one step: they are written beside
// it, and then the directory is renamed.
func place(dir string, f files) (err error) {
	dir = filepath.Clean(dir)
	switch entries, err := os.ReadDir(dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty; name another directory with --dir, or remove it", dir)
	}
	made, err := write(dir, f)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(made) // err says what went wrong
		}
	}()
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(made, dir)
}

// write writes files to a new directory beside dir and returns its name.
func write(dir string, f files) (made string, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	made, err = os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(made) // err says what went wrong
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		target := filepath.Join(made, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return made, err
		}
		if err := os.WriteFile(target, f[name].data, f[name].mode); err != nil {
			return made, err
		}
	}
	return made, os.Chmod(made, 0o755)
}
