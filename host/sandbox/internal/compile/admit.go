package compile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// Admitted is a rewritten module that may be compiled. Its functions are in a file, unnamed or of the cache,
// so that this process never has them in memory.
type Admitted struct {
	*rewrite.Result // without Wasm
	file            *os.File
	stub, size      int64 // bytes in the file: the stub, then the module, at its end
	at              int64
	codeBytes       int
}

// Close closes the file; an unnamed one is removed.
func (a *Admitted) Close() error { return a.file.Close() }

// source returns the stub followed by the module.
func (a *Admitted) source() io.ReadSeeker { return io.NewSectionReader(a.file, a.at, a.stub+a.size) }

// header is the beginning of the file that an admitting child writes: its length in four
// bytes, then JSON. Data, stub and module follow.
type header struct {
	Result     *rewrite.Result
	Data       []int // bytes of each active data segment
	Stub, Wasm int
	Refused    *refusal // if set, all other fields are empty
}

// maxHeader bounds a header, in bytes: some hundred thousand segments.
const maxHeader = 64 << 20

// Admit checks a module against l and rewrites it, in a child process, unless the cache has
// the result of this program for this module and these limits. The error is a *wasm.Error, an
// *Error if the child was stopped, or the rewriter's. The caller must close the result.
func (c *Compiler) Admit(ctx context.Context, module []byte, l wasm.Limits) (*Admitted, error) {
	l = l.WithDefaults()
	if err := l.CheckSize(len(module)); err != nil {
		return nil, err
	}
	if c.config.Dir == "" || c.print.program == "" {
		file, forChild, err := unnamed()
		if err != nil {
			return nil, fmt.Errorf("admission: %w", err)
		}
		defer forChild.Close() // needed if no child was started, which closes it too
		a := newAdmitted(file, l)
		err = c.rewrite(ctx, module, l, job{once: true, out: func() (*os.File, error) { return forChild, nil }})
		if err == nil {
			err = a.read()
		}
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
		return a, nil
	}
	e := entry{c.config.Dir, c.print.admission(module, l)}
	unlock, err := c.lock(ctx, e)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if a := c.admitted(e, l); a != nil {
		return a, nil
	}
	return c.admitInto(ctx, e, module, l)
}

// rewrite has a child admit the module into the output of j.
func (c *Compiler) rewrite(ctx context.Context, module []byte, l wasm.Limits, j job) error {
	release, err := c.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	j.order, j.in = order{Size: len(module), Admit: &l, MemoryPages: l.MemoryPages}, bytes.NewReader(module)
	return c.spawn(ctx, j)
}

func newAdmitted(file *os.File, l wasm.Limits) *Admitted {
	return &Admitted{file: file, codeBytes: max(l.CodeBytes, 0)}
}

// admittedName is the file of an entry with an admitted module.
const admittedName = "admitted"

// admitted returns the module of an entry, whose lock is held, nil if it is not there intact.
func (c *Compiler) admitted(e entry, l wasm.Limits) *Admitted {
	err := e.verify()
	var file *os.File
	if err == nil {
		file, err = os.Open(filepath.Join(e.code(), admittedName))
	}
	if err == nil {
		a := newAdmitted(file, l)
		if err = a.read(); err == nil {
			e.touch()
			return a
		}
		_ = file.Close() // only read
	}
	if !errors.Is(err, fs.ErrNotExist) {
		c.config.Logger.Warn("an admitted module was changed or is damaged; admitting it again", "digest", e.digest, "error", err)
	}
	return nil
}

// admitInto makes or replaces an entry, whose lock is held. A refusal is not kept.
func (c *Compiler) admitInto(ctx context.Context, e entry, module []byte, l wasm.Limits) (*Admitted, error) {
	tmp, err := c.room(e)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	path := filepath.Join(tmp, codeName, admittedName)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	create := func() (*os.File, error) { return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) }
	if err := c.rewrite(ctx, module, l, job{out: create}); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	a := newAdmitted(file, l)
	if err = a.read(); err == nil {
		if err = e.seal(tmp, "."); err == nil {
			c.trim()
			return a, nil
		}
		err = fmt.Errorf("admission: %w", err)
	}
	return nil, errors.Join(err, a.Close())
}

// unnamed opens a temporary file twice; it is deleted with its last descriptor.
func unnamed() (file, again *os.File, err error) {
	file, err = os.CreateTemp("", "bulkhead-admit-")
	if err != nil {
		return nil, nil, err
	}
	again, err = os.OpenFile(file.Name(), os.O_WRONLY, 0)
	if err = errors.Join(err, os.Remove(file.Name())); err != nil {
		return nil, nil, errors.Join(err, file.Close(), again.Close())
	}
	return file, again, nil
}

// read reads what the child wrote, except stub and module.
func (a *Admitted) read() error {
	var length [4]byte
	if _, err := a.file.ReadAt(length[:], 0); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	n := int64(binary.LittleEndian.Uint32(length[:]))
	if n > maxHeader {
		return fmt.Errorf("admission: a header of %d bytes", n)
	}
	var h header
	if err := json.NewDecoder(io.NewSectionReader(a.file, 4, n)).Decode(&h); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	if h.Refused != nil {
		return h.Refused.error()
	}
	if h.Result == nil || len(h.Data) != len(h.Result.Data) || h.Stub < 0 || h.Wasm < 0 {
		return errors.New("admission: a header without its parts")
	}
	a.Result, a.at, a.stub, a.size = h.Result, 4+n, int64(h.Stub), int64(h.Wasm)
	return a.readData(h.Data)
}

func (a *Admitted) readData(sizes []int) error {
	info, err := a.file.Stat()
	if err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	left := info.Size() - a.at - a.stub - a.size
	for _, n := range sizes {
		if left -= int64(n); n < 0 || left < 0 {
			break
		}
	}
	if left != 0 {
		return errors.New("admission: the parts have other lengths than the header says")
	}
	data := make([]byte, info.Size()-a.at-a.stub-a.size)
	if _, err := a.file.ReadAt(data, a.at); err != nil && len(data) > 0 {
		return fmt.Errorf("admission: %w", err)
	}
	for k, n := range sizes {
		a.Data[k].Bytes, data = data[:n:n], data[n:]
		a.at += int64(n)
	}
	a.Stub = make([]byte, a.stub)
	if _, err := a.file.ReadAt(a.Stub, a.at); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	return nil
}

// admitTo is the child's part.
func admitTo(file io.Writer, module []byte, l wasm.Limits) error {
	out := bufio.NewWriter(file)
	r, err := rewrite.Rewrite(module, l, rewrite.Options{})
	if err != nil {
		return errors.Join(writeHeader(out, header{Refused: refuse(err)}), out.Flush())
	}
	h := header{Result: r, Stub: len(r.Stub), Wasm: len(r.Wasm)}
	for _, d := range r.Data {
		h.Data = append(h.Data, len(d.Bytes))
	}
	if err := writeHeader(out, h); err != nil {
		return err
	}
	for _, d := range r.Data {
		if _, err := out.Write(d.Bytes); err != nil {
			return err
		}
	}
	_, err1 := out.Write(r.Stub)
	_, err2 := out.Write(r.Wasm)
	return errors.Join(err1, err2, out.Flush())
}

func writeHeader(out io.Writer, h header) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	_, err = out.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

// refusal is an encoded error of rewrite.Rewrite, for the parent.
type refusal struct {
	Text    string // of an error that is not a *wasm.Error
	Kind    string
	Refused *wasm.Error
}

var kinds = []error{wasm.ErrMalformed, wasm.ErrUnsupported, wasm.ErrLimit}

func refuse(err error) *refusal {
	e, ok := errors.AsType[*wasm.Error](err)
	if !ok {
		return &refusal{Text: err.Error()}
	}
	return &refusal{Kind: e.Kind.Error(), Refused: e}
}

func (r *refusal) error() error {
	if r.Refused == nil {
		return errors.New(r.Text)
	}
	for _, kind := range kinds {
		if kind.Error() == r.Kind {
			r.Refused.Kind = kind
			return r.Refused
		}
	}
	return fmt.Errorf("admission: refused for the unknown reason %q", r.Kind)
}
