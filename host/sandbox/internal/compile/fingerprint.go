package compile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/tetratelabs/wazero"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// fingerprint identifies everything beside the module on which code depends.
type fingerprint struct {
	subdir string // in which wazero looks for code, below the directory it is given
	sum    [sha256.Size]byte
	// program identifies this program, of which the rewriter is a part; empty: unknown.
	program string
}

// format is changed when the layout of the cache changes.
const format = "bulkhead compiled code 2"

// probe is a module with one empty function.
const probe = "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x04\x01\x02\x00\x0b"

// takeFingerprint makes wazero compile a module of one empty function and reads the path of the
// result, which contains version, platform and a hash of configuration and processor features
// that only wazero can compute.
func takeFingerprint(closeOnContextDone bool) (f fingerprint, err error) {
	dir, err := os.MkdirTemp("", "bulkhead-probe-")
	if err != nil {
		return f, err
	}
	defer os.RemoveAll(dir)
	if err := compileInto(context.Background(), dir, []byte(probe), closeOnContextDone); err != nil {
		return f, err
	}
	file, err := onlyFile(dir)
	if err != nil {
		return f, err
	}
	f.subdir, f.program = filepath.Dir(file.path), buildID()
	h := sha256.New()
	fmt.Fprintln(h, format)
	fmt.Fprintln(h, wazeroBuild())
	fmt.Fprintln(h, file.path)
	data, err := os.ReadFile(filepath.Join(dir, file.path))
	h.Write(data)
	h.Sum(f.sum[:0])
	return f, err
}

// wazeroBuild identifies the source of wazero beyond the version in its path, which does not
// change when the module is replaced. Test binaries do not have this information.
func wazeroBuild() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/tetratelabs/wazero" {
			if m.Replace != nil {
				m = m.Replace
			}
			return m.Path + " " + m.Version + " " + m.Sum
		}
	}
	return ""
}

// digest returns the name of the entry for the module of a stub. The stub contains the hash of
// the whole module.
func (f *fingerprint) digest(stub []byte) string {
	h := sha256.New()
	h.Write(f.sum[:])
	h.Write(stub)
	return hex.EncodeToString(h.Sum(nil))
}

// admission returns the name of the entry for an admitted module.
func (f *fingerprint) admission(module []byte, l wasm.Limits) string {
	h := sha256.New()
	fmt.Fprintf(h, "admitted\n%s\n%q\n%+v\n", format, f.program, l)
	h.Write(module)
	return hex.EncodeToString(h.Sum(nil))
}

// compileInto makes wazero compile wasm and store the code in dir.
func compileInto(ctx context.Context, dir string, wasm []byte, closeOnContextDone bool) error {
	// wazero would make it, too, but its error could pass for one of the module.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return err
	}
	defer cache.Close(ctx)
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithCloseOnContextDone(closeOnContextDone).WithCompilationCache(cache))
	defer r.Close(ctx)
	_, err = r.CompileModule(ctx, wasm)
	return err
}

type file struct {
	path string // below the directory that was searched
	size int64
}

// onlyFile returns the only file below dir. It returns an error if dir does not contain exactly
// one, or contains anything else than files and directories.
func onlyFile(dir string) (found file, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		path, err = filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", path)
		}
		if found.path != "" {
			return fmt.Errorf("%s exists beside %s", path, found.path)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found = file{path, info.Size()}
		return nil
	})
	if err == nil && found.path == "" {
		err = fmt.Errorf("no file in %s", dir)
	}
	return found, err
}

// hashFile returns the SHA-256 of the file in hexadecimal.
func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
