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
	packed, err := readFile(f.bundle.File)
	if err != nil {
		return nil, err
	}
	return f.bundle.verified(packed, f.bundle.File)
}

func (f *file) Run(ctx context.Context, changed func()) { f.watch.Run(ctx, changed) }

func (*file) Publish(*Content) error { return nil }

func (f *file) Close() error { return f.watch.Close() }
