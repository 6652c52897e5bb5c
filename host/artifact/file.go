package artifact

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
)

// file is an artifact in a local file, which is followed by watching its
// directory.
type file[T comparable] struct {
	path   string
	format Format[T]
	watch  *dirwatch.Watcher
}

func openFile[T comparable](path string, f Format[T], log *slog.Logger) (Source[T], error) {
	watch, err := dirwatch.Open(filepath.Dir(path), log)
	if err != nil {
		return nil, err
	}
	return &file[T]{path, f, watch}, nil
}

func (f *file[T]) Load(context.Context) (content T, err error) {
	packed, err := ReadFile(f.path, f.format.Limit)
	if err != nil {
		return content, err
	}
	content, _, err = f.format.Verify(packed, f.path)
	return content, err
}

func (f *file[T]) Run(ctx context.Context, changed func()) { f.watch.Run(ctx, changed) }

func (*file[T]) Publish(T) error { return nil }

func (f *file[T]) Close() error { return f.watch.Close() }
