package audit

import (
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Report is the result of Verify.
type Report struct {
	Dir         string    `json:"dir"`
	Files       int       `json:"files"`
	Records     int       `json:"records"`
	First       uint64    `json:"first"` // number of the first record that is kept
	Last        uint64    `json:"last"`
	Hash        string    `json:"hash"` // of the last record; note it elsewhere to prove later that nothing was removed
	Checkpoints int       `json:"checkpoints"`
	Problems    []Problem `json:"problems"`
	// Open is the intents without an outcome: effects in progress, or, if no host runs,
	// effects that its next start marks as unknown.
	Open []string `json:"open"`
}

// Problem is one place at which the chain is not what the host wrote.
type Problem struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"` // from 1
	Seq  uint64 `json:"seq,omitempty"`
	Text string `json:"text"`
}

func (p Problem) String() string {
	s := p.Text
	if p.Seq > 0 {
		s = fmt.Sprintf("record %d: %s", p.Seq, s)
	}
	if p.File != "" {
		s = fmt.Sprintf("%s:%d: %s", p.File, p.Line, s)
	}
	return s
}

// Sound reports whether the chain is what the host wrote.
func (r *Report) Sound() bool { return len(r.Problems) == 0 }

// maxProblems bounds a report: after an edit, what follows may not fit either.
const maxProblems = 100

// verifier reads a chain from its beginning.
type verifier struct {
	*Report
	key     []byte
	at      position
	from    position // of the head before the files were read
	fromOK  bool     // it was found
	removed uint64

	expected   position
	expectedOK bool

	gap  uint64 // the first kept record, if it is not the first
	open map[string]struct{}
	file string
	line int
	last Problem // where the record before is
}

// Verify reads the chain in dir and reports every place at which a record was changed,
// inserted, moved or removed. key is the key of the host that wrote it; with a nil key,
// the signatures are not checked, and somebody who can compute SHA-256 could have written
// the chain. A host may write the chain meanwhile. An error is that the files cannot be
// read.
func Verify(dir string, key []byte) (*Report, error) { return VerifyExpecting(dir, key, "") }

// VerifyExpecting is Verify; expected is also a record that must be there, as its number
// and hash, "NUMBER:HASH", or "".
func VerifyExpecting(dir string, key []byte, expected string) (*Report, error) {
	want, err := parsePosition(expected)
	if err != nil {
		return nil, err
	}
	v := &verifier{expected: want, Report: &Report{Dir: dir, Problems: []Problem{}, Open: []string{}}, key: key, open: map[string]struct{}{}}
	before, err := steadyHead(dir, key)
	files, listed := chainFiles(dir)
	if listed != nil {
		return nil, listed
	}
	if errors.Is(err, fs.ErrNotExist) { // a host may just have begun
		before, err = steadyHead(dir, key)
	}
	if len(files) == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no audit", dir)
	}
	if err != nil {
		v.add(0, "%s: %v, so records at the end may have been removed", headFile, err)
	} else {
		v.from = before.From
	}
	for _, name := range files {
		if err := v.read(dir, name); err != nil {
			return nil, err
		}
	}
	v.file, v.line = "", 0
	v.end(dir, before)
	if want.Seq > 0 && !v.expectedOK {
		v.add(want.Seq, "it is not there with the expected hash")
	}
	v.Last, v.Hash = v.at.Seq, v.at.Hash
	v.Open = append(v.Open, slices.Sorted(maps.Keys(v.open))...)
	return v.Report, nil
}

func parsePosition(text string) (p position, err error) {
	if text == "" {
		return p, nil
	}
	number, hash, ok := strings.Cut(text, ":")
	p.Hash = hash
	if p.Seq, err = strconv.ParseUint(number, 10, 64); err != nil || !ok || p.Seq == 0 || len(hash) != 64 {
		return p, fmt.Errorf("%q is not NUMBER:HASH of a record, as verify prints it", text)
	}
	return p, nil
}

// steadyHead is readHead while a host may be writing it.
func steadyHead(dir string, key []byte) (h *head, err error) {
	for range 3 {
		if h, err = readHead(dir, key); err == nil || errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return h, err
}

func (v *verifier) add(seq uint64, format string, args ...any) {
	if len(v.Problems) < maxProblems {
		v.Problems = append(v.Problems, Problem{v.file, v.line, seq, fmt.Sprintf(format, args...)})
	}
}

func (v *verifier) read(dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) && v.Files == 0 {
		return nil // the host has removed its oldest file meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close()
	v.Files++
	v.file, v.line = name, 0
	first, err := firstOf(name)
	if err != nil {
		return err
	}
	if v.Files == 1 {
		v.First = first
		if first > 1 {
			v.gap, v.at.Seq = first, first-1
		}
	}
	torn := false
	err = eachLine(f, func(line []byte, whole bool) error {
		v.line++
		if torn = !whole; torn {
			return nil
		}
		v.record(line, first)
		return nil
	})
	if err != nil {
		v.add(0, "%v", err)
	}
	if torn && v.at.Seq < v.from.Seq {
		v.add(v.at.Seq+1, "the line has no end")
	}
	return nil
}

// record checks one line.
func (v *verifier) record(line []byte, first uint64) {
	v.Records++
	hash := hashOf(line)
	var r linked
	if err := json.Unmarshal(line, &r); err != nil || r.Seq == 0 {
		v.add(v.at.Seq+1, "this is not a record")
		v.at = position{v.at.Seq + 1, hash}
		v.last = Problem{File: v.file, Line: v.line, Seq: v.at.Seq}
		return
	}
	switch want := v.at.Seq + 1; {
	case r.Seq > want:
		v.add(r.Seq, "records %d to %d are missing before it", want, r.Seq-1)
	case r.Seq < want:
		v.add(r.Seq, "it is out of order, or there twice; record %d should be here", want)
	case v.line == 1 && r.Seq == first && v.Files == 1 && first > 1: // what came before was removed
	case r.Prev != v.at.Hash && len(v.Problems) < maxProblems:
		v.last.Text = fmt.Sprintf("it was changed, or replaced, or the record after it was: record %d was written after another one", r.Seq)
		v.Problems = append(v.Problems, v.last)
	}
	if v.line == 1 && (r.Stage != stageFile || r.Seq != first) {
		v.add(r.Seq, "the file does not begin with record %d, of stage %q", first, stageFile)
	}
	switch r.Stage {
	case stageCheckpoint:
		v.Checkpoints++
		switch {
		case v.key == nil:
		case r.Key != keyID(v.key):
			v.add(r.Seq, "this checkpoint was signed with another key (%.16s)", r.Key)
		case !hmac.Equal([]byte(r.MAC), []byte(checkpointMAC(v.key, r.Seq, r.Prev))):
			v.add(r.Seq, "the signature of this checkpoint does not fit: a record up to it was changed")
		}
	case stageRemoved:
		v.removed = max(v.removed, r.UpTo)
	}
	r.track(v.open)
	v.at, v.last = position{r.Seq, hash}, Problem{File: v.file, Line: v.line, Seq: r.Seq}
	v.fromOK = v.fromOK || v.at == v.from
	v.expectedOK = v.expectedOK || v.at == v.expected
}

// end compares the end of the chain with the head, as it was before the files were read and
// as it is now.
func (v *verifier) end(dir string, before *head) {
	if v.gap > 1 && v.removed < v.gap-1 {
		v.add(0, "records %d to %d are missing at the beginning", v.removed+1, v.gap-1)
	}
	if before == nil {
		return
	}
	after, err := steadyHead(dir, v.key)
	switch {
	case err != nil:
		v.add(0, "%s: %v", headFile, err)
	case v.at.Seq < before.From.Seq:
		v.add(0, "records %d to %d are missing at the end", v.at.Seq+1, before.From.Seq)
	case !v.fromOK && before.From.Seq > 0:
		v.add(before.From.Seq, "it was changed, or replaced: the host wrote another one")
	case v.at.Seq > after.To.Seq:
		v.add(0, "records %d to %d were not written by the host", after.To.Seq+1, v.at.Seq)
	case v.at.Seq == after.To.Seq && v.at != after.To:
		v.add(v.at.Seq, "it was changed, or replaced: the host wrote another one")
	}
}
