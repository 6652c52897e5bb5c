package pods

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/stream"
)

// FileProtocol is the subprotocol of a socket that lists, downloads or uploads. Binary
// messages are the file's bytes, in order. Text messages of the host are JSON:
//
//	list      {"type":"entries","entries":[{"name":"a","kind":"file","size":3,"mode":420,"modified":"…"}]}
//	download  {"type":"file","name":"a","size":3}, binary …
//	upload    binary … of the client, {"type":"progress","bytes":1048576} for each MiB
//	all       {"type":"end","bytes":3,"sha256":"…"}  {"type":"error","error":"…"}  {"type":"warning",…}
//
// The checksum is of the bytes that passed here. An upload has taken effect, whole, if
// it ends with "end", and has not otherwise.
const FileProtocol = "bulkhead.file.v1"

const (
	maxPath      = 4096
	maxFile      = 4 << 30
	maxEntries   = 5000
	maxListing   = 4 << 20
	maxProblem   = 1 << 10
	progressSize = 1 << 20
)

// copyOptions are those of a file.
type copyOptions struct {
	path   string // absolute and clean
	offset int64  // of a download
	size   int64  // of an upload
	sum    string // of an upload, in hexadecimal; "" if the client did not say
}

var sumRE = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (q *request) parseList(t *capability.Target) error { return q.parseFile(t) }

func (q *request) parseDownload(t *capability.Target) (err error) {
	if err := q.parseFile(t, "offset"); err != nil {
		return err
	}
	q.file.offset, err = number(t, "offset", 0, 0, maxFile)
	return err
}

func (q *request) parseUpload(t *capability.Target) (err error) {
	if err := q.parseFile(t, "size", "sha256"); err != nil {
		return err
	}
	if q.file.sum = t.Query.Get("sha256"); q.file.sum != "" && !sumRE.MatchString(q.file.sum) {
		return host.E(host.Invalid, name, "sha256 must be 64 hexadecimal digits in lower case")
	}
	q.file.size, err = number(t, "size", -1, 0, maxFile)
	return err
}

func (q *request) parseFile(t *capability.Target, keys ...string) error {
	if err := t.Only(name, append(keys, "container", "path")...); err != nil {
		return err
	}
	if err := q.needPod(); err != nil {
		return err
	}
	p := t.Query.Get("path")
	if !path.IsAbs(p) || path.Clean(p) != p || len(p) > maxPath || strings.ContainsAny(p, "\x00\n") {
		return host.E(host.Invalid, name, "path must be absolute and without .., //, a slash at its end and line ends")
	}
	q.file.path = p
	return q.readContainer(t)
}

// The scripts need sh with cat, head, tail, stat, mv and wc, which images with a shell
// have. A path that leads through a link is refused, in the container, where links are.
const (
	enter = `cd -- "$1" 2>/dev/null || exit 43; [ "$(pwd -P)" = "$1" ] || exit 44; `

	listScript = enter + `n=0; for f in .* *; do
case "$f" in .|..) continue;; esac
[ -e "./$f" ] || [ -L "./$f" ] || continue
n=$((n+1)); [ $n -le "$2" ] || exit 48
printf '%s\n%s\000' "$(stat -c '%f %s %Y' "./$f")" "$f"; done`

	downloadScript = enter + `f="./$2"; [ -L "$f" ] && exit 44; [ -e "$f" ] || exit 43; [ -f "$f" ] || exit 45
n=$(wc -c < "$f") || exit 46; echo $n; if [ "$3" = 0 ]; then exec cat "$f"; else exec tail -c "+$(($3+1))" "$f"; fi`

	uploadScript = enter + `f="./$2"; [ -L "$f" ] && exit 44; [ -e "$f" ] && [ ! -f "$f" ] && exit 45
t="./.bulkhead.$$.part"; trap 'rm -f "$t"' EXIT HUP TERM
head -c "$3" > "$t" || exit 46; [ "$(wc -c < "$t")" -eq "$3" ] || exit 47
if command -v sha256sum >/dev/null 2>&1; then s=$(sha256sum < "$t"); else s=-; fi; echo "${s%% *}"
read -r go; [ "$go" = keep ] || exit 49; mv -f "$t" "$f" || exit 46`
)

// refusalOf explains the exit code of a script.
func (q *request) refusalOf(code int, problem string) error {
	at, detail := q.file.path, strings.ToValidUTF8(strings.TrimSpace(problem), "\ufffd")
	e := &host.Error{Kind: host.Upstream, Op: name, Message: fmt.Sprintf("%s failed with exit code %d", at, code), Detail: detail}
	switch code {
	case 43:
		e.Kind, e.Message = host.NotFound, at+" does not exist, or its directory cannot be entered"
	case 44:
		e.Kind, e.Message = host.Unprocessable, at+" is a link, or leads through one"
	case 45:
		e.Kind, e.Message = host.Unprocessable, at+" is not a regular file"
	case 46:
		e.Message = at + " cannot be read or written"
	case 47:
		e.Message = "the file did not arrive whole"
	case 48:
		e.Kind, e.Message = host.Unprocessable, fmt.Sprintf("%s has over %d entries", at, maxEntries)
	case 126, 127:
		e.Kind, e.Message = host.Unprocessable, "the container has no shell; a debug container may have one"
	}
	return e
}

func (e *Pods) openCopy(ctx context.Context, p *capability.Permit, q *request, client *cluster.Client) (capability.Stream, error) {
	if err := unrecorded(p); err != nil {
		return nil, err
	}
	if err := q.may(ctx, client, q.operation.rbac, q.pod); err != nil {
		return nil, err
	}
	pod, err := q.get(ctx, client)
	if err == nil {
		err = pod.running()
	}
	if err != nil {
		return nil, err
	}
	c, err := pod.container(q.container)
	if err != nil {
		return nil, err
	}
	return &opened{
		provider: e, permit: p, protocols: []string{FileProtocol},
		start: func(string) stream.Upstream {
			f := &file{clusters: e.clusters, permit: p, request: q, container: c.Name, sum: sha256.New()}
			f.input, f.stdin = io.Pipe()
			return f
		},
	}, nil
}

// file is one running copy.
type file struct {
	clusters  *cluster.Set
	permit    *capability.Permit
	request   *request
	container string
	input     *io.PipeReader
	stdin     *io.PipeWriter
	sum       hash.Hash
	bytes     int64 // that passed
	head      []byte
	begun     bool
	problem   bytes.Buffer
}

// Receive takes the bytes of an upload.
func (f *file) Receive(p *stream.Pump, binary bool, data []byte) error {
	o := &f.request.file
	if !binary || f.request.operation.verb != "upload" || f.bytes+int64(len(data)) > o.size {
		return &stream.Violation{Code: host.CloseViolation, Text: "only an upload takes bytes, and no more than its size"}
	}
	if len(data) == 0 {
		return nil
	}
	f.sum.Write(data)
	before := f.bytes / progressSize
	if f.bytes += int64(len(data)); f.bytes == o.size && o.sum != "" && f.checksum() != o.sum {
		return host.E(host.Invalid, name, "the bytes have another checksum than sha256 says") // before the last of them arrive
	}
	if _, err := f.stdin.Write(data); err != nil {
		return nil // Run says how the script ended
	}
	if f.bytes/progressSize > before {
		return sendJSON(p, map[string]any{"type": "progress", "bytes": f.bytes})
	}
	return nil
}

func (f *file) checksum() string { return hex.EncodeToString(f.sum.Sum(nil)) }

func (f *file) End(p *stream.Pump, err error) error {
	if err != nil {
		return ended(p, err)
	}
	m := map[string]any{"type": "end"}
	if f.request.operation != operations["list"] {
		m["bytes"], m["sha256"] = f.bytes, f.checksum()
	}
	return sendJSON(p, m)
}

func (f *file) Warn(p *stream.Pump, cause error, left time.Duration) error {
	return warn(p, cause, left)
}

// script returns the command, and what takes its output.
func (f *file) script(p *stream.Pump) ([]string, func([]byte) error) {
	o := &f.request.file
	dir, base := path.Split(o.path)
	dir = path.Clean(dir)
	command := []string{"/bin/sh", "-c"}
	switch f.request.operation {
	case operations["list"]:
		return append(command, listScript, "sh", o.path, strconv.Itoa(maxEntries)), f.keep
	case operations["download"]:
		return append(command, downloadScript, "sh", dir, base, strconv.FormatInt(o.offset, 10)), func(b []byte) error { return f.download(p, b) }
	}
	return append(command, uploadScript, "sh", dir, base, strconv.FormatInt(o.size, 10)), f.compare
}

func (f *file) Run(ctx context.Context, p *stream.Pump) error {
	defer f.input.CloseWithError(io.ErrClosedPipe)
	defer context.AfterFunc(ctx, func() { f.input.CloseWithError(context.Cause(ctx)) })()
	q := f.request
	client, err := f.clusters.As(ctx, q.cluster, f.permit.Obligations.Impersonate, f.permit.Caller.Authority)
	if err != nil {
		return err
	}
	command, take := f.script(p)
	upload := q.operation == operations["upload"]
	code, err := client.Exec(ctx, cluster.ExecOptions{Namespace: q.namespace, Pod: q.pod, Container: f.container, Command: command, NoStdin: !upload},
		cluster.Streams{Stdin: f.input, Stdout: &taker{take, p}, Stderr: &taker{f.complain, p}})
	switch {
	case err != nil:
		return err
	case code != 0:
		return q.refusalOf(code, f.problem.String())
	case q.operation == operations["list"]:
		return f.entries(p)
	}
	return nil
}

// taker is an output stream of a script. An error ends the copy.
type taker struct {
	take func([]byte) error
	p    *stream.Pump
}

func (t *taker) Write(b []byte) (int, error) {
	if err := t.take(b); err != nil {
		t.p.Cancel(err)
		return 0, err
	}
	return len(b), nil
}

func (f *file) complain(b []byte) error {
	f.problem.Write(b[:min(len(b), maxProblem-min(f.problem.Len(), maxProblem))])
	return nil
}

func (f *file) keep(b []byte) error {
	if f.head = append(f.head, b...); len(f.head) > maxListing {
		return host.E(host.Upstream, name, "the listing is over %d bytes", maxListing)
	}
	return nil
}

// line takes the first line of the output; what follows it is rest.
func (f *file) line(b []byte) (text string, rest []byte, ok bool, err error) {
	f.head = append(f.head, b...)
	i := bytes.IndexByte(f.head, '\n')
	if i < 0 {
		if len(f.head) > maxProblem {
			return "", nil, false, host.E(host.Upstream, name, "the container's answer cannot be read")
		}
		return "", nil, false, nil
	}
	return string(bytes.TrimSpace(f.head[:i])), f.head[i+1:], true, nil
}

func (f *file) download(p *stream.Pump, b []byte) error {
	if !f.begun {
		text, rest, ok, err := f.line(b)
		if err != nil || !ok {
			return err
		}
		size, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			return host.E(host.Upstream, name, "the container's answer cannot be read")
		case size > maxFile:
			return host.E(host.Unprocessable, name, "the file is over %d bytes", int64(maxFile))
		}
		f.begun = true
		if err := sendJSON(p, map[string]any{"type": "file", "name": path.Base(f.request.file.path), "size": size}); err != nil {
			return err
		}
		b = rest
	}
	if f.bytes += int64(len(b)); f.bytes > maxFile {
		return host.E(host.Unprocessable, name, "the file grows over %d bytes", int64(maxFile))
	}
	if len(b) == 0 {
		return nil
	}
	f.sum.Write(b)
	return p.Output(false, b, b)
}

// compare compares the checksum of the container with that of the bytes that passed, and
// has the file kept. A container without sha256sum prints "-".
func (f *file) compare(b []byte) error {
	text, _, ok, err := f.line(b)
	if err != nil || !ok {
		return err
	}
	if text != "-" && text != f.checksum() {
		return host.E(host.Upstream, name, "the file arrived with another checksum")
	}
	_, _ = io.WriteString(f.stdin, "keep\n") // if it fails, the exit code says so
	return f.stdin.Close()
}

type entry struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"` // file, directory, link, other
	Size     int64     `json:"size"`
	Mode     uint32    `json:"mode"`
	Modified time.Time `json:"modified"`
}

func (f *file) entries(p *stream.Pump) error {
	list := []entry{}
	for record := range bytes.SplitSeq(f.head, []byte{0}) {
		if len(record) == 0 {
			continue
		}
		e, err := parseEntry(string(record))
		if err != nil {
			return err
		}
		list = append(list, e)
	}
	return sendJSON(p, map[string]any{"type": "entries", "entries": list})
}

// parseEntry reads the type and mode in hexadecimal, the size, the time of change in
// seconds, and after the line the name.
func parseEntry(text string) (entry, error) {
	facts, called, _ := strings.Cut(text, "\n")
	var mode uint32
	var size, modified int64
	if _, err := fmt.Sscanf(facts, "%x %d %d", &mode, &size, &modified); err != nil || called == "" {
		return entry{}, host.E(host.Upstream, name, "the container's listing cannot be read")
	}
	kind := "other"
	switch mode & 0xf000 {
	case 0x8000:
		kind = "file"
	case 0x4000:
		kind = "directory"
	case 0xa000:
		kind = "link"
	}
	return entry{strings.ToValidUTF8(called, "\ufffd"), kind, size, mode & 0o7777, time.Unix(modified, 0).UTC()}, nil
}
