// Package pack makes a plugin's one .wasm file, module and manifest: from a directory
// with sources and a manifest.json, or from a module that a compiler made. It is a build
// tool; plugins do not import it.
package pack

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Names of files in a plugin's directory.
const (
	ManifestFile = "manifest.json"
	// ScriptFile, if it exists, compiles the plugin to the module that its one argument
	// names. Without it the plugin is a Go package.
	ScriptFile = "build.sh"
	// PageFolder, if it exists, has the files of the page that the plugin brings for the
	// console, as they are served.
	PageFolder = "ui"
)

// MaxModule bounds the compiled module, in bytes.
const MaxModule = 32 << 20

// Options change how a plugin is built. The zero value has the defaults.
type Options struct {
	Go  string   // the go command; default "go", found in PATH
	Env []string // NAME=VALUE, added to the process's environment
	// Measured makes a Go plugin count its allocations (abi.ExportAllocations), for a bench.
	Measured bool
	// Capabilities are the capabilities that hosts have. A manifest that requires
	// another is refused. nil: any.
	Capabilities []string
	// Check, if set, checks the packed file, module and manifest, before it is written.
	Check func(ctx context.Context, packed []byte) error
}

// Build checks dir/manifest.json, compiles the plugin in dir, with dir/build.sh or as a Go
// package for wasip1, checks that the module exports what its routes need and imports only
// capabilities that the manifest requests, embeds the manifest, and replaces out
// atomically. After an error out is unchanged. The error contains the compiler's output.
func Build(ctx context.Context, dir, out string, o Options) error {
	text, m, err := readManifest(filepath.Join(dir, ManifestFile), o)
	if err != nil {
		return err
	}
	module, err := compile(ctx, dir, o)
	if err != nil {
		return err
	}
	return join(ctx, dir, dir, module, text, m, out, o)
}

// Pack checks a module that a compiler made, whatever the language, against the
// manifest in a file, as Build does, embeds the manifest in place of any that the
// module has, and replaces out atomically. out may be the module itself; if it is
// empty, it is the manifest's name with .wasm, in the working directory. After an error
// out is unchanged. Pack returns the name of the file that it wrote.
func Pack(ctx context.Context, module, manifestFile, out string, o Options) (written string, err error) {
	text, m, err := readManifest(manifestFile, o)
	if err != nil {
		return "", err
	}
	wasm, err := Read(module)
	if err != nil {
		return "", err
	}
	out = cmp.Or(out, m.Name+".wasm")
	return out, join(ctx, module, filepath.Dir(manifestFile), wasm, text, m, out, o)
}

// join checks a module against its manifest and writes both to out, with the page in the
// folder of the manifest; from names the module in errors.
func join(ctx context.Context, from, dir string, module, text []byte, m *manifest.Manifest, out string, o Options) error {
	if err := check(module, m); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	files, err := readPage(filepath.Join(dir, PageFolder))
	if err != nil {
		return err
	}
	if err := files.Check(m.UI); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if module, err = manifest.EmbedUI(module, files); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	packed, err := manifest.Embed(module, text)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if o.Check != nil {
		if err := o.Check(ctx, packed); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	return replace(out, packed)
}

func readManifest(path string, o Options) ([]byte, *manifest.Manifest, error) {
	text, err := readBounded(path, manifest.MaxSize)
	if err != nil {
		return nil, nil, err
	}
	m, err := manifest.Parse(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, c := range m.Capabilities {
		if o.Capabilities != nil && !c.Optional && !slices.Contains(o.Capabilities, c.Name) {
			return nil, nil, fmt.Errorf("%s: manifest: capabilities[%d].name: the capability %q does not exist; the capabilities are %s",
				path, i, c.Name, strings.Join(o.Capabilities, ", "))
		}
	}
	return text, m, nil
}

// Read reads a module's file, of at most MaxModule bytes.
func Read(path string) ([]byte, error) {
	wasm, err := readBounded(path, MaxModule)
	if err == nil && len(wasm) > MaxModule {
		err = fmt.Errorf("%s: the module is larger than %d bytes", path, MaxModule)
	}
	return wasm, err
}

// readBounded reads a file, of a longer one limit+1 bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// readPage reads the files of a page, nil if there is no folder. Links and other files that
// are not regular are refused.
func readPage(dir string) (manifest.UIFiles, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	files, size := manifest.UIFiles{}, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s: is not a regular file", path)
		}
		data, err := readBounded(path, manifest.MaxUIBytes)
		if err != nil {
			return err
		}
		if size += len(data); size > manifest.MaxUIBytes || len(files) == manifest.MaxUIFiles {
			return fmt.Errorf("%s: the page has more than %d bytes or %d files", dir, manifest.MaxUIBytes, manifest.MaxUIFiles)
		}
		name, err := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = data
		return err
	})
	return files, err
}

// compile compiles the plugin in dir and returns the module.
func compile(ctx context.Context, dir string, o Options) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "bulkhead-pack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	wasm := filepath.Join(tmp, "plugin.wasm")
	cmd, what, hint := goBuild(ctx, wasm, o), "go build", "is the package main?"
	if script, err := filepath.Abs(filepath.Join(dir, ScriptFile)); err == nil && isFile(script) {
		cmd, what, hint = exec.CommandContext(ctx, script, wasm), ScriptFile, "its one argument is the file to write"
		cmd.Env = append(os.Environ(), o.Env...)
	}
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s in %s: %w\n%s", what, dir, errors.Join(err, ctx.Err()), bytes.TrimSpace(output))
	}
	info, err := os.Stat(wasm)
	if err != nil {
		return nil, fmt.Errorf("%s: %s made no module; %s", dir, what, hint)
	}
	if info.Size() > MaxModule {
		return nil, fmt.Errorf("%s: the module has %d bytes, the limit is %d", dir, info.Size(), MaxModule)
	}
	return os.ReadFile(wasm)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// goBuild compiles the package in the working directory to wasm. The names of functions
// stay (no -s): they take 2 % and make a guest's stack trace readable.
func goBuild(ctx context.Context, wasm string, o Options) *exec.Cmd {
	args := []string{"build", "-buildmode=c-shared", "-ldflags=-w", "-trimpath", "-buildvcs=false", "-o", wasm}
	if o.Measured {
		args = append(args, "-tags=bulkhead_bench")
	}
	cmd := exec.CommandContext(ctx, cmp.Or(o.Go, "go"), append(args, ".")...)
	cmd.Env = append(append(os.Environ(), o.Env...), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	return cmd
}

// replace writes a file under a temporary name next to path and renames it.
func replace(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
