package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// eachLine calls f with each line of r, without its end; whole is false for what follows
// the last end of a line. The slice is valid during the call. Lines over maxLine are an
// error.
func eachLine(r io.Reader, f func(line []byte, whole bool) error) error {
	b := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for {
		part, err := b.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, part...); len(long) > maxLine {
				return fmt.Errorf("a line has over %d bytes", maxLine)
			}
			continue
		}
		line := part
		if long != nil {
			line = append(long, part...)
			long = nil
		}
		if err == nil {
			if err := f(line[:len(line)-1], true); err != nil {
				return err
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) > 0 {
			return f(line, false)
		}
		return nil
	}
}

// backwards calls f with each complete line of the first size bytes of file, the last one
// first.
func backwards(file *os.File, size int64, f func(line []byte) error) error {
	const block = 256 << 10
	var rest []byte // begins a line that ends in an earlier block
	first := true
	for end := size; end > 0; {
		from := max(0, end-block)
		buf := make([]byte, end-from, int(end-from)+len(rest))
		if _, err := file.ReadAt(buf, from); err != nil {
			return err
		}
		if buf = append(buf, rest...); len(buf) > maxLine+block {
			return fmt.Errorf("a line has over %d bytes", maxLine)
		}
		if first { // what follows the last end of a line is not complete
			buf = buf[:bytes.LastIndexByte(buf, '\n')+1]
			first = len(buf) == 0
		}
		for {
			body := bytes.TrimSuffix(buf, []byte("\n"))
			i := bytes.LastIndexByte(body, '\n')
			if i < 0 {
				break
			}
			if err := f(body[i+1:]); err != nil {
				return err
			}
			buf = buf[:i+1]
		}
		rest, end = buf, from
	}
	if body := bytes.TrimSuffix(rest, []byte("\n")); len(body) > 0 {
		return f(body)
	}
	return nil
}
