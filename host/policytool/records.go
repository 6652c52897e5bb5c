package policytool

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// maxLine bounds one record of a decision log, in bytes.
const maxLine = 4 << 20

// maxBetween bounds the space between two records, in bytes.
const maxBetween = 64 << 10

// records reads a decision log: JSON lines, or arrays of records in sequence. It skips a
// byte order mark at the beginning. It keeps one record in memory at a time, however long
// the log or an array is.
type records struct {
	dec   *json.Decoder
	in    *bounded
	array bool // whether the next record is in an array
}

// readRecords begins to read log, gzipped or not, until ctx is done.
func readRecords(ctx context.Context, log io.Reader) (*records, error) {
	b := bufio.NewReader(log)
	if head, _ := b.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("decision log: %w", err)
		}
		b = bufio.NewReader(z)
	}
	if head, _ := b.Peek(3); len(strictyaml.TrimBOM(head)) < len(head) {
		_, _ = b.Discard(len(head)) // cannot fail: head was peeked
	}
	in := &bounded{Reader: b, ctx: ctx}
	return &records{dec: json.NewDecoder(in), in: in}, nil
}

// next returns the next record. At the end it returns io.EOF, and
// io.ErrUnexpectedEOF if the log ends within a record or array.
func (l *records) next() (json.RawMessage, error) {
	for {
		l.in.most = l.dec.InputOffset() + maxBetween
		if l.dec.More() && (l.array || !l.bracket()) {
			return l.one()
		}
		switch _, err := l.dec.Token(); {
		case err != nil && l.array:
			return nil, unexpected(err)
		case err != nil:
			return nil, err
		}
		l.array = !l.array
	}
}

// bracket reports whether an array comes next. There is more.
func (l *records) bracket() bool {
	next := make([]byte, 1)
	_, _ = io.ReadFull(l.dec.Buffered(), next) // More has read it
	return next[0] == '['
}

func (l *records) one() (json.RawMessage, error) {
	l.in.most = l.dec.InputOffset() + maxBetween + maxLine
	var raw json.RawMessage
	if err := l.dec.Decode(&raw); err != nil {
		return nil, unexpected(err)
	}
	if len(raw) > maxLine {
		return nil, errTooLong
	}
	return raw, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

var errTooLong = fmt.Errorf("it is over %d MiB", maxLine>>20)

// bounded fails instead of reading more than most bytes in all, or once ctx is
// done.
type bounded struct {
	io.Reader
	ctx        context.Context
	read, most int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.read >= b.most {
		return 0, errTooLong
	}
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.most-b.read)])
	b.read += int64(n)
	return n, err
}
