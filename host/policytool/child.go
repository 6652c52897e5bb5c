package policytool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/child"
)

// comparing is the role of this package's child process: one comparison of policies.
var comparing = child.Role{Name: "bulkhead: comparing policies"}

const (
	exitCompared = 10
	exitOrder    = 11
)

// order is the comparison that a child makes: the first line of its standard input. The
// decision log follows.
type order struct {
	Before, After packedPolicy
	Directory     string // name of the host's directory, which Matcher represents
}

// packedPolicy is a policy for the child: a bundle, empty for the shipped policy alone.
type packedPolicy struct {
	Packed []byte
	Origin string
}

// outcome is the answer of a child: a report, or an error's kind and text.
type outcome struct {
	Report  *DiffReport
	Kind    host.Kind
	Message string
}

// Child must be called first in main, and in TestMain, of every program that calls
// Tools.Compare. In a child it compares and exits; otherwise it returns at once.
func Child() {
	comparing.Main(func(json.RawMessage) int {
		if err := compareAsOrdered(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitOrder
		}
		return exitCompared
	})
}

func compareAsOrdered(stdin io.Reader, stdout io.Writer) error {
	in := bufio.NewReader(stdin)
	line, err := in.ReadBytes('\n') // the parent bounds it
	if err != nil {
		return fmt.Errorf("reading the order: %w", err)
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("reading the order: %w", err)
	}
	conn, err := child.Inherited()
	if err != nil {
		return err
	}
	defer conn.Close()
	directory := &remoteDirectory{client: jsonrpc.NewClient(conn)}
	report, err := o.compare(context.Background(), directory, in)
	answer := outcome{Report: report}
	if err == nil {
		err = directory.failed
	}
	if err != nil {
		answer = outcome{Kind: host.KindOf(err), Message: err.Error()}
		if e, ok := errors.AsType[*host.Error](err); ok {
			answer.Message = e.Public()
		}
	}
	return json.NewEncoder(stdout).Encode(&answer)
}

func (o *order) compare(ctx context.Context, d authz.Directory, log io.Reader) (*DiffReport, error) {
	before, err := o.Before.unpack(ctx)
	if err != nil {
		return nil, err
	}
	after, err := o.After.unpack(ctx)
	if err != nil {
		return nil, host.E(host.Unprocessable, opCompare, "%w", err)
	}
	var over *Over
	if before.ReadsDirectory() || after.ReadsDirectory() {
		over = &Over{d, o.Directory}
	}
	return Diff(ctx, before, after, over, log)
}

func (p *packedPolicy) unpack(ctx context.Context) (*authz.Policy, error) {
	if len(p.Packed) == 0 {
		return authz.ReadPolicy(ctx, "")
	}
	return authz.UnpackPolicy(ctx, p.Packed, p.Origin)
}

// Matcher answers a child's questions about the host's directory. Its methods have the
// form of net/rpc and are for this package only.
type Matcher struct{ directory authz.Directory }

// Match is Match of authz.Directory.
func (m *Matcher) Match(q *host.Question, out *host.Matching) error {
	*out = m.directory.Match(q)
	return nil
}

// Version is AppendVersion of authz.Directory.
func (m *Matcher) Version(p *host.Principal, out *[]byte) error {
	*out = m.directory.AppendVersion(nil, p)
	return nil
}

// Content is the answer of Facts.
type Content struct {
	Facts    map[string]any
	Revision uint64
}

// Facts is Facts of authz.Directory.
func (m *Matcher) Facts(_ struct{}, out *Content) error {
	out.Facts, out.Revision = m.directory.Facts()
	return nil
}

// remoteDirectory is the host's directory in the child. It is for one goroutine. If it
// cannot get an answer, nothing matches, and failed is the reason.
type remoteDirectory struct {
	client  *rpc.Client
	content *Content
	failed  error
}

func (d *remoteDirectory) call(method string, in, out any) {
	if err := d.client.Call("Directory."+method, in, out); err != nil && d.failed == nil {
		d.failed = fmt.Errorf("asking the directory: %w", err)
	}
}

func (d *remoteDirectory) Match(q *host.Question) (m host.Matching) {
	d.call("Match", q, &m)
	return m
}

func (d *remoteDirectory) AppendVersion(b []byte, p *host.Principal) []byte {
	var version []byte
	d.call("Version", p, &version)
	return append(b, version...)
}

func (d *remoteDirectory) Facts() (map[string]any, uint64) {
	if d.content == nil {
		d.content = &Content{}
		d.call("Facts", struct{}{}, d.content)
	}
	return d.content.Facts, d.content.Revision
}

func (d *remoteDirectory) Revision() uint64 {
	_, revision := d.Facts()
	return revision
}

// Consider and Listing are for explanations, which a comparison does not make.
func (*remoteDirectory) Consider(*host.Question) []host.Considered { return nil }

// Listing returns an empty listing.
func (*remoteDirectory) Listing(*host.Principal) host.Listing { return host.Listing{} }
