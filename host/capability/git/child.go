package git

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// reading is the role of this package's child process, which reads one commit. Packed
// objects, YAML and kustomizations are data of whoever may write to the repository, and
// nothing can stop or bound their parsers in this process.
var reading = child.Role{Name: "bulkhead: git"}

// Bounds of a child.
const (
	childCPU    = 20 * time.Second
	childMemory = 768 << 20
)

// order is what a child does with the packed commit on its standard input.
type order struct {
	Commit, Path, As string
}

// outcome is the answer of a child.
type outcome struct {
	Answer  json.RawMessage
	Error   *failed
	Damaged bool // the objects are not those of the commit
}

// failed is an encoded host.Error.
type failed struct {
	Kind            host.Kind
	Message, Detail string
}

const (
	exitDone   = 10
	exitFailed = 11
)

// errDamaged says that a child could not find the commit in the objects that it was given.
var errDamaged = errors.New("the objects are damaged or incomplete")

// Child must be called first in main, and in TestMain, of every program that makes a Git.
// In a child process it carries out the order and exits; otherwise it returns at once.
func Child() {
	reading.Main(func(argument json.RawMessage) int {
		// kustomize would download what a kustomization names. This process has no
		// environment, so it finds no program to run either.
		http.DefaultTransport = noNetwork{}
		if err := obey(argument, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailed
		}
		return exitDone
	})
}

// errNoNetwork is the error of a download.
var errNoNetwork = errors.New("a kustomization names something outside the repository")

type noNetwork struct{}

func (noNetwork) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return nil, errNoNetwork
}

func obey(argument json.RawMessage, in io.Reader, out io.Writer) error {
	var o order
	if err := json.Unmarshal(argument, &o); err != nil {
		return fmt.Errorf("reading the order: %w", err)
	}
	answer, err := o.carryOut(in)
	var result outcome
	if err == nil {
		result.Answer, err = json.Marshal(answer)
	}
	if err != nil {
		e, ok := errors.AsType[*host.Error](err)
		if !ok {
			return err
		}
		result = outcome{Error: &failed{e.Kind, e.Message, e.Detail}, Damaged: errors.Is(err, errDamaged)}
	}
	return json.NewEncoder(out).Encode(&result)
}

func (o *order) carryOut(in io.Reader) (any, error) {
	pack, err := io.ReadAll(io.LimitReader(in, maxPack+1))
	if err != nil {
		return nil, err
	}
	root, err := unpack(pack, o.Commit)
	if err != nil {
		return nil, err
	}
	if o.As == asManifests {
		return manifestsOf(root, o.Path)
	}
	return filesOf(root, o.Path)
}

// inChild runs a child on the packed commit and returns its answer, with at added.
func (g *Git) inChild(ctx context.Context, o *order, pack io.Reader, at where) (any, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(timeout)
	}
	limits := g.limits
	limits.Wall = time.Until(deadline)
	out := &bounded{most: abi.MaxBody + 1<<20}
	result, err := reading.Run(ctx, child.Job{Argument: o, Stdin: pack, Stdout: out, Limits: limits})
	if err != nil {
		return nil, g.ended(ctx, err)
	}
	var got outcome
	if result.Exit != exitDone || json.Unmarshal(out.Bytes(), &got) != nil {
		return nil, &host.Error{Kind: host.Internal, Op: name, Err: fmt.Errorf("exit status %d: %s", result.Exit, result.Line)}
	}
	if got.Error != nil {
		e := &host.Error{Kind: got.Error.Kind, Op: name, Message: got.Error.Message, Detail: got.Error.Detail}
		if got.Damaged {
			e.Err = errDamaged
		}
		return nil, e
	}
	head, err := json.Marshal(at)
	if err != nil {
		return nil, err
	}
	// Both are objects with at least one member, which are different.
	return json.RawMessage(slices.Concat(head[:len(head)-1], []byte(","), got.Answer[1:])), nil
}

// ended returns why a child was ended.
func (g *Git) ended(ctx context.Context, err error) error {
	e, ok := errors.AsType[*child.Error](err)
	if !ok {
		return err
	}
	tooMuch := func(what string) error {
		return &host.Error{Kind: host.Unprocessable, Op: name, Message: "reading the repository takes over " + what, Err: err}
	}
	switch e.Fault {
	case child.Canceled:
		return cmp.Or(context.Cause(ctx), e.Cause)
	case child.TooLong:
		return context.DeadlineExceeded
	case child.Memory:
		return tooMuch(fmt.Sprintf("%d MiB of memory", g.limits.Memory>>20))
	case child.CPU:
		return tooMuch(fmt.Sprintf("%v of processor time", g.limits.CPU))
	}
	return &host.Error{Kind: host.Internal, Op: name, Err: err}
}

// bounded keeps what is written to it, and fails beyond a bound.
type bounded struct {
	bytes.Buffer
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		return 0, fmt.Errorf("over %d bytes", b.most)
	}
	return b.Buffer.Write(p)
}
