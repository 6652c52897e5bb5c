package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// keep has modules by digest, and what each name has served, below a directory. Its
// methods that write are called under Registry.mu.
type keep struct {
	dir string
	log *slog.Logger
}

// version is one that served a name.
type version struct {
	Config  Config    `json:"config"` // with the module's digest
	Origin  Origin    `json:"origin"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
}

// record is what a name serves, and served before, the last one first.
type record struct {
	Serving *version  `json:"serving,omitempty"`
	Earlier []version `json:"earlier,omitempty"`
}

const maxHistory = 4 // versions of a name that can be rolled back to

func openKeep(dir string, log *slog.Logger) (*keep, error) {
	k := &keep{dir, log}
	if dir == "" {
		return k, nil
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("plugin: modules cannot be kept: %w", err)
	}
	return k, nil
}

func digestOf(wasm []byte) string {
	sum := sha256.Sum256(wasm)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (k *keep) path(digest string) string {
	return filepath.Join(k.dir, strings.TrimPrefix(digest, "sha256:")+".wasm")
}

// get returns the module of that digest, nil if it is not kept whole.
func (k *keep) get(digest string, most int) []byte {
	if k.dir == "" || !digestRE.MatchString(digest) {
		return nil
	}
	wasm, err := readFile(k.path(digest), most)
	if err != nil || digestOf(wasm) != digest {
		return nil
	}
	return wasm
}

// put keeps a module.
func (k *keep) put(digest string, wasm []byte) error {
	if k.dir == "" || k.get(digest, len(wasm)) != nil {
		return nil
	}
	return k.write(k.path(digest), wasm)
}

// write makes a file whole or not at all.
func (k *keep) write(path string, data []byte) error {
	f, err := os.CreateTemp(k.dir, ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (k *keep) recordPath(name string) string { return filepath.Join(k.dir, name+".json") }

// maxRecord bounds what is read of a record.
const maxRecord = 16 << 20

// load returns the record of a name. One that cannot be read counts as none: what
// serves next is compared with nothing, which needs more consent, not less.
func (k *keep) load(name string) (r record) {
	if k.dir == "" {
		return r
	}
	text, err := readFile(k.recordPath(name), maxRecord)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			k.log.Warn("what a plugin served before cannot be read", "plugin", name, "error", err)
		}
		return record{}
	}
	return r
}

// save writes the record of a name, or removes an empty one, and then all modules that
// neither a record nor inUse names.
func (k *keep) save(name string, r record, inUse map[string]bool) {
	if k.dir == "" {
		return
	}
	var err error
	if r.Serving == nil && len(r.Earlier) == 0 {
		if err = os.Remove(k.recordPath(name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		var text []byte
		if text, err = json.Marshal(r); err == nil {
			err = k.write(k.recordPath(name), text)
		}
	}
	if err = errors.Join(err, k.collect(inUse)); err != nil {
		k.log.Error("what a plugin serves cannot be kept", "plugin", name, "error", err)
	}
}

// names are those that have a record.
func (k *keep) names() (list []string) {
	if k.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		k.log.Error("the records of plugins cannot be listed", "error", err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			list = append(list, name)
		}
	}
	return list
}

func (k *keep) collect(inUse map[string]bool) error {
	list, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			r := k.load(name)
			for _, v := range r.Earlier {
				inUse[v.Config.Digest] = true
			}
			if r.Serving != nil {
				inUse[r.Serving.Config.Digest] = true
			}
		}
	}
	var errs []error
	for _, e := range list {
		if name, ok := strings.CutSuffix(e.Name(), ".wasm"); ok && !inUse["sha256:"+name] {
			errs = append(errs, os.Remove(filepath.Join(k.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
