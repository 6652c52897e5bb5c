package source

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
)

// file is a bundle in a file, which is followed by watching its directory.
type file struct {
	bundle *Bundle
	watch  *dirwatch.Watcher
}

func openFile(b *Bundle, log *slog.Logger) (Source, error) {
	watch, err := dirwatch.Open(filepath.Dir(b.File), log)
	if err != nil {
		return nil, err
	}
	return &file{b, watch}, nil
}

func (f *file) Load(context.Context) (*Content, error) {
	v, err := f.bundle.verification()
	if err != nil {
		return nil, err
	}
	packed, err := readFile(f.bundle.File)
	if err != nil {
		return nil, err
	}
	return unpack(packed, f.bundle.File, v)
}

func (f *file) Run(ctx context.Context, changed func()) { f.watch.Run(ctx, changed) }

func (f *file) Close() error { return f.watch.Close() }
